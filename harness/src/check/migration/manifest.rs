//! What migrations will do to a database: tried on a disposable one, never on the target.

use super::contraction::widens;
use super::observation::{KeptOut, Observation, observe};
use crate::catalog::{Change, Kind, What};
use crate::check::Context;
use crate::check::walk::{NO_STEPS, Step};
use crate::error::{Error, Result};
use crate::migration::Delivery;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What migrations will do, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The version of this form.
    pub version: u8,
    /// Each of them.
    pub migrations: Vec<Deed>,
}

/// What one migration will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// Its version.
    pub version: String,
    /// The name of its file.
    pub name: String,
    /// How it is sent: `in a transaction`.
    pub delivery: String,
    /// Whether a failure leaves nothing of it behind.
    pub is_atomic: bool,
    /// How many statements it has.
    pub statements: usize,
    /// The objects that come to be: `table public.users`.
    pub created: Vec<String>,
    /// The objects that change, and how: `column public.users.id: type integer → bigint`.
    pub changed: Vec<String>,
    /// The objects that go.
    pub dropped: Vec<String>,
    /// The tables that somebody is kept from, until the transaction ends.
    pub locks: Vec<Held>,
    /// The tables that are written anew.
    pub rewritten: BTreeSet<String>,
    /// The tables that are read from one end to the other.
    pub scanned: BTreeSet<String>,
    /// How many statements could not be looked at, since they refuse to run in a transaction.
    pub unseen: usize,
    /// What no later migration brings back.
    pub lost: Vec<Loss>,
}

/// A table that somebody is kept from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The table.
    pub table: String,
    /// The mode of the lock, as the server has it.
    pub mode: String,
    /// Whether those who read are kept out too; those who write are.
    pub keeps_readers: bool,
    /// Whether the migration waits for the lock without a limit, and with it everybody behind it.
    pub waits_forever: bool,
}

/// Something that cannot be undone, and how to have it all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What is lost.
    pub what: String,
    /// How to recover.
    pub recovery: String,
}

/// What the migrations of these versions will do, in their order: they are tried on a database of the context's own.
///
/// # Errors
/// They cannot be read or applied, or a command applies them.
pub async fn manifest(context: &Context, versions: &BTreeSet<String>) -> Result<Manifest> {
    let mut manifest = Manifest { version: 1, migrations: Vec::new() };
    if versions.is_empty() {
        return Ok(manifest);
    }
    let Some(walk) = context.walk().await? else { return Err(Error::usage(NO_STEPS)) };
    let db = context.vacant().await?;
    for step in walk.steps() {
        if versions.contains(&step.migration.version.to_string()) {
            // What is before it is applied in one go.
            if step.number > 0 {
                walk.migrator.first(step.number).apply(&db).await?;
            }
            let observation = observe(&db, &walk.migrator, step.migration).await?;
            manifest.migrations.push(deed(&step, &observation));
        }
    }
    Ok(manifest)
}

fn deed(step: &Step<'_>, observation: &Observation) -> Deed {
    let migration = step.migration;
    let statements = migration.script.statements().len();
    let changes = step.changes();
    let of_kind = |wanted: fn(&What) -> bool| {
        let chosen = changes.iter().filter(|change| wanted(&change.what));
        chosen.map(|change| format!("{} {}", change.kind, change.name)).collect()
    };
    let is_changed = |change: &&Change| matches!(change.what, What::Changed { .. });
    let told = |change: &Change| change.to_string().trim_start_matches("~ ").to_owned();
    Deed {
        version: migration.version.to_string(),
        name: migration.name().to_owned(),
        delivery: migration.delivery.to_string(),
        is_atomic: match migration.delivery {
            Delivery::Transaction => true,
            Delivery::Statements => statements < 2,
            // A single statement that refuses to run in one may leave something.
            Delivery::Message => observation.unseen == 0,
        },
        statements,
        created: of_kind(|what| matches!(what, What::Added)),
        changed: changes.iter().filter(is_changed).map(told).collect(),
        dropped: of_kind(|what| matches!(what, What::Removed)),
        locks: locks(observation),
        rewritten: observation.statements.iter().flat_map(|one| one.rewritten.clone()).collect(),
        scanned: observation.statements.iter().flat_map(|one| one.scanned.clone()).collect(),
        unseen: observation.unseen,
        lost: losses(step, &changes),
    }
}

/// The strongest lock on each table.
fn locks(observation: &Observation) -> Vec<Held> {
    let mut strongest: BTreeMap<&String, (KeptOut, Held)> = BTreeMap::new();
    for statement in &observation.statements {
        for (table, (who, mode)) in &statement.held {
            let is_known = strongest.get(table).is_some_and(|(known, _)| known >= who);
            if !is_known {
                let held = Held {
                    table: table.clone(),
                    mode: mode.clone(),
                    keeps_readers: *who == KeptOut::Readers,
                    waits_forever: !statement.has_lock_timeout,
                };
                strongest.insert(table, (*who, held));
            }
        }
    }
    strongest.into_values().map(|(_, held)| held).collect()
}

/// What is lost for good: rows, and parts of values.
fn losses(step: &Step<'_>, changes: &[Change]) -> Vec<Loss> {
    let back = match &step.migration.down {
        Some(_) => "its way back makes the object again, without what was in it",
        None => "it has no way back",
    };
    let mut lost = Vec::new();
    let is_gone = |kind: Kind, name: &str| {
        changes
            .iter()
            .any(|change| change.kind == kind && change.name == name && change.what == What::Removed)
    };
    for change in changes {
        let Change { kind, name, what } = change;
        let (what, keep) = match (kind, what) {
            (Kind::Table, What::Removed) => {
                (format!("the rows of `{name}`"), format!("`create table … as table {name}`"))
            }
            // With its table it is told.
            (Kind::Column, What::Removed) => match name.rsplit_once('.') {
                Some((table, _)) if is_gone(Kind::Table, table) => continue,
                _ => {
                    (format!("the values of column `{name}`"), "copy them with the key to a table".to_owned())
                }
            },
            (Kind::Sequence, What::Removed) => {
                (format!("how far sequence `{name}` was"), format!("note `select last_value from {name}`"))
            }
            (Kind::Column, What::Changed { fact, from: Some(from), to: Some(to) })
                if fact == "type" && !widens(from, to) =>
            {
                let what = format!("of column `{name}` what {from} holds and {to} does not");
                (what, "copy the values with the key to a table".to_owned())
            }
            _ => continue,
        };
        lost.push(Loss { what, recovery: format!("{back}: before, {keep}; after, restore a backup") });
    }
    for (table, now) in &step.after.rows {
        let before = step.before.rows.get(table).copied().unwrap_or_default();
        if before > *now {
            lost.push(Loss {
                what: format!(
                    "{} of the {before} rows that migrations put into `{table}`, or more",
                    before - now
                ),
                recovery: format!(
                    "{back}: before, `create table … as table {table}`; after, restore a backup"
                ),
            });
        }
    }
    lost
}
