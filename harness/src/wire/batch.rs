//! What is a step: a simple query, or the messages up to `Sync`, or to `Flush` with all replies that were due.

use super::message::{Head, Kind, Status};
use std::collections::VecDeque;

/// So many batches in flight are told apart: no client that reads comes near it. More count as one with the last, so that
/// a client's flood at a server that never answers takes no more memory than this.
const FLIGHT_MAX: usize = 100_000;

/// What the server's message just brought to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// A batch, with `ReadyForQuery`.
    Ready {
        /// Whether something was run in it: a batch that only parses, describes or closes is no step.
        ran: bool,
        /// Where the session stands.
        status: Status,
    },
    /// All replies that a `Flush` asked for are there. The batch is open: an implicit transaction and its locks stay.
    Flushed {
        /// Whether something was run since the last boundary.
        ran: bool,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    /// Whether something is run since the last boundary.
    runs: bool,
    /// Replies that are due by what was sent, and those that came.
    due: u64,
    came: u64,
    /// Replies that were due at the last `Flush`.
    flush: Option<u64>,
    /// After an error the server skips everything up to `Sync`.
    has_failed: bool,
    /// `Sync` or a simple query was sent: `ReadyForQuery` ends it.
    is_closed: bool,
    is_simple: bool,
}

/// Follows the batches of one session, several in flight at a time if the client pipelines.
#[derive(Debug, Default)]
pub struct Batches {
    flight: VecDeque<Batch>,
}

impl Batches {
    /// Whether nothing was sent that is not answered to its end.
    pub fn is_settled(&self) -> bool {
        self.flight.is_empty()
    }

    /// Whether the client's last batch is not closed by a `Sync` yet.
    pub fn is_open(&self) -> bool {
        self.flight.back().is_some_and(|batch| !batch.is_closed)
    }

    /// Whether `head`, which is about to go to the server, is the first of its batch that runs something.
    pub fn begins(&self, head: &Head) -> bool {
        let open = self.flight.back().filter(|batch| !batch.is_closed);
        match head.kind() {
            Kind::Query | Kind::FunctionCall => open.is_none_or(|batch| !batch.has_failed),
            Kind::Execute => open.is_none_or(|batch| !batch.has_failed && !batch.runs),
            _ => false,
        }
    }

    /// Takes a message that went to the server; a boundary if it is one by itself, as a `Flush` without a reply due.
    pub fn frontend(&mut self, head: &Head) -> Option<Boundary> {
        match head.kind() {
            Kind::Query | Kind::FunctionCall => {
                // In an open batch that failed the server skips even this, up to `Sync`.
                if self.flight.back().is_some_and(|batch| !batch.is_closed && batch.has_failed) {
                    return None;
                }
                let batch = self.open();
                (batch.runs, batch.is_closed, batch.is_simple) = (true, true, true);
            }
            Kind::Parse | Kind::Bind | Kind::Describe | Kind::Close => self.open().due += 1,
            Kind::Execute => {
                let batch = self.open();
                (batch.due, batch.runs) = (batch.due + 1, true);
            }
            Kind::Flush => {
                let batch = self.flight.back_mut().filter(|batch| !batch.is_closed)?;
                batch.flush = Some(batch.due);
                if self.flight.len() == 1 {
                    return self.flushed();
                }
            }
            Kind::Sync => self.open().is_closed = true,
            _ => {}
        }
        None
    }

    /// Takes a message that came from the server.
    pub fn backend(&mut self, head: &Head) -> Option<Boundary> {
        if let Some(status) = head.status() {
            // Also the one that ends the start of the session, when nothing is in flight.
            let batch = self.flight.pop_front().unwrap_or_default();
            return Some(Boundary::Ready { ran: batch.runs, status });
        }
        let batch = self.flight.front_mut()?;
        match head.kind() {
            Kind::Error => batch.has_failed = true,
            Kind::ParseComplete
            | Kind::BindComplete
            | Kind::CloseComplete
            | Kind::NoData
            | Kind::RowDescription
            | Kind::CommandComplete
            | Kind::EmptyQuery
            | Kind::PortalSuspended
                if !batch.is_simple =>
            {
                batch.came += 1;
            }
            _ => return None,
        }
        self.flushed()
    }

