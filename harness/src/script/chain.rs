//! Several scripts as one message, each in a transaction of its own.

use super::failure::Purpose;
use super::file::Script;
use super::joint::Joint;
use super::session::{Session, Uncommitted, stop_unless, wait_at_most};
use super::tidy::{is_closed, is_tidy, only_defines};
use sqlx::Row;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgRow};
use std::time::{Duration, Instant};

/// So many bytes of scripts are in a message at the most: the server reads all of it before it begins.
const LONGEST: usize = 256 << 10;

/// The column in which the time is told.
pub(crate) const TIME: &str = "pgharness_time";

/// Scripts that go as one message. That saves a round trip for each, and the server asks only once whether what all of
/// them need holds.
#[derive(Debug, Default)]
pub(crate) struct Chain<'a> {
    links: Vec<(&'a Script, String)>,
    bytes: usize,
}

/// What belongs to a chain besides its scripts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// A condition, as an expression of SQL, without which nothing is committed. It is asked for once.
    pub(crate) condition: &'a str,
    /// What each transaction begins with: a query of the [time](TIME), in seconds.
    pub(crate) mark: &'a str,
    /// The last statements of each transaction.
    pub(crate) lasts: &'a [String],
    /// How long those wait for a lock.
    pub(crate) lock_timeout: Duration,
}

/// What became of a chain.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How long those took that are committed.
    pub(crate) took: Vec<Duration>,
    /// Why the next one is not, if it was run. Its transaction may be open.
    pub(crate) stopped: Option<Uncommitted>,
}

impl<'a> Chain<'a> {
    /// Takes `script` in as the next one, if it can be one of several: it leaves its session alone, so that those behind it
    /// are read and run as if each came by itself. The transactions of one message have one `now()`: only the first writes
    /// rows, so that those of two scripts have two times.
    pub(crate) fn takes(&mut self, script: &'a Script, purpose: Purpose) -> bool {
        // What is wrong with a script is told when it is run alone.
        let Ok(text) = script.for_one_transaction(purpose) else { return false };
        self.bytes += text.len();
        let is_fit = if self.links.is_empty() { is_tidy } else { only_defines };
        let fits = self.bytes <= LONGEST && is_closed(&text) && is_fit(&text);
        if fits {
            self.links.push((script, text));
        }
        fits
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }
}

impl Session {
    /// Runs the scripts of a chain in order, and commits each. Where the server cannot read one of them, it runs those
    /// before it only.
    pub(crate) async fn apply_chain(
        &mut self,
        chain: Chain<'_>,
        purpose: Purpose,
        frame: Frame<'_>,
    ) -> Outcome {
        let Frame { condition, mark, lasts, lock_timeout } = frame;
        let mut joints = Vec::with_capacity(chain.len());
        for ((place, (script, text)), last) in chain.links.into_iter().enumerate().zip(lasts) {
            let (begin, stop) = match place {
                0 => (self.opening(), stop_unless(condition)),
                _ => ("begin;".to_owned(), String::new()),
            };
            let (opening, guard) = (begin + mark, wait_at_most(lock_timeout) + &stop);
            joints.push(Joint { script, text, opening, guard, last: last.clone() });
        }
        loop {
            let message: String = joints.iter().map(Joint::message).collect();
            let (started, mut marks) = (Instant::now(), Vec::with_capacity(joints.len()));
            let take = |row: PgRow| marks.extend(row.try_get::<f64, _>(TIME));
            let (completed, outcome) = self.send_each(&message, take).await;
            let mut took = durations(&marks, started.elapsed());
            let Err(error) = outcome else {
                self.is_clean = true;
                took.resize(joints.len(), Duration::ZERO);
                return Outcome { took, stopped: None };
            };
            if completed == 0
                && let Some(unread @ 1..) = position(&error).map(|position| place(&joints, position))
            {
                joints.truncate(unread);
                continue;
            }
            let (mut done, mut left, mut before) = (0, completed, 0);
            while done + 1 < joints.len() && left >= joints[done].statements() {
                left -= joints[done].statements();
                before += joints[done].message().chars().count();
                done += 1;
            }
            took.resize(done, Duration::ZERO);
            return Outcome { took, stopped: Some(joints[done].uncommitted(purpose, error, left, before)) };
        }
    }
}

/// Where in the message the server says that the error is: a character, counted from one.
fn position(error: &sqlx::Error) -> Option<usize> {
    let answer = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    match answer.position()? {
        PgErrorPosition::Original(position) => Some(position),
        PgErrorPosition::Internal { .. } => None,
    }
}

/// The joint that has the message's character `position`, counted from one.
fn place(joints: &[Joint<'_>], position: usize) -> usize {
    let ends = joints.iter().scan(0, |end, joint| {
        *end += joint.message().chars().count();
        Some(*end)
    });
    ends.take_while(|end| *end < position).count()
}

/// From each mark until the next one, and until the end of all.
fn durations(marks: &[f64], all: Duration) -> Vec<Duration> {
    let first = marks.first().copied().unwrap_or_default();
    let ends = marks.iter().skip(1).copied().chain([first + all.as_secs_f64()]);
    // A clock may be put back.
    ends.zip(marks).map(|(end, mark)| Duration::try_from_secs_f64(end - mark).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn scripts_are_timed_by_their_marks() {
        let took = durations(&[100.0, 100.25, 100.25, 100.125], Duration::from_secs(1));
        assert_eq!(took.iter().map(Duration::as_millis).collect::<Vec<_>>(), [250, 0, 0, 875]);
        assert!(durations(&[], Duration::from_secs(1)).is_empty());
    }

    #[rstest]
    #[case("create table a ();", true)]
    #[case("begin; create table a (); commit;", true)]
    #[case("create table a ()", false)]
    #[case("set search_path = a;", false)]
    #[case("create table a (); commit;", false)]
    fn what_can_be_one_of_several_is_told(#[case] text: &str, #[case] expected: bool) {
        let script = Script::new("a.sql", "a.sql", text);
        let mut chain = Chain::default();
        assert_eq!(chain.takes(&script, Purpose::Migration), expected);
        assert_eq!(chain.len(), usize::from(expected));
    }

    #[test]
    fn only_the_first_writes_rows() {
        let texts = ["insert into a values (1);", "create table b ();", "insert into a values (2);"];
        let scripts = texts.map(|text| Script::new("a.sql", "a.sql", text));
        let mut chain = Chain::default();
        let taken: Vec<bool> = scripts.iter().map(|script| chain.takes(script, Purpose::Migration)).collect();
        assert_eq!(taken, [true, true, false]);
    }

    #[test]
    fn a_message_has_an_end() {
        let text = format!("comment on table a is '{}';", "x".repeat(LONGEST / 2));
        let script = Script::new("a.sql", "a.sql", &text);
        let mut chain = Chain::default();
        assert!(chain.takes(&script, Purpose::Migration));
        assert!(!chain.takes(&script, Purpose::Migration));
    }
}
