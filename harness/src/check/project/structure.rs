//! What a project's tables look like, as it declares it.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What the tables look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Structure {
    /// Tables that must exist.
    pub expected_tables: Vec<String>,
    /// Prefixes by which tables of one domain begin, where several share a schema.
    pub prefixes: Vec<String>,
    /// Partitioned tables, by name.
    pub partitions: BTreeMap<String, Partitions>,
    /// Tables whose rows are removed after a while, by name.
    pub retention: BTreeMap<String, Retention>,
}

/// How much time one partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a month is a month")]
pub enum Every {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// The window of partitions that a table must have at any time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partitions {
    /// How much time one partition holds.
    pub every: Every,
    /// How many lie ahead of now.
    #[serde(default)]
    pub ahead: u32,
    /// How many lie behind.
    #[serde(default)]
    pub behind: u32,
    /// The statement that moves the window on.
    pub procedure: Option<String>,
}

/// How long rows are kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// An interval as the server reads it: `90 days`.
    pub keep: String,
    /// The statement that removes older rows.
    pub procedure: Option<String>,
    /// The role that runs it; a superuser when there is none.
    pub role: Option<String>,
    /// The column that says how old a row is; if not said, all of its times.
    pub column: Option<String>,
}
