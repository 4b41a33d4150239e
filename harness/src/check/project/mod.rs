//! The project under check, as it describes itself: what `pgharness.toml` says, free of its spelling.

mod access;
mod migrations;
mod structure;
mod tenancy;

pub use access::{Access, Privilege};
pub use migrations::Migrations;
pub use structure::{Every, Partitions, Retention, Structure};
pub use tenancy::{Tenancy, TenancyModel};

use crate::secret::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The project under check. Paths are as they can be opened; lists and maps are in order.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its folder.
    pub dir: PathBuf,
    /// Its `pgharness.toml`, where it has one.
    pub file: Option<PathBuf>,
    /// Its migrations.
    pub migrations: Migrations,
    /// SQL that creates roles and the like, run as superuser before any migration.
    pub bootstrap: Vec<PathBuf>,
    /// Extensions that the harness creates, as superuser.
    pub extensions: Vec<String>,
    /// How many connections the server takes.
    pub connections_max: u32,
    /// The exact version that runs in production, where the project says it: `16.4`.
    pub deployed: Option<String>,
    /// Its seed data.
    pub fixtures: Vec<PathBuf>,
    /// Its committed snapshot.
    pub snapshot: Snapshot,
    /// The URL of a live database to compare with, which is only read.
    pub live: Option<Secret>,
    /// Whether statements may be tried there that write, within transactions that are rolled back.
    pub live_probes: bool,
    /// The release before this one.
    pub old_release: Option<OldRelease>,
    /// How it keeps tenants apart.
    pub tenancy: Option<Tenancy>,
    /// The roles that its services connect as, by name.
    pub roles: BTreeMap<String, Role>,
    /// Who may do what.
    pub access: Access,
    /// What its tables look like.
    pub structure: Structure,
}

impl Project {
    /// Whether it has migrations: a folder, or a command.
    pub fn has_migrations(&self) -> bool {
        self.migrations.command.is_some() || self.migrations.exist()
    }

    /// The revision of the release before this one, where one is named.
    pub fn since(&self) -> Option<&str> {
        let of_release = self.old_release.as_ref().map(|release| release.git.as_str());
        self.migrations.since.as_deref().or(of_release)
    }
}

/// What was committed of the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshot {
    /// The file.
    pub file: Option<PathBuf>,
    /// The command by which the project's own generator says whether it agrees.
    pub model: Option<String>,
}

/// The release before this one, whose statements must still work.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldRelease {
    /// The revision that git knows it by.
    pub git: String,
    /// Its named queries: a path within that revision.
    pub queries: Option<String>,
    /// The statements that sqlx recorded: a path within that revision.
    pub sqlx: Option<String>,
}

/// A role that a service connects as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its password.
    pub password: Option<Secret>,
    /// How many connections its pools hold together.
    pub pool_max: Option<u32>,
    /// How long a statement of it may take.
    pub statement_timeout: Option<Duration>,
    /// How long it may leave a transaction open and say nothing.
    pub idle_in_transaction_session_timeout: Option<Duration>,
    /// How long it may wait for a lock.
    pub lock_timeout: Option<Duration>,
}
