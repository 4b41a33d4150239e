//! The layout of golang-migrate: `<number>_<words>.up.sql` and `.down.sql`.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::digest::crc32;
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::migration::history::Entry;
use crate::migration::ledger::Ledger;
use crate::migration::name::{NameProblem, ProblemKind, looks_like_migration};
use crate::migration::source::{Migrations, read_script};
use crate::migration::step::{Delivery, Migration, Version};
use crate::migration::took::Took;
use std::collections::BTreeMap;

pub(super) struct GolangMigrate;

/// The digits before the first underscore, and whether the file goes up.
fn parts(name: &str) -> Option<(&str, &str, bool)> {
    let (number, rest) = name.split_once('_')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let (words, goes_up) = match rest.strip_suffix(".up.sql") {
        Some(words) => (words, true),
        None => (rest.strip_suffix(".down.sql")?, false),
    };
    is_number.then_some((number, words, goes_up))
}

impl Layout for GolangMigrate {
    fn format(&self) -> Format {
        Format::GolangMigrate
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let mut scripts = listing.scripts().peekable();
        let fits = scripts.peek().is_some() && scripts.all(|name| parts(name).is_some());
        // Its names are those of sqlx's reversible migrations: only what lies around them tells the two apart.
        let manifest = listing.nearest(&["go.mod", "Cargo.toml"]).filter(|_| fits)?;
        manifest.ends_with("go.mod").then_some(Clue::Surroundings)
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let mut reading = Reading::default();
        let mut ups: BTreeMap<i64, &str> = BTreeMap::new();
        let mut downs: BTreeMap<i64, &str> = BTreeMap::new();
        for name in listing.files() {
            let Some((number, _, goes_up)) = parts(name) else {
                if looks_like_migration(name) {
                    let explanation = "is not named `<number>_<words>.up.sql`: golang-migrate passes it over without a word";
                    reading.problems.push(NameProblem::fatal(name, ProblemKind::Ignored, explanation));
                }
                continue;
            };
            let Ok(version) = number.parse::<i64>() else {
                let explanation = "has a number that does not fit into the history's 64 bits";
                reading.problems.push(NameProblem::fatal(name, ProblemKind::NoVersion, explanation));
                continue;
            };
            let half = if goes_up { &mut ups } else { &mut downs };
            if let Some(other) = half.insert(version, name) {
                let explanation =
                    format!("has version {version}, as `{other}` has: golang-migrate refuses the folder");
                reading.problems.push(NameProblem::fatal(name, ProblemKind::Duplicate, explanation));
            }
        }
        for (version, name) in downs.iter().filter(|(version, _)| !ups.contains_key(version)) {
            let explanation = format!("undoes version {version}, which no other file brings about");
            reading.problems.push(NameProblem::fatal(name, ProblemKind::NoUp, explanation));
        }
        for (version, name) in ups {
            let down = downs.get(&version).map(|down| read_script(listing, down)).transpose()?;
            if down.is_none() && !downs.is_empty() {
                let explanation = "has no `.down.sql`, as others have";
                reading.problems.push(NameProblem::hazard(name, ProblemKind::NoDown, explanation));
            }
            let words = parts(name).map_or(name, |(_, words, _)| words);
            reading.migrations.push(Migration {
                delivery: Delivery::Message,
                down,
                ..Migration::new(Version::Number(version), words, read_script(listing, name)?)
            });
        }
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &GolangMigrate
    }

    fn outside_a_transaction(&self) -> &'static str {
        "give it a file of its own: golang-migrate sends a file as one message, of which the server makes a transaction if it \
         holds more than one statement"
    }
}

