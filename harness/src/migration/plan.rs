//! What is to be applied: the files compared with the history.

use super::history::Entry;
use super::ledger::Ledger;
use super::source::Migrations;
use super::step::{Migration, Turn};
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// What a runner has to do.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// What is not applied yet, in order.
    pub(super) pending: Vec<&'a Migration>,
    /// How many are applied.
    pub(super) already: usize,
}

impl<'a> Plan<'a> {
    /// Compares.
    ///
    /// # Errors
    /// A file was edited or removed after it had been applied, one is recorded as half applied, or one is pending
    /// that comes before an applied one. All of them are told.
    pub(super) fn new(migrations: &'a Migrations, history: &[Entry], database: &str) -> Result<Plan<'a>> {
        let ledger = migrations.format().unwrap_or_default().ledger();
        let mut applied: BTreeMap<&str, &Entry> =
            history.iter().map(|entry| (entry.version.as_str(), entry)).collect();
        let mut plan = Plan { pending: Vec::new(), already: 0 };
        let mut wrong: Vec<(String, String)> = Vec::new();
        for migration in migrations {
            let Some(entry) = applied.remove(migration.version.to_string().as_str()) else {
                plan.pending.push(migration);
                continue;
            };
            if !entry.complete {
                wrong.push(half_applied(entry, ledger));
                continue;
            }
            plan.already += 1;
            if migration.turn != Turn::Repeatable {
                let late = plan.pending.iter().filter(|late| late.turn == Turn::InOrder);
                wrong.extend(late.map(|late| out_of_order(late, migration)));
                plan.pending.retain(|late| late.turn != Turn::InOrder);
            }
            if let (Some(then), Some(now)) = (&entry.checksum, &migration.checksum)
                && then != now
            {
                wrong.push(edited(migration, entry));
            }
        }
        wrong.extend(applied.into_values().map(|entry| removed(entry, migrations)));
        if wrong.is_empty() {
            return Ok(plan);
        }
        let (what, help): (Vec<String>, Vec<String>) = wrong.into_iter().unzip();
        let mut help = help;
        help.dedup();
        let message =
            format!("the history of database `{database}` and the files differ: {}", what.join("; "));
        Err(Error::new(ErrorKind::Migration, message).with_help(help.join("\n")))
    }
}

fn out_of_order(late: &Migration, applied: &Migration) -> (String, String) {
    (
        format!("`{}` is pending, and `{}`, which comes after it, is applied", late.name(), applied.name()),
        format!("give `{}` a version that comes after all applied ones", late.name()),
    )
}

fn half_applied(entry: &Entry, ledger: &dyn Ledger) -> (String, String) {
    (format!("`{}` is recorded as half applied ({})", entry.name, entry.applied_at), ledger.mend().to_owned())
}

fn edited(migration: &Migration, entry: &Entry) -> (String, String) {
    (
        format!("`{}` was edited after it had been applied ({})", migration.name(), entry.applied_at),
        format!("restore `{}` and put the change into a new migration", migration.path().display()),
    )
}

fn removed(entry: &Entry, migrations: &Migrations) -> (String, String) {
    let place = match migrations.dir() {
        compiled if compiled.as_os_str().is_empty() => "the program".to_owned(),
        dir => format!("`{}`", dir.display()),
    };
    (
        format!("`{}` is applied, and its file is gone from {place}", entry.name),
        format!(
            "restore `{}`; or run the release that brought it, if a newer one has migrated this database",
            entry.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Format;

    /// Three files, of which those named are applied.
    fn check(applied: &[&str], expected: std::result::Result<(usize, usize), &str>) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1_a.sql", "2_b.sql", "3_c.sql"] {
            std::fs::write(dir.path().join(name), format!("select '{name}';")).unwrap();
        }
        let migrations = Migrations::load(dir.path(), Format::Sqlx).unwrap();
        let history: Vec<Entry> = applied
            .iter()
            .map(|name| Entry {
                version: name.split('_').next().unwrap().to_owned(),
                name: (*name).to_owned(),
                checksum: migrations
                    .iter()
                    .find(|migration| migration.name() == *name)
                    .map_or(Some("other".into()), |migration| migration.checksum.clone()),
                duration_ms: Some(0),
                applied_at: "then".into(),
                complete: !name.ends_with("half.sql"),
            })
            .collect();
        let plan = Plan::new(&migrations, &history, "db");
        match (plan, expected) {
            (Ok(plan), Ok(counts)) => assert_eq!((plan.already, plan.pending.len()), counts),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (plan, expected) => panic!("{plan:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn files_are_compared_with_the_history() {
        check(&[], Ok((0, 3)));
        check(&["1_a.sql", "2_b.sql"], Ok((2, 1)));
        check(
            &["1_a.sql", "3_c.sql"],
            Err("`2_b.sql` is pending, and `3_c.sql`, which comes after it, is applied"),
        );
        check(&["1_a.sql", "2_other.sql"], Err("`2_b.sql` was edited after it had been applied (then)"));
        check(&["1_a.sql", "2_half.sql"], Err("`2_half.sql` is recorded as half applied (then)"));
        check(
            &["1_a.sql", "2_b.sql", "3_c.sql", "4_d.sql"],
            Err("`4_d.sql` is applied, and its file is gone"),
        );
    }
}
