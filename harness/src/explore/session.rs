//! One session of a client, as the scheduler sees it: what it asks for, and what the server said.

use super::footprint::Footprint;
use super::trace::Answer;
use crate::digest::Hasher;
use crate::script::{is_plain, mask};
use crate::wire::{Batches, Boundary, Event, Head, Kind, Prepared, Side, Status};
use std::collections::VecDeque;
use std::sync::Arc;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It logs in: what a start does touches no data, so it is no step.
    Starting,
    /// Nothing is asked of the server.
    Idle,
    /// A batch that only closes passes: no step either.
    Closing,
    /// Something is held; the scheduler decides when it goes on.
    Pending,
    /// Its step was granted, and the server is at it.
    Running,
    /// The server waits for another session.
    Blocked,
    /// The server answered; the client has not heard of it.
    Answered,
    /// It is over.
    Gone,
}

/// What a session may do next, and what is known of it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: usize,
    /// Counted from 0 among the client's.
    pub(super) ordinal: usize,
    pub(super) phase: Phase,
    /// The server's process.
    pub(super) pid: Option<i32>,
    /// Since when something is held: sessions of one client go in this order.
    pub(super) pending_since: u64,
    /// Kept for the next schedule's client instead of being ended.
    pub(super) is_warm: bool,
    /// Of no client: nothing is held.
    pub(super) is_free: bool,
    /// Where the last batch left it.
    pub(super) status: Status,
    batches: Batches,
    prepared: Prepared,
    /// What came from the client and did not go on, by kind.
    ahead: VecDeque<Kind>,
    /// Messages from the server that came, that went on, and up to which they may go on during a step.
    came: u64,
    gone_on: u64,
    may_go_on: u64,
    /// Whatever comes goes on at once: in a COPY the client has to act, and what is too much is not kept.
    is_streaming: bool,
    /// The step's batch is closed: what comes behind it is another step.
    is_batch_closed: bool,
    /// A batch without anything to run was answered, and the step goes on if the client does.
    is_lull: bool,
    /// The step began within a batch: a `Sync` ends an implicit transaction then, and is a step by itself.
    began_open: bool,
    /// The step is the end of the session.
    pub(super) is_ending: bool,
    /// What the transaction has to do with, so far.
    pub(super) held: Footprint,
    /// The first statement that may do more than it says, without values.
    pub(super) opaque: Option<Arc<str>>,
    /// What the step asked, and what came.
    asked: Vec<Arc<str>>,
    answer: Answer,
    rows: Option<Hasher>,
}

impl Session {
    pub(super) fn new(client: usize, ordinal: usize, is_warm: bool) -> Session {
        Session {
            client,
            ordinal,
            phase: Phase::Starting,
            pid: None,
            pending_since: 0,
            is_warm,
            is_free: false,
            status: Status::Idle,
            batches: Batches::default(),
            prepared: Prepared::default(),
            ahead: VecDeque::new(),
            came: 0,
            gone_on: 0,
            may_go_on: 0,
            is_streaming: false,
            is_batch_closed: false,
            is_lull: false,
            began_open: false,
            is_ending: false,
            held: Footprint::Nowhere,
            opaque: None,
            asked: Vec::new(),
            answer: Answer::default(),
            rows: None,
        }
    }

    /// Whether the step stands still after a batch that ran nothing.
    pub(super) fn is_lull(&self) -> bool {
        self.phase == Phase::Running && self.is_lull
    }

    /// Whether nothing is under way between the client and the server.
    pub(super) fn is_settled(&self) -> bool {
        self.batches.is_settled()
    }

    /// Whether it is within a batch whose end is not there yet.
    pub(super) fn is_in_batch(&self) -> bool {
        self.batches.is_open()
    }

    /// Keeps what a step had to do with until the transaction is over.
    pub(super) fn keep_in_mind(&mut self, footprint: &Footprint) {
        let is_over = self.status == Status::Idle && !self.batches.is_open() && self.phase != Phase::Blocked;
        self.held = if is_over { Footprint::Nowhere } else { self.held.and(footprint) };
    }

