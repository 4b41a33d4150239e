//! What a check says: findings with their evidence, and outcomes. Data only.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A property is broken, and the evidence shows it.
    Error,
    /// A hazard.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// Whose fault a finding is, and so who can do something about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The project's: something to mend in it.
    #[default]
    Mistake,
    /// Nobody's: the design trusts somebody here, and it is worth knowing whom.
    TrustBoundary,
    /// The project's, and harmless: a rule that lets nobody through, not even those whom it is for.
    DeadPolicy,
    /// The server's: a fault of this version, which a later minor version mends.
    ServerBug,
    /// Nobody's: what could not be looked at, and why.
    Uncovered,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Mistake => "mistake",
            Class::TrustBoundary => "trust boundary",
            Class::DeadPolicy => "dead policy",
            Class::ServerBug => "server bug",
            Class::Uncovered => "not covered",
        })
    }
}

/// The object that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The kind of object in the server's words: `table`, `function`, `migration`, `role`, …
    pub kind: String,
    /// Its name as people write it: `identity.tenants`.
    pub name: String,
}

impl Subject {
    /// The object `name` of `kind`.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Subject { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One step of a transcript: pasted into psql in order, the steps show the finding again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The role that ran it; `None` where the step is the harness's own (a process that was run, a file).
    pub role: Option<String>,
    /// The statement, ready to paste, or the command.
    pub sql: String,
    /// What came of it, in one or a few lines; never a row's values.
    pub result: String,
}

impl Evidence {
    /// `sql` run as `role`, and what came of it.
    pub fn as_role(role: impl Into<String>, sql: impl Into<String>, result: impl Into<String>) -> Self {
        Evidence { role: Some(role.into()), sql: sql.into(), result: result.into() }
    }

    /// A step that no role ran: a command, a file.
    pub fn step(what: impl Into<String>, result: impl Into<String>) -> Self {
        Evidence { role: None, sql: what.into(), result: result.into() }
    }
}

/// What is wrong, on which object, how bad, what to do, and the transcript that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's id, such as `tenancy.cross-read`.
    pub check: String,
    /// Whose fault it is.
    #[serde(default)]
    pub class: Class,
    /// How bad it is.
    pub severity: Severity,
    /// The object it is about.
    pub subject: Subject,
    /// What is wrong: one sentence.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// The transcript.
    pub evidence: Vec<Evidence>,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It ran and found nothing.
    Passed,
    /// It ran and found something.
    Failed,
    /// It did not run, for a reason that the report gives: never a silent pass.
    Skipped,
}

/// A figure that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured: `load.list_executions.p95`.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its unit: `ms`, `blocks`, `1/s`.
    pub unit: String,
}

impl Measurement {
    /// How many of `what` there were in the check of that id.
    pub fn count(check: &str, what: &str, count: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "nobody counts to nine quadrillions")]
        let value = count as f64;
        Measurement { name: format!("{check}.{what}"), value, unit: String::new() }
    }
}
