//! The migrations of the project under check.

use serde::Deserialize;
use std::path::PathBuf;

/// How a project's migrations are written, which is by the tool that applies them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// Found out from the names of the files.
    #[default]
    Auto,
    /// `sqlx migrate`.
    Sqlx,
    /// SQL files in the order of their names.
    Plain,
    /// refinery.
    Refinery,
    /// diesel.
    Diesel,
    /// dbmate.
    Dbmate,
    /// goose.
    Goose,
    /// golang-migrate.
    GolangMigrate,
    /// Flyway.
    Flyway,
    /// Prisma.
    Prisma,
    /// Any tool, by its command.
    Command,
}

/// The migrations of the project under check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Migrations {
    /// Their folder.
    pub dir: PathBuf,
    /// How they are written.
    pub format: Format,
    /// The command that applies them, given `DATABASE_URL`; with [`Format::Command`] only.
    pub command: Option<String>,
    /// The table that the built-in runner keeps its history in.
    pub history: String,
    /// The comment that marks a step after which the previous release no longer works.
    pub contract_tag: String,
    /// The role that applies them; a superuser when there is none.
    pub migrator_role: Option<String>,
}

impl Default for Migrations {
    fn default() -> Self {
        Migrations {
            dir: "migrations".into(),
            format: Format::Auto,
            command: None,
            history: "public.schema_migrations".into(),
            contract_tag: "-- pgharness:phase contract".into(),
            migrator_role: None,
        }
    }
}
