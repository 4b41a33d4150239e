//! The ordered source of migrations.

use super::format::{Format, Listing, Reading};
use super::name::NameProblem;
use super::table::TableName;
use crate::digest::Hasher;
use crate::error::{Error, ErrorKind, Result};
use crate::script::{CommandLine, Purpose, Script};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What tells a migration from all others of its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// A number.
    Number(i64),
    /// A name.
    Name(String),
}

/// As the history has it.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Number(number) => number.fmt(f),
            Version::Name(name) => f.write_str(name),
        }
    }
}

/// When a migration is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Turn {
    /// In its place: not after one that comes behind it.
    InOrder,
    /// In its place, or after one that comes behind it.
    Late,
    /// After all others, and again whenever its file is changed.
    Repeatable,
}

/// How the text of a migration goes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// In one transaction, together with its row in the history.
    Transaction,
    /// Statement by statement, each in a transaction of its own; its row is written after the last.
    Statements,
    /// As one message, of which the server makes one transaction, unless it is a single statement that cannot run
    /// in one; its row is written after it.
    Message,
}

/// As people say it.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::Transaction => "in a transaction",
            Delivery::Statements => "statement by statement",
            Delivery::Message => "as one message",
        })
    }
}

/// One step of a schema's history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// Its version.
    pub version: Version,
    /// What it does.
    pub script: Script,
    /// The words of its name, as the history of the format's tool has them.
    pub description: String,
    /// The checksum of its file, as that history has it; `None` where the tool keeps none.
    pub checksum: Option<String>,
    /// How it is sent.
    pub delivery: Delivery,
    /// When it is applied.
    pub turn: Turn,
    /// What undoes it.
    pub down: Option<Script>,
    /// What its comments say to the harness: `phase contract` of a line `-- pgharness:phase contract`.
    pub tags: Vec<String>,
}

impl Migration {
    /// A migration that runs in a transaction, of a tool that keeps no checksums.
    pub(super) fn new(version: Version, description: impl Into<String>, script: Script) -> Self {
        let tags = comments(script.text())
            .filter_map(|comment| comment.strip_prefix("pgharness:"))
            .map(|tag| tag.trim().to_owned())
            .collect();
        Migration {
            version,
            script,
            description: description.into(),
            checksum: None,
            delivery: Delivery::Transaction,
            turn: Turn::InOrder,
            down: None,
            tags,
        }
    }

    /// The name of its file.
    pub fn name(&self) -> &str {
        self.script.name()
    }

    /// Where its file is.
    pub fn path(&self) -> &Path {
        self.script.path()
    }

    /// Its SQL.
    pub fn sql(&self) -> &str {
        self.script.text()
    }

    /// Whether a line of it is the comment `tag`, such as `-- pgharness:phase contract`.
    pub fn has_comment(&self, tag: &str) -> bool {
        let tag = tag.trim().trim_start_matches("--").trim();
        comments(self.sql()).any(|comment| comment == tag)
    }
}

/// The lines of a text that are comments, without the dashes, trimmed.
fn comments(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("--")).map(str::trim)
}

/// The ordered source of migrations: files, or a command that applies its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrations(Source);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Files { dir: PathBuf, format: Format, reading: Reading },
    Command(CommandLine),
}

impl Migrations {
    /// Reads the folder `dir`, laid out as `format` says.
    ///
    /// # Errors
    /// The folder or a file cannot be read; [`Format::Auto`] finds no format, or several; a name is unsafe (see
    /// [`problems`]).
    pub fn load(dir: impl AsRef<Path>, format: Format) -> Result<Migrations> {
        let dir = dir.as_ref();
        let listing = Listing::read(dir)?;
        let format = format.resolve(&listing)?;
        let reading = format.read(&listing)?;
        let fatal: Vec<String> =
            reading.problems.iter().filter(|problem| problem.fatal).map(NameProblem::to_string).collect();
        if !fatal.is_empty() {
            let dir = dir.display();
            let message = format!("the migrations in `{dir}` have unsafe names: {}", fatal.join("; "));
            return Err(Error::new(ErrorKind::Migration, message));
        }
        let dir = dir.to_owned();
        Ok(Migrations(Source::Files { dir, format, reading }))
    }

    /// A tool of the project's own: the command line `line`, run in `dir` by `sh` with `DATABASE_URL` and libpq's
    /// `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE`, `PGPASSWORD` in its environment.
    pub fn command(line: impl Into<String>, dir: impl Into<PathBuf>) -> Migrations {
        Migrations(Source::Command(CommandLine::new(line, dir)))
    }

