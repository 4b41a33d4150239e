//! The layout of sqlx 0.9: `<number>_<words>.sql`, or the pair `.up.sql` and `.down.sql`.

use super::{Clue, Format, Layout, Listing, Reading};
use crate::digest::{crc32, hex};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_literal};
use crate::migration::ledger::{Ledger, utc};
use crate::migration::name::{NameProblem, ProblemKind, looks_like_migration, out_of_order};
use crate::migration::source::read_script;
use crate::migration::step::{Delivery, Migration, Version};
use crate::migration::table::TableName;
use crate::migration::took::Took;
use crate::script::Script;
use serde::Deserialize;
use sha2::{Digest as _, Sha384};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) struct Sqlx;

/// What sqlx looks for in the first bytes of a file.
const DIRECTIVE: &str = "-- no-transaction";

/// The version in a name that sqlx takes for a migration: what stands before the first underscore.
fn version(name: &str) -> Option<i64> {
    let (number, rest) = name.split_once('_')?;
    // sqlx would take a sign too; no sane name has one.
    (rest.ends_with(".sql") && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| number.parse().ok())
        .flatten()
}

fn is_down(name: &str) -> bool {
    name.ends_with(".down.sql")
}

impl Layout for Sqlx {
    fn format(&self) -> Format {
        Format::Sqlx
    }

    fn clue(&self, listing: &Listing) -> Option<Clue> {
        let scripts = listing.files().filter(|name| name.ends_with(".sql"));
        let (fit, others): (Vec<&str>, Vec<&str>) = scripts.partition(|name| version(name).is_some());
        // A stray file must not hide what the folder is.
        if fit.is_empty() || fit.len() < others.len() {
            return None;
        }
        Some(if listing.any_text(|text| text.starts_with(DIRECTIVE)) { Clue::Contents } else { Clue::Names })
    }

    fn read(&self, listing: &Listing) -> Result<Reading> {
        let config = Config::around(listing)?;
        let mut reading = Reading {
            table: config.table_name.as_deref().map(TableName::parse),
            schemas: config.create_schemas.iter().map(|schema| TableName::parse(schema).name).collect(),
            ..Reading::default()
        };
        let mut ups: BTreeMap<i64, &str> = BTreeMap::new();
        let mut downs: BTreeMap<i64, &str> = BTreeMap::new();
        for name in listing.files() {
            let Some(version) = version(name) else {
                reading.problems.extend(passed_over(name));
                continue;
            };
            let half = if is_down(name) { &mut downs } else { &mut ups };
            if let Some(other) = half.insert(version, name) {
                reading.problems.push(NameProblem::fatal(
                    name,
                    ProblemKind::Duplicate,
                    format!("has version {version}, as `{other}` has: give one of them another number"),
                ));
            }
        }
        if let Some((first, second)) = out_of_order(ups.values().copied()) {
            reading.problems.push(NameProblem::hazard(
                second,
                ProblemKind::Order,
                format!(
                    "sorts behind `{first}` by name though its number is smaller: sqlx goes by the number, everybody who \
                     lists the folder by the name; pad the numbers to one width"
                ),
            ));
        }
        for (version, name) in &downs {
            if !ups.contains_key(version) {
                reading.problems.push(NameProblem::fatal(
                    name,
                    ProblemKind::NoUp,
                    format!("undoes version {version}, which no other file brings about"),
                ));
            }
        }
        for (version, name) in ups {
            let script = read_script(listing, name)?;
            let down = downs.get(&version).map(|down| read_script(listing, down)).transpose()?;
            if down.is_none() && name.ends_with(".up.sql") {
                reading.problems.push(NameProblem::hazard(
                    name,
                    ProblemKind::NoDown,
                    "has no `.down.sql`: sqlx cannot undo it, nor what came before it",
                ));
            }
            reading.problems.extend(unseen_directive(&script));
            reading.migrations.push(Migration {
                checksum: Some(checksum(&script.raw(), &config.ignored_chars)),
                delivery: if sees(&script) { Delivery::Message } else { Delivery::Transaction },
                down,
                ..Migration::new(Version::Number(version), description(name), script)
            });
        }
        Ok(reading)
    }

    fn ledger(&self) -> &'static dyn Ledger {
        &Sqlx
    }

    fn outside_a_transaction(&self) -> &'static str {
        "give it a file of its own that begins with `-- no-transaction`: sqlx sends such a file as one message, of which the \
         server makes a transaction again if it holds more than one statement"
    }
}