/// One row: the version that the database is at, and whether it is half applied.
impl Ledger for GolangMigrate {
    fn table(&self) -> &'static str {
        "schema_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "dirty"]
    }

    fn create(&self, table: &str) -> String {
        format!("create table {table} (version bigint not null primary key, dirty boolean not null)")
    }

    fn read(&self, table: &str) -> String {
        format!(
            "select version::text, version::text, null::text, null::bigint, 'at a time that is not kept', not dirty \
             from {table} where version >= 0"
        )
    }

    fn entries(&self, rows: Vec<Entry>, migrations: &Migrations) -> Vec<Entry> {
        let Some(current) = rows.into_iter().next() else { return Vec::new() };
        let at: i64 = current.version.parse().unwrap_or_default();
        let before =
            migrations.iter().filter(|migration| matches!(migration.version, Version::Number(n) if n < at));
        let mut entries: Vec<Entry> = before
            .map(|migration| Entry {
                version: migration.version.to_string(),
                complete: true,
                ..current.clone()
            })
            .collect();
        entries.push(current);
        entries
    }

    fn begin(&self, table: &str, migration: &Migration) -> Option<String> {
        Some(set_version(table, migration, true))
    }

    fn record(&self, table: &str, migration: &Migration, _took: Took) -> String {
        set_version(table, migration, false)
    }

    fn locks(&self, database: &str, table: &QualifiedName) -> Vec<i64> {
        // Its command takes the name from the URL, with the slash; a program that gives it a connection does not.
        let names = [database.to_owned(), format!("/{database}")];
        let key = |name: String| {
            let place = format!("{}\0{}\0{name}", table.schema, table.name);
            i64::from(crc32(place.bytes()).wrapping_mul(1_486_364_155))
        };
        names.map(key).to_vec()
    }

    fn mend(&self) -> &'static str {
        "put right by hand what it left, and say with `migrate force VERSION` which version the database is at then"
    }
}

fn set_version(table: &str, migration: &Migration, dirty: bool) -> String {
    format!("truncate {table}; insert into {table} (version, dirty) values ({}, {dirty})", migration.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::{Migrations, problems};
    use rstest::rstest;
    use std::fs;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("db/migrations")).unwrap();
        for name in names {
            fs::write(dir.path().join(name), "select 1;").unwrap();
        }
        dir
    }

    #[rstest]
    #[case::nothing_around(&[], Format::Sqlx)]
    #[case::go(&["go.mod"], Format::GolangMigrate)]
    #[case::rust(&["Cargo.toml"], Format::Sqlx)]
    #[case::rust_nearer(&["go.mod", "db/Cargo.toml"], Format::Sqlx)]
    #[case::go_nearer(&["Cargo.toml", "db/go.mod"], Format::GolangMigrate)]
    fn what_lies_around_tells_it_from_sqlx(#[case] around: &[&str], #[case] expected: Format) {
        let dir = folder(&["db/migrations/1_a.up.sql", "db/migrations/1_a.down.sql"]);
        for name in around {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let path = dir.path().join("db/migrations");
        assert_eq!(Migrations::load(&path, Format::Auto).unwrap().format(), Some(expected));
        // Whoever says so has the last word.
        assert_eq!(
            Migrations::load(&path, Format::GolangMigrate).unwrap().format(),
            Some(Format::GolangMigrate)
        );
        // What sqlx alone knows tells more.
        fs::write(path.join("1_a.up.sql"), "-- no-transaction\nselect 1;").unwrap();
        assert_eq!(Migrations::load(&path, Format::Auto).unwrap().format(), Some(Format::Sqlx));
    }

    #[rstest]
    #[case(&["1_a.up.sql", "01_b.up.sql"], ProblemKind::Duplicate, true)]
    #[case(&["1_a.up.sql", "2_b.sql"], ProblemKind::Ignored, true)]
    #[case(&["1_a.up.sql", "2_b.down.sql"], ProblemKind::NoUp, true)]
    #[case(&["99999999999999999999_a.up.sql"], ProblemKind::NoVersion, true)]
    #[case(&["1_a.up.sql", "2_b.up.sql", "2_b.down.sql"], ProblemKind::NoDown, false)]
    fn odd_names_are_told(#[case] names: &[&str], #[case] kind: ProblemKind, #[case] fatal: bool) {
        let dir = folder(names);
        let found = problems(dir.path(), Format::GolangMigrate).unwrap();
        assert!(found.iter().any(|problem| problem.kind == kind && problem.fatal == fatal), "{found:?}");
        assert_eq!(Migrations::load(dir.path(), Format::GolangMigrate).is_err(), fatal);
    }

    #[test]
    fn the_locks_are_those_of_the_tool() {
        // What the tool's own tests have.
        let table = QualifiedName::new("schema_name_1", "schema_name_2");
        assert_eq!(GolangMigrate.locks("database_name", &table)[0], 3_743_845_847);
        let table = QualifiedName::new("public", "schema_migrations");
        assert_eq!(GolangMigrate.locks("app", &table), [1_787_120_056, 1_726_534_663]);
    }
}
