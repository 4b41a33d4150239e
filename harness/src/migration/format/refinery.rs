//! The layout of refinery: `V<number>__<name>.sql`, in this folder and those below it.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::error::{Error, Result};
use crate::ident::quote_literal;
use crate::migration::ledger::Ledger;
use crate::migration::name::{NameProblem, ProblemKind, looks_like_migration};
use crate::migration::source::read_script;
use crate::migration::step::{Migration, Turn, Version};
use crate::migration::took::Took;
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

pub(super) struct Refinery;

/// What a file's name says.
struct Name<'a> {
    /// `U`: it may be applied after those that come behind it.
    may_be_late: bool,
    version: &'a str,
    words: &'a str,
    is_sql: bool,
}

impl<'a> Name<'a> {
    /// Reads the name of a file that refinery takes for a migration.
    fn of(path: &'a str) -> Option<Name<'a>> {
        let file = path.rsplit('/').next()?;
        let may_be_late = file.starts_with('U');
        let (version, rest) = file.strip_prefix(['V', 'U'])?.split_once("__")?;
        let (words, ending) = rest.rsplit_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, part) = version.split_once('.').unwrap_or((version, "0"));
        let is_word = !words.is_empty() && words.chars().all(|c| c.is_alphanumeric() || c == '_');
        (is_number(whole) && is_number(part) && is_word && matches!(ending, "sql" | "rs")).then(|| Name {
            may_be_late,
            version,
            words,
            is_sql: ending == "sql",
        })
    }
}

impl Layout for Refinery {
    fn format(&self) -> Format {
        Format::Refinery
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let names: Vec<Name<'_>> = listing.files().filter_map(Name::of).collect();
        if names.is_empty() {
            None
        } else if names.iter().any(|name| !name.is_sql) {
            Some(Clue::Contents)
        } else if listing.nearest(&["Cargo.toml"]).is_some() {
            Some(Clue::Surroundings)
        } else {
            Some(Clue::Names)
        }
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let mut reading = Reading::default();
        let mut found: BTreeMap<i64, Migration> = BTreeMap::new();
        for path in listing.deep_files()? {
            let Some(name) = Name::of(&path) else {
                if looks_like_migration(path.rsplit('/').next().unwrap_or_default()) {
                    let explanation = "is not named `V<number>__<name>.sql`: refinery passes it over";
                    reading.problems.push(NameProblem::fatal(&path, ProblemKind::Ignored, explanation));
                }
                continue;
            };
            if !name.is_sql {
                let message = format!("migration `{path}` is written in Rust, which refinery alone can run");
                return Err(Error::usage(message)
                    .with_help("set `command` under `[migrations]` to the program that runs it"));
            }
            let Ok(version) = name.version.parse::<i32>() else {
                let explanation =
                    "has a number that is no whole one of 32 bits: refinery refuses the whole folder";
                reading.problems.push(NameProblem::fatal(&path, ProblemKind::NoVersion, explanation));
                continue;
            };
            let script = read_script(listing, &path)?;
            let migration = Migration {
                checksum: Some(checksum(name.words, version, &script.raw()).to_string()),
                turn: if name.may_be_late { Turn::Late } else { Turn::InOrder },
                ..Migration::new(Version::Number(version.into()), name.words, script)
            };
            if let Some(other) = found.insert(version.into(), migration) {
                reading.problems.push(NameProblem::fatal(
                    &path,
                    ProblemKind::Duplicate,
                    format!(
                        "has version {version}, as `{}` has: give one of them another number",
                        other.name()
                    ),
                ));
            }
        }
        reading.migrations = found.into_values().collect();
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Refinery
    }

    fn outside_a_transaction(&self) -> &'static str {
        "refinery runs every migration in a transaction: do without (`CREATE INDEX` without CONCURRENTLY), or run this \
         statement by another way"
    }
}

/// SipHash-1-3 of the name, the version and the text, each as Rust's `Hash` has it.
fn checksum(words: &str, version: i32, text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    words.hash(&mut hasher);
    version.hash(&mut hasher);
    text.hash(&mut hasher);
    hasher.finish()
}

impl Ledger for Refinery {
    fn table(&self) -> &'static str {
        "refinery_schema_history"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "name", "applied_on", "checksum"]
    }

    fn create(&self, table: &str) -> String {
        format!(
            "create table {table} (version int4 primary key, name varchar(255), applied_on varchar(255), \
             checksum varchar(255))"
        )
    }

    fn read(&self, table: &str) -> String {
        format!(
            "select version::text, coalesce(name, ''), checksum, null::bigint, coalesce(applied_on, ''), true \
             from {table} order by applied_on, {table}.version"
        )
    }

    fn record(&self, table: &str, migration: &Migration, _took: Took) -> String {
        format!(
            "insert into {table} (version, name, applied_on, checksum) values ({}, {}, \
               pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', \
                 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), {})",
            migration.version,
            quote_literal(&migration.description),
            quote_literal(migration.checksum.as_deref().unwrap_or_default())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::{Migrations, problems};
    use rstest::rstest;
    use std::fs;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "select 1;").unwrap();
        }
        dir
    }

    #[test]
    fn numbers_order_the_files_of_all_folders() {
        let dir = folder(&["V10__c.sql", "more/V2__b.sql", "U1__a_b.sql", "README.md"]);
        let migrations = Migrations::load(dir.path(), Format::Refinery).unwrap();
        let found: Vec<_> =
            migrations.iter().map(|one| (one.name(), one.description.as_str(), one.turn)).collect();
        assert_eq!(
            found,
            [
                ("U1__a_b.sql", "a_b", Turn::Late),
                ("more/V2__b.sql", "b", Turn::InOrder),
                ("V10__c.sql", "c", Turn::InOrder)
            ]
        );
    }

    #[rstest]
    #[case(&["V1__a.sql", "V1__b.sql"], ProblemKind::Duplicate)]
    #[case(&["V1__a.sql", "V2_b.sql"], ProblemKind::Ignored)]
    #[case(&["V1__a.sql", "V1.2__b.sql"], ProblemKind::NoVersion)]
    #[case(&["V99999999999__a.sql"], ProblemKind::NoVersion)]
    fn what_refinery_refuses_or_passes_over_is_told(#[case] names: &[&str], #[case] kind: ProblemKind) {
        let dir = folder(names);
        let found = problems(dir.path(), Format::Refinery).unwrap();
        assert!(found.iter().any(|problem| problem.kind == kind && problem.fatal), "{found:?}");
        assert!(Migrations::load(dir.path(), Format::Refinery).is_err());
    }

    #[test]
    fn a_program_is_refused_by_name() {
        let dir = folder(&["V1__a.sql", "V2__b.rs"]);
        let error = Migrations::load(dir.path(), Format::Auto).unwrap_err();
        assert_eq!(
            error.to_string(),
            "migration `V2__b.rs` is written in Rust, which refinery alone can run"
        );
    }
}
