//! Writing down what passes: statements without their values, and what came of them.

use super::connection::Connection;
use super::message::{Head, Kind, Side};
use super::prepared::Prepared;
use super::tap::{Event, Tap};
use super::transcript::{Answer, Entry, Transcript};
use crate::script::{mask, preparable};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many statements are kept; of the rest only the number.
const ENTRIES_MAX: usize = 10_000;
/// So many answers are kept of one simple query with many statements.
const ANSWERS_MAX: usize = 1_000;
/// So many bytes are kept in all, of statements and answers.
const BYTES_MAX: usize = 8 << 20;
/// So many messages of one session are waited for; of a client that pipelines more, the rest stays unanswered.
const DUE_MAX: usize = 100_000;

/// Records all sessions of a proxy. A bound value never gets here; those in the text of a statement are masked, and of an
/// error only its SQLSTATE is kept.
///
/// ```
/// use pgharness::wire::{Address, Proxy, Record};
/// use pgharness::{Template, sqlx, template};
/// use sqlx::{ConnectOptions, Executor};
///
/// static APP: Template = template! {};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgharness::Result<()> {
/// let db = APP.get().await?;
/// let record = Record::default();
/// let proxy = Proxy::start(Address::of(&db.options()), record.taps()).await?;
/// let mut client = proxy.options(&db.options()).connect().await?;
/// client.execute("select 'secret'").await?;
/// assert_eq!(record.transcript().to_string(), "0> select '…'\n   SELECT 1\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    transcript: Transcript,
    operation: Option<Arc<str>>,
    /// Those that can be prepared, each once.
    statements: BTreeSet<String>,
    /// How much of [`BYTES_MAX`] is used.
    bytes: usize,
}

impl Log {
    /// Whether there is room for `bytes` more, which is taken.
    fn takes(&mut self, bytes: usize) -> bool {
        let has_room = self.bytes + bytes <= BYTES_MAX;
        self.bytes += if has_room { bytes } else { 0 };
        has_room
    }
}

