//! The layout of diesel: a folder `<version>_<words>` for each migration, with `up.sql` and more.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::error::Result;
use crate::ident::quote_literal;
use crate::migration::ledger::{Ledger, local};
use crate::migration::name::{NameProblem, ProblemKind, out_of_order};
use crate::migration::source::read_script;
use crate::migration::step::{Delivery, Migration, Version};
use crate::migration::took::Took;
use crate::script::Purpose;
use serde::Deserialize;
use std::collections::BTreeMap;

pub(super) struct Diesel;

/// What stands before the first underscore, without dashes.
fn version(dir: &str) -> String {
    dir.split('_').next().unwrap_or_default().replace('-', "")
}

impl Layout for Diesel {
    fn format(&self) -> Format {
        Format::Diesel
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        listing.dirs().any(|dir| listing.has(&format!("{dir}/up.sql"))).then_some(Clue::Contents)
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let mut reading = Reading::default();
        // In the order of the versions as text, as diesel has it.
        let mut found: BTreeMap<String, &str> = BTreeMap::new();
        for dir in listing.dirs().filter(|dir| !dir.starts_with('.')) {
            let inside = Listing::read(&listing.path(dir))?;
            let is_empty = inside.files().chain(inside.dirs()).all(|name| name.starts_with('.'));
            if is_empty {
                continue;
            }
            if !listing.has(&format!("{dir}/up.sql")) {
                let explanation = "holds no `up.sql`: diesel refuses the whole folder";
                reading.problems.push(NameProblem::fatal(dir, ProblemKind::NoUp, explanation));
                continue;
            }
            let version = version(dir);
            if let Some(other) = found.insert(version.clone(), dir) {
                reading.problems.push(NameProblem::fatal(
                    dir,
                    ProblemKind::Duplicate,
                    format!("has version {version}, as `{other}` has, and diesel applies only one of them"),
                ));
            }
        }
        for name in listing.scripts() {
            let explanation = "lies beside the folders: diesel passes it over without a word";
            reading.problems.push(NameProblem::fatal(name, ProblemKind::Ignored, explanation));
        }
        if let Some((first, second)) = out_of_order(found.keys().map(String::as_str)) {
            let (first, second) = (found[first], found[second]);
            reading.problems.push(NameProblem::hazard(
                first,
                ProblemKind::Order,
                format!(
                    "comes before `{second}` though its number is larger: diesel compares versions as text"
                ),
            ));
        }
        let has_downs = found.values().any(|dir| listing.has(&format!("{dir}/down.sql")));
        for (version, dir) in found {
            let script = read_script(listing, &format!("{dir}/up.sql"))?;
            if script.raw().is_empty() {
                return Err(script.refuse(
                    Purpose::Migration,
                    0,
                    "is empty, which diesel refuses",
                    "remove its folder",
                ));
            }
            let down = format!("{dir}/down.sql");
            let down = if listing.has(&down) { Some(read_script(listing, &down)?) } else { None };
            if down.is_none() && has_downs {
                let explanation = "has no `down.sql`, as others have";
                reading.problems.push(NameProblem::hazard(dir, ProblemKind::NoDown, explanation));
            }
            let runs_in_transaction = match metadata(listing, dir) {
                Ok(metadata) => metadata.run_in_transaction,
                Err(complaint) => {
                    let name = format!("{dir}/metadata.toml");
                    let explanation =
                        format!("cannot be read, and diesel does as if it were not there: {complaint}");
                    reading.problems.push(NameProblem::fatal(&name, ProblemKind::Directive, explanation));
                    true
                }
            };
            let words = dir.split_once('_').map_or(dir, |(_, words)| words);
            reading.migrations.push(Migration {
                delivery: if runs_in_transaction { Delivery::Transaction } else { Delivery::Message },
                down,
                ..Migration::new(Version::Name(version), words, script)
            });
        }
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Diesel
    }

    fn outside_a_transaction(&self) -> &'static str {
        "give it a migration of its own with `run_in_transaction = false` in its `metadata.toml`: diesel sends the file as one \
         message, of which the server makes a transaction again if it holds more than one statement"
    }
}

