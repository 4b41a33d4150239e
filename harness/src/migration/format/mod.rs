//! How tools lay out their migrations: one file per format.
//!
//! A new format is a file here with a [`Layout`] and the [`Ledger`] of its tool, an entry in [`LAYOUTS`], and a variant
//! of [`Format`].

mod dbmate;
mod diesel;
mod flyway;
mod golang_migrate;
mod goose;
mod listing;
mod plain;
mod prisma;
mod refinery;
mod sqlx;

pub(super) use self::sqlx::default_folder;
pub(super) use listing::Listing;

use super::ledger::Ledger;
use super::name::{self, NameProblem};
use super::step::Migration;
use super::table::TableName;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// How the files of a migrations folder are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Whatever the names in the folder tell.
    #[default]
    Auto,
    /// As sqlx has it: `<number>_<words>.sql`, or the pair `.up.sql` and `.down.sql`; `-- no-transaction` as the
    /// first letters of a file. A `sqlx.toml` of the crate is read.
    Sqlx,
    /// As refinery has it: `V<number>__<name>.sql`, or `U…` for one that may come late; in folders below, too.
    Refinery,
    /// As diesel has it: a folder `<version>_<words>` each, with `up.sql`, `down.sql` and `metadata.toml`.
    Diesel,
    /// As dbmate has it: `<number>_<words>.sql` with a line `-- migrate:up`, and `-- migrate:down` after it.
    Dbmate,
    /// As goose has it: `<number>_<words>.sql` with a line `-- +goose Up`, and `-- +goose Down` after it.
    Goose,
    /// As golang-migrate has it: `<number>_<words>.up.sql` and `.down.sql`. The same names are sqlx's: a folder of
    /// them is golang-migrate's where a `go.mod` lies nearer around it than a `Cargo.toml`, and sqlx's otherwise.
    GolangMigrate,
    /// As Flyway has it: `V<version>__<words>.sql`, `R__<words>.sql` and `B<version>__<words>.sql`; in folders below,
    /// too. A `flyway.conf` or `flyway.toml` around it is read.
    Flyway,
    /// As Prisma has it: a folder each, with `migration.sql`.
    Prisma,
    /// Files of SQL in the order of their names: `*.up.sql`, each with a `*.down.sql` or without; or, if there
    /// are none, `*.sql`. `-- no-transaction` among the comments at the top.
    Plain,
}

/// What a layout made of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) migrations: Vec<Migration>,
    pub(super) problems: Vec<NameProblem>,
    /// The table for the history, where the tool's configuration names one.
    pub(super) table: Option<TableName>,
    /// The schemas that the tool's configuration wants created.
    pub(super) schemas: Vec<String>,
}

/// How one tool lays out its migrations.
trait Layout: Sync {
    fn format(&self) -> Format;

    /// Why the folder looks like one of this tool, if it does.
    fn clue(&self, listing: &Listing) -> Option<Clue>;

    /// Reads the folder, the migrations in the tool's own order.
    fn read(&self, listing: &Listing) -> Result<Reading>;

    /// The history that the tool keeps.
    fn ledger(&self) -> &'static dyn Ledger;

    /// How a statement is written that cannot run in a transaction.
    fn outside_a_transaction(&self) -> &'static str;
}

/// Why a folder looks like one of a tool. What files say weighs more than how they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clue {
    /// File names fit.
    Names,
    /// File names fit, and what lies around the folder is a project of that tool's language.
    Surroundings,
    /// A file's contents, or a file that only this tool has, fit.
    Contents,
}

/// The formats that can be read.
const LAYOUTS: &[&dyn Layout] = &[
    &sqlx::Sqlx,
    &plain::Plain,
    &refinery::Refinery,
    &diesel::Diesel,
    &dbmate::Dbmate,
    &goose::Goose,
    &golang_migrate::GolangMigrate,
    &flyway::Flyway,
    &prisma::Prisma,
];

/// Tools whose migrations are programs: what to run instead.
struct Known {
    name: &'static str,
    command: &'static str,
    clue: fn(&Listing) -> Option<Clue>,
}

/// The formats that are recognised, and that their own tool alone can apply.
const KNOWN: &[Known] = &[Known {
    name: "alembic",
    command: "alembic upgrade head",
    clue: |listing| (listing.has("env.py") && listing.has("versions")).then_some(Clue::Contents),
}];

impl Format {
    /// The name, as `pgharness.toml` has it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Sqlx => "sqlx",
            Format::Plain => "plain",
            Format::Refinery => "refinery",
            Format::Diesel => "diesel",
            Format::Dbmate => "dbmate",
            Format::Goose => "goose",
            Format::GolangMigrate => "golang-migrate",
            Format::Flyway => "flyway",
            Format::Prisma => "prisma",
        }
    }

    /// Whether the folder looks like one of any tool.
    pub(super) fn is_known(listing: &Listing) -> bool {
        !candidates(listing).is_empty()
    }

    /// This format, or the one that the folder's names and files tell.
    pub(super) fn resolve(self, listing: &Listing) -> Result<Format> {
        if self != Format::Auto {
            return Ok(self);
        }
        match candidates(listing).as_slice() {
            [] => Err(unknown(listing)),
            [name] => name.parse().map_err(|error: Error| {
                let message = format!("`{}` holds migrations of {name}", listing.dir().display());
                Error::usage(message).with_source(error)
            }),
            several => Err(Error::usage(format!(
                "cannot tell the format of the migrations in `{}`: it looks like {}",
                listing.dir().display(),
                several.join(" and like ")
            ))
            .with_help(format!("set `format` under `[migrations]` to one of {}", choices()))),
        }
    }

    /// The layout of this format; of [`Auto`](Format::Auto), which is resolved before it is read, the plain one.
    fn layout(self) -> &'static dyn Layout {
        LAYOUTS.iter().copied().find(|layout| layout.format() == self).unwrap_or(&plain::Plain)
    }

    /// The history that the format's tool keeps.
    pub(super) fn ledger(self) -> &'static dyn Ledger {
        self.layout().ledger()
    }

    /// How a statement is written that cannot run in a transaction.
    pub(super) fn outside_a_transaction(self) -> &'static str {
        self.layout().outside_a_transaction()
    }

    /// Reads the folder.
    pub(super) fn read(self, listing: &Listing) -> Result<Reading> {
        let mut reading = self.resolve(listing)?.layout().read(listing)?;
        reading.problems.extend(name::common(listing));
        reading.problems.sort();
        Ok(reading)
    }
}

