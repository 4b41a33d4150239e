//! How tools lay out their migrations: one file per format.
//!
//! A new format is a file here with a [`Layout`], an entry in [`LAYOUTS`], and a variant of [`Format`]; its line in
//! [`KNOWN`] goes.

mod plain;
mod sqlx;

use super::name::{self, NameProblem};
use super::source::Migration;
use crate::error::{Attempt, Error, ErrorKind, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How the files of a migrations folder are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Whatever the names in the folder tell.
    #[default]
    Auto,
    /// As sqlx has it: `<number>_<words>.sql`, or the pair `.up.sql` and `.down.sql`; `-- no-transaction` on the
    /// first line.
    Sqlx,
    /// Files of SQL in the order of their names: `*.up.sql`, each with a `*.down.sql` or without; or, if there
    /// are none, `*.sql`. `-- no-transaction` among the comments at the top.
    Plain,
}

/// What a layout made of a folder.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) migrations: Vec<Migration>,
    pub(super) problems: Vec<NameProblem>,
}

/// How one tool lays out its migrations.
trait Layout: Sync {
    fn format(&self) -> Format;

    /// Why the folder looks like one of this tool, if it does.
    fn clue(&self, listing: &Listing) -> Option<Clue>;

    /// Reads the folder, the migrations in the tool's own order.
    fn read(&self, listing: &Listing) -> Result<Reading>;
}

/// Why a folder looks like one of a tool. What files say weighs more than how they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clue {
    /// File names fit.
    Names,
    /// A file's contents, or a file that only this tool has, fit.
    Contents,
}

/// The formats that can be read.
const LAYOUTS: &[&dyn Layout] = &[&sqlx::Sqlx, &plain::Plain];

/// A format that is recognised and not read yet: what to run instead.
struct Known {
    name: &'static str,
    command: &'static str,
    clue: fn(&Listing) -> Option<Clue>,
}

/// The formats that are recognised and not read yet.
const KNOWN: &[Known] = &[
    Known {
        name: "refinery",
        command: "refinery migrate -e DATABASE_URL -p migrations",
        clue: |listing| {
            let fits = |name: &str| {
                versioned(name, &['V', 'U']) && (name.ends_with(".sql") || name.ends_with(".rs"))
            };
            listing
                .files()
                .any(|name| fits(name) && name.ends_with(".rs"))
                .then_some(Clue::Contents)
                .or_else(|| listing.files().any(fits).then_some(Clue::Names))
        },
    },
    Known {
        name: "diesel",
        command: "diesel migration run",
        clue: |listing| {
            listing.dirs().any(|dir| listing.has(&format!("{dir}/up.sql"))).then_some(Clue::Contents)
        },
    },
    Known {
        name: "dbmate",
        command: "dbmate --no-dump-schema migrate",
        clue: |listing| listing.any_line(|line| line.starts_with("-- migrate:up")),
    },
    Known {
        name: "goose",
        command: "goose -dir . postgres \"$DATABASE_URL\" up",
        clue: |listing| listing.any_line(|line| line.to_ascii_lowercase().starts_with("-- +goose up")),
    },
    // Its names are those of sqlx's reversible migrations: nothing tells the two apart.
    Known {
        name: "golang-migrate",
        command: "migrate -path . -database \"$DATABASE_URL\" up",
        clue: |_| None,
    },
    Known {
        name: "flyway",
        command: "flyway migrate",
        clue: |listing| {
            let repeatable = |name: &str| name.starts_with("R__") && name.ends_with(".sql");
            listing.files().any(repeatable).then_some(Clue::Contents).or_else(|| {
                listing
                    .files()
                    .any(|name| versioned(name, &['V']) && name.ends_with(".sql"))
                    .then_some(Clue::Names)
            })
        },
    },
    Known {
        name: "prisma",
        command: "prisma migrate deploy",
        clue: |listing| {
            let fits = listing.has("migration_lock.toml")
                || listing.dirs().any(|dir| listing.has(&format!("{dir}/migration.sql")));
            fits.then_some(Clue::Contents)
        },
    },
    Known {
        name: "alembic",
        command: "alembic upgrade head",
        clue: |listing| (listing.has("env.py") && listing.has("versions")).then_some(Clue::Contents),
    },
];

/// Whether a name has the form `V1__words`.
fn versioned(name: &str, prefixes: &[char]) -> bool {
    name.strip_prefix(prefixes)
        .and_then(|rest| rest.split_once("__"))
        .is_some_and(|(version, _)| version.starts_with(|c: char| c.is_ascii_digit()))
}

