//! What was said on a proxy's connections, without any value.

use crate::finding::Evidence;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One thing that the server said of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did it: `UPDATE 1`.
    Tag(String),
    /// It failed, with this SQLSTATE. The message is not kept: it may quote values.
    Failed(String),
    /// There are more rows than the client asked for.
    Suspended,
    /// There was nothing to run.
    Empty,
    /// It was left out, after a failure in the same batch.
    Skipped,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Tag(tag) => f.write_str(tag),
            Answer::Failed(sqlstate) => write!(f, "error {sqlstate}"),
            Answer::Suspended => f.write_str("suspended"),
            Answer::Empty => f.write_str("nothing to run"),
            Answer::Skipped => f.write_str("skipped"),
        }
    }
}

/// A statement that a client sent, or several in one simple query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The session, counted from 0 in the order in which they came to the proxy.
    pub session: u64,
    /// The role that the client named at its start.
    pub role: Option<Arc<str>>,
    /// What the client was at, if it was [told](super::Record::operation).
    pub operation: Option<Arc<str>>,
    /// The statement without values and comments; empty if it is not known.
    pub sql: Arc<str>,
    /// What the client heard of it; nothing if it did not hear.
    pub answers: Vec<Answer>,
    /// Rows that the client was given.
    pub rows: u64,
}

impl Entry {
    /// What came of it, on one line.
    fn result(&self) -> String {
        if self.answers.is_empty() {
            return "unanswered".into();
        }
        let answers: Vec<String> = self.answers.iter().map(Answer::to_string).collect();
        answers.join(", ")
    }
}

/// What was recorded so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The statements, in the order in which they were sent.
    pub entries: Vec<Entry>,
    /// Statements beyond those that are kept.
    pub left_out: u64,
}

impl Transcript {
    /// How often each statement was sent, by operation: many of one kind in one operation are what is known as N + 1.
    /// Statements outside of any operation stand under the empty name.
    pub fn counts(&self) -> BTreeMap<&str, BTreeMap<&str, u64>> {
        let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for entry in &self.entries {
            let operation = entry.operation.as_deref().unwrap_or_default();
            *counts.entry(operation).or_default().entry(&entry.sql).or_default() += 1;
        }
        counts
    }

    /// The transcript as a finding's evidence.
    pub fn evidence(&self) -> Vec<Evidence> {
        self.entries
            .iter()
            .map(|entry| Evidence {
                role: entry.role.as_deref().map(str::to_owned),
                sql: entry.sql.to_string(),
                result: entry.result(),
            })
            .collect()
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{}> {}\n   {}", entry.session, entry.sql, entry.result())?;
        }
        if self.left_out > 0 {
            writeln!(f, "and {} more", self.left_out)?;
        }
        Ok(())
    }
}