impl Record {
    /// Makes the taps, for [`Proxy::start`](super::Proxy::start).
    pub fn taps(&self) -> impl Fn(&Connection) -> RecordTap + Send + Sync + 'static {
        let record = self.clone();
        move |connection| RecordTap {
            record: record.clone(),
            session: connection.number,
            role: connection.startup.parameter("user").map(Arc::from),
            state: Mutex::default(),
        }
    }

    /// What is sent from now on belongs to the operation `name`: a request, a job.
    pub fn operation(&self, name: &str) {
        self.log().operation = Some(name.into());
    }

    /// What was recorded so far.
    pub fn transcript(&self) -> Transcript {
        self.log().transcript.clone()
    }

    /// What was sent and can be prepared, each statement once and without its values, as the text of a file for
    /// `migrations.statements`: with it `migration.old-release` sees to it that a release goes on working. Commands, and
    /// queries of several statements, are left out.
    pub fn statements(&self) -> String {
        self.log().statements.iter().map(|sql| format!("{sql};\n")).collect()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the server will answer.
#[derive(Debug)]
enum Due {
    Parse,
    /// What came before it was prepared and described; an entry of the transcript, if it is kept.
    Execute(Option<usize>),
    Query(Option<usize>),
    Sync,
}

#[derive(Debug, Default)]
struct State {
    prepared: Prepared,
    due: VecDeque<Due>,
    /// The server skips what comes, up to `Sync`.
    is_skipping: bool,
    /// The SQL of the last `Parse`.
    parsed: Option<Arc<str>>,
    /// Whether a backslash escapes in plain strings.
    escapes: bool,
}

/// Looks on at one session for a [`Record`].
#[derive(Debug)]
pub struct RecordTap {
    record: Record,
    session: u64,
    role: Option<Arc<str>>,
    state: Mutex<State>,
}

impl RecordTap {
    fn frontend(&self, state: &mut State, head: &Head) {
        self.keep(state, head);
        let sql = state.prepared.frontend(head);
        let kind = head.kind();
        let due = match kind {
            Kind::Parse => {
                state.parsed = head.sql().map(|sql| self.masked(state, &sql));
                Due::Parse
            }
            Kind::Sync => {
                state.is_skipping = false;
                Due::Sync
            }
            Kind::Query | Kind::Execute | Kind::FunctionCall => {
                let sql = sql.map(|sql| self.masked(state, &sql)).unwrap_or_default();
                let entry = self.enter(sql);
                if state.is_skipping {
                    return self.answer(entry, Answer::Skipped);
                }
                if kind == Kind::Execute { Due::Execute(entry) } else { Due::Query(entry) }
            }
            _ => return,
        };
        if state.due.len() < DUE_MAX && !(state.is_skipping && matches!(due, Due::Parse)) {
            state.due.push_back(due);
        }
    }

    /// Keeps the statement of a `Query` or a `Parse`, if it can be prepared.
    fn keep(&self, state: &State, head: &Head) {
        let Some(sql) = head.sql().filter(|_| head.is_whole()) else { return };
        // Where a backslash escapes, the end of a string cannot be told.
        if state.escapes && sql.contains('\'') {
            return;
        }
        if let Some(sql) = preparable(&sql) {
            let log = &mut *self.record.log();
            let is_new = !log.statements.contains(&sql);
            if is_new && log.statements.len() < ENTRIES_MAX && log.takes(sql.len()) {
                log.statements.insert(sql);
            }
        }
    }

    fn masked(&self, state: &State, sql: &str) -> Arc<str> {
        // Where a backslash escapes, the end of a string cannot be told.
        match sql.find('\'') {
            Some(at) if state.escapes => (mask(&sql[..at]) + "…").into(),
            _ => mask(sql).into(),
        }
    }

    fn backend(&self, state: &mut State, head: &Head) {
        let entry = match state.due.front() {
            Some(Due::Execute(entry) | Due::Query(entry)) => *entry,
            _ => None,
        };
        let is_execute = matches!(state.due.front(), Some(Due::Execute(_)));
        let answer = match head.kind() {
            Kind::ParameterStatus => {
                state.escapes = head.escapes().unwrap_or(state.escapes);
                return;
            }
            Kind::ParseComplete => {
                if matches!(state.due.front(), Some(Due::Parse)) {
                    state.due.pop_front();
                }
                return;
            }
            Kind::DataRow => return self.count_row(entry),
            Kind::Ready => {
                while let Some(due) = state.due.pop_front() {
                    if matches!(due, Due::Sync | Due::Query(_)) {
                        break;
                    }
                }
                return;
            }
            Kind::Error => return self.failed(state, head),
            Kind::CommandComplete => Answer::Tag(head.tag().unwrap_or_default()),
            Kind::PortalSuspended => Answer::Suspended,
            Kind::EmptyQuery => Answer::Empty,
            _ => return,
        };
        if is_execute {
            state.due.pop_front();
        }
        self.answer(entry, answer);
    }

    /// An error belongs to what was at hand; the rest of an extended batch is skipped.
    fn failed(&self, state: &mut State, head: &Head) {
        let failed = Answer::Failed(head.field(b'C').unwrap_or_default());
        if let Some(Due::Query(entry)) = state.due.front() {
            return self.answer(*entry, failed);
        }
        let mut failed = Some(failed);
        let mut was_parsed = false;
        while let Some(due) = state.due.front() {
            match due {
                Due::Sync => break,
                Due::Parse => was_parsed = true,
                Due::Execute(entry) | Due::Query(entry) => {
                    self.answer(*entry, failed.take().unwrap_or(Answer::Skipped));
                }
            }
            state.due.pop_front();
        }
        state.is_skipping = state.due.is_empty();
        // It was only to be prepared, and is nowhere yet.
        if let (Some(failed), true) = (failed, was_parsed) {
            let entry = self.enter(state.parsed.clone().unwrap_or_default());
            self.answer(entry, failed);
        }
    }

    /// A new entry; `None` if there are too many.
    fn enter(&self, sql: Arc<str>) -> Option<usize> {
        let log = &mut *self.record.log();
        if log.transcript.entries.len() >= ENTRIES_MAX || !log.takes(sql.len() + size_of::<Entry>()) {
            log.transcript.left_out += 1;
            return None;
        }
        let entries = &mut log.transcript.entries;
        entries.push(Entry {
            session: self.session,
            role: self.role.clone(),
            operation: log.operation.clone(),
            sql,
            answers: Vec::new(),
            rows: 0,
        });
        Some(entries.len() - 1)
    }

    fn answer(&self, entry: Option<usize>, answer: Answer) {
        let log = &mut *self.record.log();
        let text = match &answer {
            Answer::Tag(text) | Answer::Failed(text) => text.len(),
            Answer::Suspended | Answer::Empty | Answer::Skipped => 0,
        };
        if entry.is_some()
            && log.takes(size_of::<Answer>() + text)
            && let Some(entry) = entry.and_then(|at| log.transcript.entries.get_mut(at))
            && entry.answers.len() < ANSWERS_MAX
        {
            entry.answers.push(answer);
        }
    }

    fn count_row(&self, entry: Option<usize>) {
        let mut log = self.record.log();
        if let Some(entry) = entry.and_then(|at| log.transcript.entries.get_mut(at)) {
            entry.rows += 1;
        }
    }
}

impl Tap for RecordTap {
    // What was handed on, not what came: a message that another tap left out is none that anybody heard.
    fn passed(&self, from: Side, event: Event<'_>) {
        let Event::Message(head) = event else { return };
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match from {
            Side::Frontend => self.frontend(state, head),
            Side::Backend => self.backend(state, head),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// A conversation of `(side, type byte, body)`, and the transcript of it.
    fn check(conversation: &[(&str, &str)], expected: &str) {
        let record = Record::default();
        let tap = RecordTap { record: record.clone(), session: 0, role: None, state: Mutex::default() };
        for (kind, body) in conversation {
            let side = if kind.starts_with('>') { Side::Frontend } else { Side::Backend };
            tap.passed(side, Event::Message(&Head::new(side, kind.as_bytes()[1], body.as_bytes())));
        }
        assert_eq!(record.transcript().to_string(), expected);
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let record = Record::default();
        let tap = RecordTap { record: record.clone(), session: 0, role: None, state: Mutex::default() };
        let long = "x".repeat(1_500);
        for _ in 0..ENTRIES_MAX {
            let query = Head::new(Side::Frontend, b'Q', format!("{long}\0").as_bytes());
            tap.passed(Side::Frontend, Event::Message(&query));
        }
        let transcript = record.transcript();
        let kept: usize = transcript.entries.iter().map(|entry| entry.sql.len()).sum();
        assert!(kept <= BYTES_MAX && kept > BYTES_MAX / 2, "{kept}");
        assert_eq!(transcript.entries.len() as u64 + transcript.left_out, ENTRIES_MAX as u64);
    }

    #[test]
    fn what_can_be_prepared_is_kept_once() {
        let record = Record::default();
        let tap = RecordTap { record: record.clone(), session: 0, role: None, state: Mutex::default() };
        for (kind, body) in [
            (b'Q', "begin\0"),
            (b'P', "s\0select a from t where b = $1 limit 5\0\0\0"),
            (b'Q', "delete from t where a = 'secret'\0"),
            (b'Q', "delete from t where a = 'other'\0"),
        ] {
            tap.passed(Side::Frontend, Event::Message(&Head::new(Side::Frontend, kind, body.as_bytes())));
        }
        let expected = "delete from t where a = $1;\nselect a from t where b = $1 limit 1;\n";
        assert_eq!(record.statements(), expected);
    }

    #[rstest]
    #[case::simple(
        &[(">Q", "select 1; delete from t where n = 7\0"), ("<D", ""), ("<C", "SELECT 1\0"), ("<C", "DELETE 3\0"), ("<Z", "I")],
        "0> select ?; delete from t where n = ?\n   SELECT 1, DELETE 3\n"
    )]
    #[case::extended(
        &[(">P", "s\0select $1\0\0\0"), (">B", "\0s\0"), (">E", "\0"), (">S", ""), ("<1", ""), ("<2", ""), ("<D", "secret"), ("<C", "SELECT 1\0"), ("<Z", "I")],
        "0> select $1\n   SELECT 1\n"
    )]
    #[case::fails_to_parse(
        &[(">P", "s\0selec 'secret'\0\0\0"), (">D", "Ss\0"), (">S", ""), ("<E", "C42601\0Msecret\0\0"), ("<Z", "I"), (">Q", "select 1\0")],
        "0> selec '…'\n   error 42601\n0> select ?\n   unanswered\n"
    )]
    #[case::batch_that_fails(
        &[(">P", "\0a\0\0\0"), (">B", "\0\0"), (">E", "\0"), (">P", "\0b\0\0\0"), (">B", "\0\0"), (">E", "\0"), (">S", ""),
          ("<1", ""), ("<2", ""), ("<E", "C23505\0\0"), ("<Z", "I")],
        "0> a\n   error 23505\n0> b\n   skipped\n"
    )]
    #[case::skips_a_query_after_a_failure(
        &[(">P", "\0a\0\0\0"), (">B", "\0\0"), (">E", "\0"), (">H", ""), ("<E", "C23505\0\0"), (">Q", "b\0"), (">S", ""), ("<Z", "I"),
          (">Q", "c\0"), ("<C", "C\0"), ("<Z", "I")],
        "0> a\n   error 23505\n0> b\n   skipped\n0> c\n   C\n"
    )]
    #[case::pipelined(
        &[(">P", "\0a\0\0\0"), (">B", "\0\0"), (">E", "\0"), (">S", ""), (">P", "\0b\0\0\0"), (">B", "\0\0"), (">E", "\0"), (">S", ""),
          ("<1", ""), ("<E", "C40001\0\0"), ("<Z", "I"), ("<1", ""), ("<2", ""), ("<C", "B\0"), ("<Z", "I")],
        "0> a\n   error 40001\n0> b\n   B\n"
    )]
    #[case::other_strings(
        &[("<S", "standard_conforming_strings\0off\0"), (">Q", "select 'a\\' secret'\0"), ("<C", "SELECT 1\0"), ("<Z", "I")],
        "0> select…\n   SELECT 1\n"
    )]
    fn transcripts(#[case] conversation: &[(&str, &str)], #[case] expected: &str) {
        check(conversation, expected);
    }
}