/// The tools that the folder looks most like one of.
fn candidates(listing: &Listing) -> Vec<&'static str> {
    let supported = LAYOUTS.iter().map(|layout| (layout.format().name(), layout.clue(listing)));
    let known = KNOWN.iter().map(|known| (known.name, (known.clue)(listing)));
    let mut clues: Vec<(&str, Clue)> =
        supported.chain(known).filter_map(|(name, clue)| Some((name, clue?))).collect();
    let best = clues.iter().map(|(_, clue)| *clue).max();
    clues.retain(|(_, clue)| Some(*clue) == best);
    clues.into_iter().map(|(name, _)| name).collect()
}

/// No format fits.
fn unknown(listing: &Listing) -> Error {
    let dir = listing.dir().display();
    let shown: Vec<&str> = listing.files().chain(listing.dirs()).take(3).collect();
    let holds = match shown.as_slice() {
        [] => "it is empty".to_owned(),
        some => format!("it holds `{}`, …", some.join("`, `")),
    };
    Error::usage(format!("cannot tell the format of the migrations in `{dir}`: {holds}"))
        .with_help(format!("set `format` under `[migrations]` to one of {}", choices()))
}

/// The names that can be set, as a list for people.
fn choices() -> String {
    let mut names: Vec<&str> = vec![Format::Auto.name()];
    names.extend(LAYOUTS.iter().map(|layout| layout.format().name()));
    format!("`{}`, or set `command` to what runs them", names.join("`, `"))
}

fn not_supported(known: &Known) -> Error {
    Error::usage(format!("migrations of {} are programs, which it alone can apply", known.name))
        .with_help(format!("set `command` under `[migrations]`, such as `{}`", known.command))
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        let supported = LAYOUTS.iter().map(|layout| layout.format()).chain([Format::Auto]);
        if let Some(format) = supported.into_iter().find(|format| format.name() == name) {
            return Ok(format);
        }
        match KNOWN.iter().find(|known| known.name == name) {
            Some(known) => Err(not_supported(known)),
            None => Err(Error::usage(format!("there is no migration format `{name}`"))
                .with_help(format!("set it to one of {}", choices()))),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A folder with these files in it, for the tests of formats.
#[cfg(test)]
pub(in crate::migration) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["0001_a.sql", "0002_b.sql"], "sqlx")]
    #[case(&["0001_a.up.sql", "0001_a.down.sql", "README.md"], "sqlx")]
    #[case(&["0001_a.sql", "0002_b.sql", "forgotten.sql"], "sqlx")]
    #[case(&["identity.up.sql", "workflow.up.sql"], "plain")]
    #[case(&["0001-a.up.sql", "0002-b.up.sql"], "plain")]
    #[case(&["0001.sql"], "plain")]
    #[case(&["1.sql", "2.sql", "README.md"], "plain")]
    fn the_format_is_told_by_names(#[case] names: &[&str], #[case] expected: &str) {
        assert_eq!(Format::Auto.resolve(&Listing::of(names)).unwrap().name(), expected);
    }

    #[rstest]
    #[case(&["V1__a.sql"], "it looks like refinery and like flyway")]
    #[case(&["0001.sql", "seed.sql"], "it holds `0001.sql`, `seed.sql`, …")]
    #[case(&["b.sql", "a.sql"], "it holds `a.sql`, `b.sql`, …")]
    #[case(&[], "it is empty")]
    fn what_cannot_be_told_is_said(#[case] names: &[&str], #[case] expected: &str) {
        let error = Format::Auto.resolve(&Listing::of(names)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.help().unwrap().contains("`command`"), "{error:?}");
    }

    #[rstest]
    #[case("2024_a/up.sql", "select 1;", "diesel")]
    #[case("0001_a.sql", "-- migrate:up\nselect 1;\n", "dbmate")]
    #[case("0001_a.sql", "-- +goose Up\nselect 1;\n", "goose")]
    #[case("2024_a/migration.sql", "select 1;", "prisma")]
    #[case("V1.1__a.sql", "select 1;", "flyway")]
    #[case("R__a.sql", "select 1;", "flyway")]
    fn what_lies_there_tells_the_format(#[case] file: &str, #[case] text: &str, #[case] expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        assert_eq!(Format::Auto.resolve(&Listing::read(dir.path()).unwrap()).unwrap().name(), expected);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "squirrel".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "there is no migration format `squirrel`");
        let help = error.help().unwrap();
        assert!(help.contains("`auto`, `sqlx`, `plain`, `refinery`, `diesel`, `dbmate`, `goose`, `golang-migrate`, `flyway`, `prisma`"), "{help}");
        let error = "alembic".parse::<Format>().unwrap_err();
        assert!(error.help().unwrap().contains("alembic upgrade head"), "{error:?}");
        assert_eq!("sqlx".parse::<Format>().unwrap(), Format::Sqlx);
    }
}