    /// Ends a [`command`](Migrations::command) that has not ended by then; ten minutes if not set.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Migrations {
        match self.0 {
            Source::Command(command) => Migrations(Source::Command(command.with_deadline(deadline))),
            files @ Source::Files { .. } => Migrations(files),
        }
    }

    /// The migrations in order; none of a [`command`](Migrations::command), which knows its own.
    pub fn iter(&self) -> std::slice::Iter<'_, Migration> {
        match &self.0 {
            Source::Files { reading, .. } => reading.migrations.iter(),
            Source::Command(_) => [].iter(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The folder, or the one that the command runs in.
    pub fn dir(&self) -> &Path {
        match &self.0 {
            Source::Files { dir, .. } => dir,
            Source::Command(command) => command.dir(),
        }
    }

    /// The format that was read; `None` of a command.
    pub fn format(&self) -> Option<Format> {
        match &self.0 {
            Source::Files { format, .. } => Some(*format),
            Source::Command(_) => None,
        }
    }

    /// The hazards of names and first lines, which did not keep the folder from being read.
    pub fn problems(&self) -> &[NameProblem] {
        match &self.0 {
            Source::Files { reading, .. } => &reading.problems,
            Source::Command(_) => &[],
        }
    }

    /// The table for the history that the tool's own configuration names.
    pub(super) fn table(&self) -> Option<&TableName> {
        match &self.0 {
            Source::Files { reading, .. } => reading.table.as_ref(),
            Source::Command(_) => None,
        }
    }

    /// The schemas that the tool's own configuration wants.
    pub(super) fn schemas(&self) -> &[String] {
        match &self.0 {
            Source::Files { reading, .. } => &reading.schemas,
            Source::Command(_) => &[],
        }
    }

    /// The command line, where that is the source.
    pub fn command_line(&self) -> Option<&str> {
        self.as_command().map(CommandLine::line)
    }

    pub(super) fn as_command(&self) -> Option<&CommandLine> {
        match &self.0 {
            Source::Command(command) => Some(command),
            Source::Files { .. } => None,
        }
    }

    /// Adds all that shapes the schema: names, order and texts; of a command, its line and every file below its
    /// folder but those in hidden folders and in those that programs fill (`target`, `node_modules`,
    /// `__pycache__`, `venv`).
    ///
    /// # Errors
    /// A file below a command's folder cannot be read.
    pub fn add_to(&self, hasher: &mut Hasher) -> Result<()> {
        match &self.0 {
            Source::Command(command) => command.add_to(hasher, Purpose::Migration),
            Source::Files { format, reading, .. } => {
                hasher.add("migration format", format.name());
                if let Some(table) = &reading.table {
                    hasher.add("history", format!("{table:?}"));
                }
                hasher.add("schemas", reading.schemas.join("\n"));
                for migration in &reading.migrations {
                    hasher.add("migration", migration.version.to_string());
                    hasher.add("name", migration.name());
                    // The text as it is: an end of line within a string is data.
                    hasher.add("sql", migration.sql());
                    hasher.add("checksum", migration.checksum.as_deref().unwrap_or_default());
                    hasher.add("delivery", migration.delivery.to_string());
                }
                Ok(())
            }
        }
    }
}

impl<'a> IntoIterator for &'a Migrations {
    type Item = &'a Migration;
    type IntoIter = std::slice::Iter<'a, Migration>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What is unsafe about the names in `dir`, fatal or not, in the order of the names.
///
/// # Errors
/// The folder or a file cannot be read, or [`Format::Auto`] finds no format, or several.
pub fn problems(dir: impl AsRef<Path>, format: Format) -> Result<Vec<NameProblem>> {
    Ok(format.read(&Listing::read(dir.as_ref())?)?.problems)
}

/// Reads a file of the folder.
pub(super) fn read_script(listing: &Listing, name: &str) -> Result<Script> {
    Script::read(&listing.path(name), name, Purpose::Migration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(text: &str) -> Migration {
        Migration::new(Version::Number(1), "a", Script::new("a.sql", "a.sql", text))
    }

    #[test]
    fn tags_are_read_from_comments() {
        let migration =
            migration("-- pgharness:phase contract\nselect 1; -- not this\n  --pgharness: slow \n");
        assert_eq!(migration.tags, ["phase contract", "slow"]);
        assert!(migration.has_comment("-- pgharness:phase contract"));
        assert!(!migration.has_comment("-- pgharness:phase"));
        assert!(!migration.has_comment("not this"));
    }

    #[test]
    fn whatever_shapes_the_schema_shapes_the_digest() {
        let dir = tempfile::tempdir().unwrap();
        let digest = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let mut hasher = Hasher::new("test");
            Migrations::load(dir.path(), Format::Sqlx).unwrap().add_to(&mut hasher).unwrap();
            std::fs::remove_file(path).unwrap();
            hasher.finish()
        };
        let one = digest("1_a.sql", "select 1;");
        assert_eq!(one, digest("1_a.sql", "select 1;"));
        assert_ne!(one, digest("1_b.sql", "select 1;"));
        assert_ne!(one, digest("2_a.sql", "select 1;"));
        assert_ne!(one, digest("1_a.sql", "select 2;"));
        assert_ne!(one, digest("1_a.sql", "-- no-transaction\nselect 1;"));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Migrations::load("/nowhere", Format::Auto).unwrap_err();
        assert_eq!(error.to_string(), "failed to read the migrations folder `/nowhere`");
    }

    #[test]
    fn a_file_that_is_not_utf8_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1_a.sql"), b"select 1;\nselect '\xff';").unwrap();
        let error = Migrations::load(dir.path(), Format::Sqlx).unwrap_err();
        assert!(error.to_string().ends_with("1_a.sql` is not UTF-8 at line 2"), "{error}");
    }
}