/// What a `metadata.toml` says.
#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default = "yes")]
    run_in_transaction: bool,
}

fn yes() -> bool {
    true
}

/// Reads the `metadata.toml` of `dir`; `Err` is why it cannot be read.
fn metadata(listing: &Listing, dir: &str) -> std::result::Result<Metadata, String> {
    match std::fs::read_to_string(listing.path(dir).join("metadata.toml")) {
        Ok(text) => toml::from_str(&text).map_err(|error| error.message().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Metadata { run_in_transaction: true })
        }
        Err(error) => Err(error.to_string()),
    }
}

impl Ledger for Diesel {
    fn table(&self) -> &'static str {
        "__diesel_schema_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "run_on"]
    }

    fn create(&self, table: &str) -> String {
        format!(
            "create table {table} (version varchar(50) primary key not null, \
             run_on timestamp not null default current_timestamp)"
        )
    }

    fn read(&self, table: &str) -> String {
        format!(
            "select version::text, version::text, null::text, null::bigint, {}, true from {table} \
             order by run_on, {table}.version",
            local("run_on")
        )
    }

    fn record(&self, table: &str, migration: &Migration, _took: Took) -> String {
        let version = quote_literal(&migration.version.to_string());
        format!("insert into {table} (version, run_on) values ({version}, pg_catalog.clock_timestamp())")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::format::folder;
    use crate::migration::{Migrations, problems};
    use rstest::rstest;

    #[test]
    fn folders_are_read() {
        let dir = folder(&[
            ("2024-01-02-030405_b/up.sql", "select 2;"),
            ("2024-01-02-030405_b/metadata.toml", "run_in_transaction = false\n"),
            ("00000000000000_a_first/up.sql", "select 1;"),
            ("00000000000000_a_first/down.sql", "select 0;"),
            (".hidden/x", ""),
            ("later/.gitkeep", ""),
        ]);
        let migrations = Migrations::load(dir.path(), Format::Auto).unwrap();
        let found: Vec<_> = migrations
            .iter()
            .map(|one| (one.version.to_string(), one.name(), one.delivery, one.down.is_some()))
            .collect();
        assert_eq!(
            found,
            [
                ("00000000000000".to_owned(), "00000000000000_a_first/up.sql", Delivery::Transaction, true),
                ("20240102030405".to_owned(), "2024-01-02-030405_b/up.sql", Delivery::Message, false)
            ]
        );
    }

    #[rstest]
    #[case(&[("1_a/up.sql", "select 1;"), ("2_b/down.sql", "select 1;")], ProblemKind::NoUp, true)]
    #[case(&[("1_a/up.sql", "select 1;"), ("1_b/up.sql", "select 1;")], ProblemKind::Duplicate, true)]
    #[case(&[("1_a/up.sql", "select 1;"), ("2_b.sql", "select 1;")], ProblemKind::Ignored, true)]
    #[case(&[("1_a/up.sql", "select 1;"), ("1_a/metadata.toml", "run_in_transaction = no")], ProblemKind::Directive, true)]
    #[case(&[("2_a/up.sql", "select 1;"), ("10_b/up.sql", "select 1;")], ProblemKind::Order, false)]
    fn what_diesel_reads_otherwise_is_told(
        #[case] files: &[(&str, &str)],
        #[case] kind: ProblemKind,
        #[case] fatal: bool,
    ) {
        let dir = folder(files);
        let found = problems(dir.path(), Format::Diesel).unwrap();
        assert!(found.iter().any(|problem| problem.kind == kind && problem.fatal == fatal), "{found:?}");
        assert_eq!(Migrations::load(dir.path(), Format::Diesel).is_err(), fatal);
    }

    #[test]
    fn an_empty_file_is_refused() {
        let dir = folder(&[("1_a/up.sql", "")]);
        let error = Migrations::load(dir.path(), Format::Diesel).unwrap_err();
        assert!(
            error.to_string().starts_with("migration `1_a/up.sql` is empty, which diesel refuses"),
            "{error}"
        );
    }
}
