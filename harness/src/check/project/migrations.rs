//! The migrations of the project under check.

use crate::error::Error;
use crate::migration::Format;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::path::PathBuf;

/// The migrations of the project under check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Migrations {
    /// Their folder.
    pub dir: PathBuf,
    /// How they are written; `None`: only the command knows.
    #[serde(deserialize_with = "format")]
    pub format: Option<Format>,
    /// The command that applies them, run in the project's folder with `DATABASE_URL` and, on an embedded server, a
    /// `psql` that fits the server on its `PATH`.
    pub command: Option<String>,
    /// The table that the history is kept in; that of the format's own tool when there is none.
    pub history: Option<String>,
    /// The comment that marks a step after which the previous release no longer works.
    pub contract_tag: String,
    /// The role that applies them; a superuser when there is none.
    pub migrator_role: Option<String>,
    /// The file that has a line for each migration that may be applied somewhere; `pgharness lock` writes it.
    pub lock: Option<PathBuf>,
    /// The revision, as git knows it, of which all migrations may be applied somewhere: the release before this one.
    pub since: Option<String>,
    /// Files of statements that the release before this one sends, besides those of `queries/` and `.sqlx/`.
    pub statements: Vec<PathBuf>,
    /// Whether the command promises that several may run at once; the built-in runner always does.
    pub concurrent: bool,
    /// How often `migration.crash-resume` cuts runs off, at most; if not said, once for each state that a run
    /// leaves, up to some hundred of them.
    pub cuts: Option<usize>,
}

impl Default for Migrations {
    fn default() -> Self {
        Migrations {
            dir: "migrations".into(),
            format: Some(Format::Auto),
            command: None,
            history: None,
            contract_tag: "-- pgharness:phase contract".into(),
            migrator_role: None,
            lock: None,
            since: None,
            statements: Vec::new(),
            concurrent: false,
            cuts: None,
        }
    }
}

impl Migrations {
    /// Whether there is a folder.
    pub fn exist(&self) -> bool {
        self.dir.is_dir()
    }
}

fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Format>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name == "command" {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|error: Error| {
        D::Error::custom(match error.help() {
            Some(help) => format!("{error}: {help}"),
            None => error.to_string(),
        })
    })
}