impl Format {
    /// The name, as `pgharness.toml` has it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Sqlx => "sqlx",
            Format::Plain => "plain",
        }
    }

    /// This format, or the one that the folder's names and files tell.
    pub(super) fn resolve(self, listing: &Listing) -> Result<Format> {
        if self != Format::Auto {
            return Ok(self);
        }
        let supported = LAYOUTS.iter().map(|layout| (layout.format().name(), layout.clue(listing)));
        let known = KNOWN.iter().map(|known| (known.name, (known.clue)(listing)));
        let mut clues: Vec<(&str, Clue)> =
            supported.chain(known).filter_map(|(name, clue)| Some((name, clue?))).collect();
        let best = clues.iter().map(|(_, clue)| *clue).max();
        clues.retain(|(_, clue)| Some(*clue) == best);
        let names: Vec<&str> = clues.into_iter().map(|(name, _)| name).collect();
        match names.as_slice() {
            [] => Err(listing.unknown()),
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

    /// Reads the folder.
    pub(super) fn read(self, listing: &Listing) -> Result<Reading> {
        let format = self.resolve(listing)?;
        let Some(layout) = LAYOUTS.iter().find(|layout| layout.format() == format) else {
            return Err(not_supported(format.name()));
        };
        let mut reading = layout.read(listing)?;
        reading.problems.extend(name::common(listing));
        reading.problems.sort();
        Ok(reading)
    }
}

/// The names that can be set, as a list for people.
fn choices() -> String {
    let mut names: Vec<&str> = vec![Format::Auto.name()];
    names.extend(LAYOUTS.iter().map(|layout| layout.format().name()));
    format!("`{}`, or set `command` to what runs them", names.join("`, `"))
}

fn not_supported(name: &str) -> Error {
    let error = Error::usage(format!("the migration format `{name}` is known but not supported yet"));
    match KNOWN.iter().find(|known| known.name == name) {
        Some(known) => {
            error.with_help(format!("set `command` under `[migrations]`, such as `{}`", known.command))
        }
        None => error.with_help(format!("set it to one of {}", choices())),
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        let supported = LAYOUTS.iter().map(|layout| layout.format()).chain([Format::Auto]);
        if let Some(format) = supported.into_iter().find(|format| format.name() == name) {
            return Ok(format);
        }
        if KNOWN.iter().any(|known| known.name == name) {
            return Err(not_supported(name));
        }
        let later: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        Err(Error::usage(format!("there is no migration format `{name}`")).with_help(format!(
            "set it to one of {}; known but not supported yet: {}",
            choices(),
            later.join(", ")
        )))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What lies in a migrations folder, sorted by name.
#[derive(Debug)]
pub(super) struct Listing {
    dir: PathBuf,
    files: Vec<String>,
    dirs: Vec<String>,
}

impl Listing {
    pub(super) fn read(dir: &Path) -> Result<Listing> {
        let mut listing = Listing { dir: dir.to_owned(), files: Vec::new(), dirs: Vec::new() };
        listing.fill().attempt(ErrorKind::Migration, || {
            format!("failed to read the migrations folder `{}`", dir.display())
        })?;
        Ok(listing)
    }

    fn fill(&mut self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Follows links, as the tools do.
            if entry.path().is_dir() { self.dirs.push(name) } else { self.files.push(name) }
        }
        self.files.sort();
        self.dirs.sort();
        Ok(())
    }

    /// Files that are not there, by name, for what depends on names only.
    #[cfg(test)]
    pub(super) fn of(names: &[&str]) -> Listing {
        let mut files: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        files.sort();
        Listing { dir: "migrations".into(), files, dirs: Vec::new() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    fn dirs(&self) -> impl Iterator<Item = &str> {
        self.dirs.iter().map(String::as_str)
    }

    fn has(&self, inside: &str) -> bool {
        self.dir.join(inside).exists()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether a line of any file of SQL is `wanted`.
    fn any_line(&self, wanted: impl Fn(&str) -> bool) -> Option<Clue> {
        let scripts = self.files().filter(|name| name.ends_with(".sql"));
        // One that cannot be read is told when the folder is read.
        let mut texts = scripts.filter_map(|name| std::fs::read_to_string(self.path(name)).ok());
        texts.any(|text| text.lines().any(|line| wanted(line.trim()))).then_some(Clue::Contents)
    }

    fn unknown(&self) -> Error {
        let dir = self.dir.display();
        let shown: Vec<&str> = self.files().chain(self.dirs()).take(3).collect();
        let holds = match shown.as_slice() {
            [] => "it is empty".to_owned(),
            some => format!("it holds `{}`, …", some.join("`, `")),
        };
        Error::usage(format!("cannot tell the format of the migrations in `{dir}`: {holds}")).with_help(
            format!(
                "set `format` under `[migrations]` to one of {}; recognised are {}",
                choices(),
                KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")
            ),
        )
    }
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
    fn the_format_is_told_by_names(#[case] names: &[&str], #[case] expected: &str) {
        assert_eq!(Format::Auto.resolve(&Listing::of(names)).unwrap().name(), expected);
    }

    #[rstest]
    #[case(&["V1__a.sql"], "it looks like refinery and like flyway")]
    #[case(&["V1__a.sql", "R__b.sql"], "holds migrations of flyway")]
    #[case(&["b.sql", "a.sql"], "it holds `a.sql`, `b.sql`, …")]
    #[case(&[], "it is empty")]
    fn what_cannot_be_told_is_said(#[case] names: &[&str], #[case] expected: &str) {
        let error = Format::Auto.resolve(&Listing::of(names)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.help().unwrap().contains("`command`"), "{error:?}");
    }

    #[rstest]
    #[case("0001_a.sql", "-- migrate:up\nselect 1;\n", "dbmate")]
    #[case("0001_a.sql", "-- +goose Up\nselect 1;\n", "goose")]
    #[case("2024_a/up.sql", "select 1;", "diesel")]
    #[case("2024_a/migration.sql", "select 1;", "prisma")]
    fn contents_weigh_more_than_names(#[case] file: &str, #[case] text: &str, #[case] expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        let error = Format::Auto.resolve(&Listing::read(dir.path()).unwrap()).unwrap_err();
        assert!(error.to_string().ends_with(&format!("holds migrations of {expected}")), "{error}");
        assert!(error.report().contains("known but not supported yet"), "{error:?}");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "squirrel".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "there is no migration format `squirrel`");
        let help = error.help().unwrap();
        assert!(help.contains("`auto`, `sqlx`, `plain`") && help.contains("golang-migrate"), "{help}");
        assert_eq!("sqlx".parse::<Format>().unwrap(), Format::Sqlx);
    }
}
