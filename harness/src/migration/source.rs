//! The ordered source of migrations.

use super::format::{Format, Listing, Reading, default_folder};
use super::name::NameProblem;
use super::step::Migration;
use super::table::TableName;
use crate::digest::Hasher;
use crate::error::{Error, ErrorKind, Result};
use crate::script::{CommandLine, Purpose, Script};
use std::path::{Path, PathBuf};
use std::time::Duration;

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

    /// Migrations that are compiled into the program, as a folder in `format` has them.
    pub(super) fn compiled(format: Format, reading: Reading) -> Migrations {
        Migrations(Source::Files { dir: PathBuf::new(), format, reading })
    }

    /// The folder of migrations that the package in `root` has without naming it: `migrations`, or the one that its
    /// `sqlx.toml` names. `None` where there is none, or nothing in it that looks like a migration of any tool.
    ///
    /// # Errors
    /// The folder or the configuration cannot be read.
    pub(crate) fn folder_of_package(root: &Path) -> Result<Option<PathBuf>> {
        let dir = root.join(default_folder(root)?);
        if !dir.is_dir() {
            return Ok(None);
        }
        let listing = Listing::read(&dir)?;
        let is_in_use = listing.scripts().next().is_some() || Format::is_known(&listing);
        Ok(is_in_use.then_some(dir))
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

    /// The first `count` of them, as if there were no others yet; all of a [`command`](Migrations::command).
    #[must_use]
    pub fn first(&self, count: usize) -> Migrations {
        let mut first = self.clone();
        if let Source::Files { reading, .. } = &mut first.0 {
            reading.migrations.truncate(count);
        }
        first
    }

    /// The folder, or the one that the command runs in; empty where the migrations are compiled in.
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
    let path = listing.path(name);
    match listing.known_text(name) {
        Some(text) => Script::checked(name, &path, text, Purpose::Migration),
        None => Script::read(&path, name, Purpose::Migration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_package_has_the_folder_that_it_does_not_name() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let found = || Migrations::folder_of_package(root.path()).unwrap();
        assert_eq!(found(), None);
        write("migrations/.keep", "");
        write("migrations/postgres/1_a.sql", "select 1;");
        assert_eq!(found(), None, "sqlx takes it for a folder without migrations");
        write("migrations/b.sql", "select 1;");
        assert_eq!(
            found(),
            Some(root.path().join("migrations")),
            "what is wrong there is told when it is read"
        );
        write("sqlx.toml", "[migrate]\nmigrations-dir = 'migrations/postgres'\n");
        assert_eq!(found(), Some(root.path().join("migrations/postgres")));
    }

    #[test]
    fn a_file_that_is_not_utf8_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1_a.sql"), b"select 1;\nselect '\xff';").unwrap();
        let error = Migrations::load(dir.path(), Format::Sqlx).unwrap_err();
        assert!(error.to_string().ends_with("1_a.sql` is not UTF-8 at line 2"), "{error}");
    }
}