impl Ledger for Sqlx {
    fn table(&self) -> &'static str {
        "_sqlx_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "description", "installed_on", "success", "checksum", "execution_time"]
    }

    fn create(&self, table: &str) -> String {
        format!(
            "create table {table} (version bigint primary key, description text not null, \
               installed_on timestamptz not null default now(), success boolean not null, \
               checksum bytea not null, execution_time bigint not null)"
        )
    }

    fn read(&self, table: &str) -> String {
        format!(
            "select version::text, description, pg_catalog.encode(checksum, 'hex'), \
               case when execution_time >= 0 then execution_time / 1000000 end, {}, success \
             from {table} order by installed_on, {table}.version",
            utc("installed_on")
        )
    }

    fn record(&self, table: &str, migration: &Migration, took: Took) -> String {
        format!(
            "insert into {table} (version, description, installed_on, success, checksum, execution_time) \
             values ({}, {}, pg_catalog.clock_timestamp(), true, pg_catalog.decode('{}', 'hex'), {})",
            migration.version,
            quote_literal(&migration.description),
            migration.checksum.as_deref().unwrap_or_default(),
            took.in_units(1_000_000_000)
        )
    }

    fn locks(&self, database: &str, _table: &QualifiedName) -> Vec<i64> {
        vec![0x3d32_ad9e * i64::from(crc32(database.bytes()))]
    }
}

/// What a `sqlx.toml` says of migrations.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Config {
    table_name: Option<String>,
    ignored_chars: Vec<char>,
    create_schemas: Vec<String>,
    migrations_dir: Option<String>,
}

/// The folder that sqlx takes in the package `root` where none is named, relative to that.
pub(in crate::migration) fn default_folder(root: &Path) -> Result<PathBuf> {
    Ok(Config::read(&root.join("sqlx.toml"))?.migrations_dir.unwrap_or_else(|| "migrations".into()).into())
}

impl Config {
    /// The file beside the `Cargo.toml` of the folder's crate, if there is one.
    fn around(listing: &Listing) -> Result<Config> {
        match listing.nearest(&["Cargo.toml"]) {
            Some(manifest) => Config::read(&manifest.with_file_name("sqlx.toml")),
            None => Ok(Config::default()),
        }
    }

    fn read(path: &Path) -> Result<Config> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            migrate: Config,
        }
        if !path.is_file() {
            return Ok(Config::default());
        }
        let failed = || format!("failed to read the configuration `{}` of sqlx", path.display());
        let text = std::fs::read_to_string(path).attempt(ErrorKind::Usage, failed)?;
        Ok(toml::from_str::<File>(&text).attempt(ErrorKind::Usage, failed)?.migrate)
    }
}

/// SHA-384 of the file as it is, line ends included, but for the characters that `sqlx.toml` ignores.
fn checksum(text: &str, ignored: &[char]) -> String {
    let mut hasher = Sha384::new();
    text.split(|c| ignored.contains(&c)).for_each(|part| hasher.update(part));
    hex(&hasher.finalize())
}

/// The words after the number, as sqlx records them.
fn description(name: &str) -> String {
    let words = name.split_once('_').map_or(name, |(_, words)| words);
    let ending = if words.ends_with(".up.sql") { ".up.sql" } else { ".sql" };
    words.trim_end_matches(ending).replace('_', " ")
}

/// Whether sqlx sees the directive.
fn sees(script: &Script) -> bool {
    script.text().starts_with(DIRECTIVE) && !script.had_bom()
}

/// Whether the file asks to run outside a transaction, at its very beginning or where sqlx does not see it.
fn opts_out(script: &Script) -> bool {
    script.header().any(|line| line.to_ascii_lowercase().starts_with("no-transaction"))
}

/// A directive that is meant, and that sqlx does not see.
fn unseen_directive(script: &Script) -> Option<NameProblem> {
    if !opts_out(script) || sees(script) {
        return None;
    }
    let why = if script.had_bom() {
        "a byte order mark stands before it"
    } else {
        "it is not the first thing in the file, letter by letter"
    };
    Some(NameProblem::hazard(
        script.name(),
        ProblemKind::Directive,
        format!("asks for `{DIRECTIVE}`, which sqlx does not see since {why}: it is run in a transaction"),
    ))
}