    /// Looks whether a message makes the server do what its text does not tell.
    fn read(&mut self, head: &Head) {
        let what: Arc<str> = match head.kind() {
            Kind::Query | Kind::Parse => match head.sql() {
                Some(sql) if head.is_whole() && is_plain(&sql) => return,
                sql => mask(&sql.unwrap_or_default()).into(),
            },
            Kind::FunctionCall => "a call of a function without SQL".into(),
            _ => return,
        };
        self.opaque.get_or_insert(what);
    }

    /// Lets its step go on.
    pub(super) fn grant(&mut self) {
        self.phase = Phase::Running;
        (self.is_streaming, self.is_batch_closed, self.is_lull) = (false, false, false);
        self.began_open = self.batches.is_open();
    }

    /// The step of a session that was granted is over.
    pub(super) fn finish_step(&mut self) {
        self.phase = Phase::Answered;
    }

    /// What was asked in this step so far.
    pub(super) fn take_asked(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.asked)
    }

    /// What the server answered in this step.
    pub(super) fn take_answer(&mut self) -> Answer {
        let mut answer = std::mem::take(&mut self.answer);
        answer.rows_digest = self.rows.take().map(Hasher::finish);
        answer
    }

    /// Lets the client hear what the server answered.
    pub(super) fn deliver(&mut self) {
        self.may_go_on = self.came;
        self.phase = Phase::Idle;
    }

    pub(super) fn arrived(&mut self, from: Side, head: &Head) {
        match from {
            Side::Frontend => self.ahead.push_back(head.kind()),
            Side::Backend => self.answered(head),
        }
    }

    fn answered(&mut self, head: &Head) {
        self.came += 1;
        match head.kind() {
            Kind::BackendKey => self.pid = head.pid(),
            Kind::CopyIn | Kind::CopyBoth => self.is_streaming = true,
            Kind::CommandComplete => self.answer.tags.extend(head.tag()),
            Kind::DataRow => {
                self.answer.rows += 1;
                self.rows.get_or_insert_with(|| Hasher::new("rows")).add("row", head.body());
            }
            Kind::Error => {
                let field = |letter| head.field(letter).unwrap_or_default();
                self.answer.errors.push((field(b'C'), field(b'M')));
            }
            _ => {}
        }
        let Some(boundary) = self.batches.backend(head) else { return };
        if let Boundary::Ready { status, .. } = boundary {
            self.status = status;
        }
        match self.phase {
            Phase::Starting | Phase::Closing => self.phase = Phase::Idle,
            Phase::Running => match boundary {
                Boundary::Ready { ran, .. } if ran || self.began_open => self.finish_step(),
                Boundary::Flushed { ran: true } => self.finish_step(),
                Boundary::Ready { .. } | Boundary::Flushed { .. } => self.pause_step(),
            },
            _ => {}
        }
    }

    /// The step goes on with the client's next message: it hears what came so far.
    fn pause_step(&mut self) {
        self.may_go_on = self.came;
        (self.is_batch_closed, self.is_lull) = (false, true);
    }

    /// The server's messages are more than is kept: the client hears them as they come.
    pub(super) fn crowded(&mut self, from: Side) {
        if from == Side::Backend {
            self.is_streaming = true;
        }
    }

    /// A side sends nothing more. A server that ends a session by itself has said its last word with that.
    pub(super) fn ended(&mut self, from: Side) {
        if from == Side::Backend && self.phase == Phase::Running && !self.is_ending {
            self.answer.is_end = true;
            self.finish_step();
        }
    }

    /// Whether what comes next may go on. `now` orders those that are held.
    pub(super) fn may_pass(&mut self, from: Side, event: Event<'_>, now: u64) -> bool {
        match (from, event) {
            _ if self.is_free => {
                self.is_ending |= from == Side::Frontend && is_end(event);
                true
            }
            (Side::Frontend, Event::Message(head)) => self.may_ask(head.kind(), now),
            (Side::Frontend, Event::End) => self.may_end(now),
            (Side::Backend, Event::Message(_)) => {
                let is_held = matches!(self.phase, Phase::Running | Phase::Answered | Phase::Blocked);
                !is_held || self.is_streaming || self.is_ending || self.gone_on < self.may_go_on
            }
            // The server ended the session by itself; what it said before is heard first.
            (Side::Backend, Event::End) => !matches!(self.phase, Phase::Answered),
        }
    }

    fn may_ask(&mut self, kind: Kind, now: u64) -> bool {
        if kind == Kind::Terminate {
            return self.may_end(now);
        }
        if matches!(kind, Kind::CopyData | Kind::CopyDone | Kind::CopyFail | Kind::Password) {
            return true;
        }
        match self.phase {
            Phase::Starting | Phase::Gone => true,
            Phase::Running | Phase::Closing => !self.is_batch_closed,
            Phase::Idle if kind == Kind::Flush && !self.batches.is_open() => true,
            Phase::Idle if self.only_closes() => {
                (self.phase, self.is_batch_closed) = (Phase::Closing, false);
                true
            }
            Phase::Idle => {
                self.hold(now);
                false
            }
            Phase::Pending | Phase::Blocked | Phase::Answered => false,
        }
    }

    fn may_end(&mut self, now: u64) -> bool {
        match self.phase {
            Phase::Running if self.is_ending || (self.is_lull && self.batches.is_settled()) => {
                self.is_ending = true;
                true
            }
            // Nothing was begun: there is nothing that its end could let go.
            Phase::Starting | Phase::Gone => {
                self.is_ending = true;
                true
            }
            Phase::Idle => {
                self.hold(now);
                self.is_ending = true;
                false
            }
            _ => false,
        }
    }

    fn hold(&mut self, now: u64) {
        (self.phase, self.pending_since) = (Phase::Pending, now);
    }

    /// Whether what is ahead is a batch that closes statements or portals, and nothing else. Not within an open batch:
    /// there a `Sync` ends an implicit transaction.
    fn only_closes(&self) -> bool {
        if self.batches.is_open() {
            return false;
        }
        let mut kinds = self.ahead.iter().skip_while(|kind| matches!(kind, Kind::Close | Kind::Flush));
        kinds.next() == Some(&Kind::Sync)
    }

    /// Something was handed on.
    pub(super) fn passed(&mut self, from: Side, event: Event<'_>) {
        match (from, event) {
            (Side::Frontend, Event::Message(head)) => {
                self.ahead.pop_front();
                self.is_lull = false;
                self.read(head);
                if let Some(sql) = self.prepared.frontend(head)
                    && self.phase == Phase::Running
                {
                    self.asked.push(sql);
                }
                // By itself a client's message ends something only if it is a `Flush` and all replies are there.
                match self.batches.frontend(head) {
                    Some(boundary) if self.phase == Phase::Running => match boundary {
                        Boundary::Flushed { ran: true } => self.finish_step(),
                        Boundary::Flushed { ran: false } | Boundary::Ready { .. } => self.pause_step(),
                    },
                    _ => {}
                }
                if matches!(head.kind(), Kind::Query | Kind::FunctionCall | Kind::Sync) {
                    self.is_batch_closed = true;
                }
            }
            (Side::Backend, Event::Message(_)) => self.gone_on += 1,
            (Side::Backend, Event::End) => self.over(),
            (Side::Frontend, Event::End) => {}
        }
    }

    /// The session is over.
    pub(super) fn over(&mut self) {
        self.answer.is_end = true;
        self.phase = Phase::Gone;
    }
}

/// Whether a client leaves with this.
fn is_end(event: Event<'_>) -> bool {
    match event {
        Event::Message(head) => head.kind() == Kind::Terminate,
        Event::End => true,
    }
}