    /// The batch that the client writes at.
    fn open(&mut self) -> &mut Batch {
        if !self.is_open() && self.flight.len() < FLIGHT_MAX {
            self.flight.push_back(Batch::default());
        }
        let last = self.flight.len() - 1;
        &mut self.flight[last]
    }

    fn flushed(&mut self) -> Option<Boundary> {
        let batch = self.flight.front_mut()?;
        let is_due = batch.flush.is_some_and(|due| batch.came >= due || batch.has_failed);
        if !is_due || batch.is_closed {
            return None;
        }
        batch.flush = None;
        Some(Boundary::Flushed { ran: std::mem::take(&mut batch.runs) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Side;
    use rstest::rstest;

    /// A conversation: what a client says in lower case after `>`, what a server says after `<`.
    fn follow(conversation: &str) -> Vec<String> {
        let mut batches = Batches::default();
        let mut seen = Vec::new();
        for word in conversation.split_whitespace() {
            let byte = word.as_bytes()[1];
            let body: &[u8] = if byte == b'Z' { b"I" } else { b"" };
            let boundary = match &word[..1] {
                ">" => batches.frontend(&Head::new(Side::Frontend, byte, body)),
                _ => batches.backend(&Head::new(Side::Backend, byte, body)),
            };
            seen.extend(boundary.map(|boundary| match boundary {
                Boundary::Ready { ran: true, .. } => "ready".to_owned(),
                Boundary::Ready { ran: false, .. } => "nothing".to_owned(),
                Boundary::Flushed { ran: true } => "flushed".to_owned(),
                Boundary::Flushed { ran: false } => "flushed nothing".to_owned(),
            }));
        }
        seen
    }

    #[test]
    fn a_flood_without_an_answer_has_an_end() {
        let mut batches = Batches::default();
        for _ in 0..2 * FLIGHT_MAX {
            batches.frontend(&Head::new(Side::Frontend, b'S', b""));
        }
        assert_eq!(batches.flight.len(), FLIGHT_MAX);
    }

    #[rstest]
    #[case::simple(">Q <T <D <C <Z", &["ready"])]
    #[case::several_in_one(">Q <C <T <D <C <Z", &["ready"])]
    #[case::extended(">P >B >D >E >S <1 <2 <T <D <C <Z", &["ready"])]
    #[case::only_parsed(">P >D >S <1 <t <T <Z", &["nothing"])]
    #[case::only_closed(">C >S <3 <Z", &["nothing"])]
    #[case::flushed(">P >B >E >H <1 <2 <C >S <Z", &["flushed", "nothing"])]
    #[case::flush_that_describes(">P >D >H <1 <t <n >B >E >S <2 <C <Z", &["flushed nothing", "ready"])]
    #[case::flush_after_all_came(">P <1 >H", &["flushed nothing"])]
    #[case::failed_before_flush(">P >B >E >H <E >S <Z", &["flushed", "nothing"])]
    #[case::failed_batch_skips_a_query(">P >B >E >H <E >Q >S <Z", &["flushed", "nothing"])]
    #[case::pipelined(">P >B >E >S >P >B >E >S <1 <2 <C <Z <1 <2 <C <Z", &["ready", "ready"])]
    #[case::limited_portal(">B >E >H <2 <D <s >E >S <C <Z", &["flushed", "ready"])]
    #[case::copy_in(">Q <G >d >c <C <Z", &["ready"])]
    #[case::start(" <R <S <K <Z", &["nothing"])]
    fn boundaries(#[case] conversation: &str, #[case] expected: &[&str]) {
        assert_eq!(follow(conversation), expected);
    }
}