/// Why sqlx does not take `name` for a migration, if it was meant as one.
fn passed_over(name: &str) -> Option<NameProblem> {
    if !looks_like_migration(name) || (!name.ends_with(".sql") && name.to_ascii_lowercase().ends_with(".sql"))
    {
        // Either no migration, or an ending in capitals, which is told for all formats.
        return None;
    }
    let (kind, explanation) = match name.split_once('_') {
        _ if !name.ends_with(".sql") => {
            (ProblemKind::Ignored, "does not end in `.sql`: sqlx passes it over without a word")
        }
        None => {
            (ProblemKind::Ignored, "has no underscore after a number: sqlx passes it over without a word")
        }
        Some((number, _)) if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() => (
            ProblemKind::NoVersion,
            "has a number that does not fit in 64 bits: sqlx refuses the whole folder",
        ),
        Some(_) => (
            ProblemKind::NoVersion,
            "has no number before its first underscore: sqlx refuses the whole folder",
        ),
    };
    // A copy that an editor left is worth a word, not a refusal.
    Some(match kind {
        ProblemKind::Ignored if !name.ends_with(".sql") => NameProblem::hazard(name, kind, explanation),
        _ => NameProblem::fatal(name, kind, explanation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::format::folder;
    use crate::migration::{Migrations, problems};
    use rstest::rstest;
    use std::fs;

    #[rstest]
    #[case(&["1_a.sql", "01_b.sql"], ProblemKind::Duplicate, true)]
    #[case(&["0001_a.sql", "0002-b.sql"], ProblemKind::Ignored, true)]
    #[case(&["0001_a.sql", "0002_b.sql.bak"], ProblemKind::Ignored, false)]
    #[case(&["0001_a.sql", "x_b.sql"], ProblemKind::NoVersion, true)]
    #[case(&["0001_a.sql", "99999999999999999999_b.sql"], ProblemKind::NoVersion, true)]
    #[case(&["2_a.sql", "10_b.sql"], ProblemKind::Order, false)]
    #[case(&["0001_a.up.sql", "0002_b.down.sql"], ProblemKind::NoUp, true)]
    fn a_name_that_sqlx_reads_otherwise_is_told(
        #[case] names: &[&str],
        #[case] kind: ProblemKind,
        #[case] fatal: bool,
    ) {
        let dir = folder(&names.iter().map(|name| (*name, "select 1;")).collect::<Vec<_>>());
        let found = problems(dir.path(), Format::Sqlx).unwrap();
        let found: Vec<_> = found.iter().map(|problem| (problem.kind, problem.fatal)).collect();
        assert!(found.contains(&(kind, fatal)), "{found:?}");
        assert_eq!(Migrations::load(dir.path(), Format::Sqlx).is_err(), fatal);
    }

    #[rstest]
    #[case("-- no-transaction\nselect 1;", Delivery::Message, false)]
    #[case("\u{feff}-- no-transaction\nselect 1;", Delivery::Transaction, true)]
    #[case("-- Copyright\n\n-- no-transaction\nselect 1;", Delivery::Transaction, true)]
    #[case("--no-transaction\nselect 1;", Delivery::Transaction, true)]
    #[case("select 1;\n-- no-transaction\n", Delivery::Transaction, false)]
    #[case("select 1;", Delivery::Transaction, false)]
    fn the_directive_is_found_and_told(#[case] text: &str, #[case] delivery: Delivery, #[case] told: bool) {
        let dir = folder(&[("0001_a.sql", text)]);
        let migrations = Migrations::load(dir.path(), Format::Sqlx).unwrap();
        assert_eq!(migrations.iter().next().unwrap().delivery, delivery);
        let kinds: Vec<_> = migrations.problems().iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds.contains(&ProblemKind::Directive), told, "{kinds:?}");
    }

    #[test]
    fn the_crates_own_configuration_is_read() {
        let root = folder(&[
            ("Cargo.toml", ""),
            (
                "sqlx.toml",
                "[migrate]\ntable-name = 'ops.\"Applied\"'\nignored-chars = [\"\\r\"]\ncreate-schemas = ['ops']\n",
            ),
        ]);
        let dir = root.path().join("migrations");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("1_a.sql"), "select 1;\r\n").unwrap();
        let reading = Layout::read(&Sqlx, &Listing::read(&dir).unwrap()).unwrap();
        assert_eq!(reading.table, Some(TableName { schema: Some("ops".into()), name: "Applied".into() }));
        assert_eq!(reading.schemas, ["ops"]);
        assert_eq!(reading.migrations[0].checksum, Some(checksum("select 1;\n", &[])));
        fs::write(root.path().join("sqlx.toml"), "[migrate]\nignored-chars = 1\n").unwrap();
        let error = Layout::read(&Sqlx, &Listing::read(&dir).unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("sqlx.toml` of sqlx"), "{error}");
        assert!(error.report().contains("ignored-chars = 1"), "{error:?}");
    }

    #[test]
    fn numbers_order_the_files() {
        let dir =
            folder(&[("10_c.sql", "select 3;"), ("2_b.up.sql", "select 2;"), ("2_b.down.sql", "select -2;")]);
        let migrations = Migrations::load(dir.path(), Format::Auto).unwrap();
        let found: Vec<_> = migrations.iter().map(|m| (m.version.to_string(), m.down.is_some())).collect();
        assert_eq!(found, [("2".to_owned(), true), ("10".to_owned(), false)]);
    }
}
