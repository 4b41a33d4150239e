//! Files of SQL in the order of their names, with numbers or without.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::error::Result;
use crate::ident::quote_literal;
use crate::migration::ledger::{Ledger, utc};
use crate::migration::name::{NameProblem, ProblemKind, out_of_order};
use crate::migration::source::read_script;
use crate::migration::step::{Delivery, Migration, Version};
use crate::migration::took::Took;

pub(super) struct Plain;

const UP: &str = ".up.sql";
const DOWN: &str = ".down.sql";

/// The comment on the history's table, by which it is known.
const MARKED: &str = "pgharness migration history, version 1";

/// Whether a name is a number and nothing else: no other tool takes it for a migration.
fn is_number(name: &str) -> bool {
    name.strip_suffix(".sql")
        .is_some_and(|stem| !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a name says which way it goes.
fn directed(name: &str) -> bool {
    name.ends_with(UP) || name.ends_with(DOWN)
}

impl Layout for Plain {
    fn format(&self) -> Format {
        Format::Plain
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let scripts: Vec<&str> = listing.files().filter(|name| name.ends_with(".sql")).collect();
        if !scripts.is_empty() && scripts.iter().all(|name| is_number(name)) {
            return Some(Clue::Names);
        }
        let fit = scripts.iter().filter(|name| directed(name)).count();
        // Where numbers stand before an underscore, sqlx reads the folder in the same way, and knows more of it.
        let is_sqlx = super::sqlx::Sqlx.clue(listing).is_some();
        (fit > 0 && fit * 2 >= scripts.len() && !is_sqlx).then_some(Clue::Names)
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let mut reading = Reading::default();
        let scripts: Vec<&str> = listing.files().filter(|name| name.ends_with(".sql")).collect();
        let has_ups = scripts.iter().any(|name| name.ends_with(UP));
        let (ups, others): (Vec<&str>, Vec<&str>) =
            scripts.iter().partition(|name| if has_ups { name.ends_with(UP) } else { !name.ends_with(DOWN) });
        let ending = if has_ups { UP } else { ".sql" };
        let stem = |name: &'_ str| name.strip_suffix(ending).unwrap_or(name).to_owned();
        if let Some((first, second)) = out_of_order(ups.iter().copied()) {
            reading.problems.push(NameProblem::fatal(
                first,
                ProblemKind::Order,
                format!(
                    "runs before `{second}`, since names are sorted as text, though its number is larger: pad the \
                     numbers to one width"
                ),
            ));
        }
        for name in &others {
            let undone = name.strip_suffix(DOWN);
            match undone {
                Some(undone) if ups.iter().any(|up| stem(up) == undone) => {}
                Some(undone) => reading.problems.push(NameProblem::fatal(
                    name,
                    ProblemKind::NoUp,
                    format!("undoes `{undone}{ending}`, which is not there"),
                )),
                None => reading.problems.push(NameProblem::fatal(
                    name,
                    ProblemKind::Ignored,
                    "does not end in `.up.sql` as the others do, and is passed over",
                )),
            }
        }
        let has_downs = others.iter().any(|name| name.ends_with(DOWN));
        for name in &ups {
            let stem = stem(name);
            let down = format!("{stem}{DOWN}");
            let down =
                if others.contains(&down.as_str()) { Some(read_script(listing, &down)?) } else { None };
            if down.is_none() && has_downs {
                reading.problems.push(NameProblem::hazard(
                    name,
                    ProblemKind::NoDown,
                    "has no `.down.sql`, as others have",
                ));
            }
            let script = read_script(listing, name)?;
            let opts_out = script.header().any(|line| line == "no-transaction");
            let checksum = Some(script.checksum().to_string());
            reading.migrations.push(Migration {
                checksum,
                delivery: if opts_out { Delivery::Statements } else { Delivery::Transaction },
                down,
                ..Migration::new(Version::Name(stem.clone()), stem, script)
            });
        }
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Plain
    }

    fn outside_a_transaction(&self) -> &'static str {
        "put `-- no-transaction` on the file's first line: its statements are then sent one by one"
    }
}

/// The history that this harness keeps where no other tool does.
impl Ledger for Plain {
    fn table(&self) -> &'static str {
        "public.schema_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "name", "checksum", "duration_ms", "applied_at"]
    }

    fn marker(&self) -> Option<&'static str> {
        Some(MARKED)
    }

    fn create(&self, table: &str) -> String {
        format!(
            "create table {table} (\
               version text not null primary key, name text not null, checksum text not null, \
               duration_ms bigint not null, applied_at timestamptz not null default pg_catalog.clock_timestamp()); \
             comment on table {table} is {}",
            quote_literal(MARKED)
        )
    }

    fn read(&self, table: &str) -> String {
        format!(
            "select version, name, checksum, duration_ms, {}, true from {table} order by applied_at, version",
            utc("applied_at")
        )
    }

    fn record(&self, table: &str, migration: &Migration, took: Took) -> String {
        format!(
            "insert into {table} (version, name, checksum, duration_ms) values ({}, {}, {}, {})",
            quote_literal(&migration.version.to_string()),
            quote_literal(migration.name()),
            quote_literal(migration.checksum.as_deref().unwrap_or_default()),
            took.in_units(1_000)
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::migration::{Format, Migrations, ProblemKind, problems};
    use rstest::rstest;
    use std::fs;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), "select 1;").unwrap();
        }
        dir
    }

    #[test]
    fn names_order_the_files() {
        let dir = folder(&["b.up.sql", "a.up.sql", "a.down.sql"]);
        let migrations = Migrations::load(dir.path(), Format::Auto).unwrap();
        let found: Vec<_> = migrations.iter().map(|m| (m.version.to_string(), m.down.is_some())).collect();
        assert_eq!(found, [("a".to_owned(), true), ("b".to_owned(), false)]);
        let dir = folder(&["b.sql", "a.sql", "a.down.sql"]);
        let migrations = Migrations::load(dir.path(), Format::Plain).unwrap();
        assert_eq!(migrations.iter().map(|m| m.name().to_owned()).collect::<Vec<_>>(), ["a.sql", "b.sql"]);
        assert!(migrations.iter().next().unwrap().down.is_some());
    }

    #[rstest]
    #[case(&["1-a.up.sql", "2-b.up.sql", "10-c.up.sql"], ProblemKind::Order)]
    #[case(&["a.up.sql", "b.sql"], ProblemKind::Ignored)]
    #[case(&["a.up.sql", "b.down.sql"], ProblemKind::NoUp)]
    #[case(&["a.up.sql", "c d.up.sql"], ProblemKind::Unsafe)]
    fn an_unsafe_name_is_refused(#[case] names: &[&str], #[case] kind: ProblemKind) {
        let dir = folder(names);
        let found = problems(dir.path(), Format::Plain).unwrap();
        assert!(found.iter().any(|problem| problem.kind == kind && problem.fatal), "{found:?}");
        assert!(Migrations::load(dir.path(), Format::Plain).is_err());
    }
}
