//! `migrations.lock`: a line for each migration that may be applied somewhere.

use super::recorded::{Breach, Recorded, breaches};
use crate::check::migrator::Migrator;
use crate::check::{Context, Project};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::migration::{Format, Migrations};
use std::fs;
use std::path::{Path, PathBuf};

/// What stands before the format in the first line.
const TITLE: &str =
    "# migrations that may be applied somewhere, by `pgharness lock`; version 1, checksums of ";

/// Between the parts of a line, so that a name may hold one space.
const GAP: &str = "  ";

/// The file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockFile {
    /// Whose checksums it has.
    pub(super) format: Format,
    /// In the order in which they are applied.
    pub(super) lines: Vec<Recorded>,
}

/// What came of locking the migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The file.
    pub file: PathBuf,
    /// The names of those that came to it, in order.
    pub added: Vec<String>,
    /// The names of those whose lines were changed or removed.
    pub changed: Vec<String>,
}

/// Adds a line to the project's `migrations.lock` for each migration that has none. Lines that are there stay as they
/// are, unless `is_forced`: then the file is written anew.
///
/// # Errors
/// `migrations.lock` names no file, the migrations cannot be read, or a line does not hold any more.
pub fn lock(context: &Context, is_forced: bool) -> Result<Locked> {
    let project = context.project();
    let file = project.migrations.lock.clone().ok_or_else(|| {
        Error::usage("`migrations.lock` names no file")
            .with_help("name one in `pgharness.toml`:\n[migrations]\nlock = \"migrations.lock\"")
    })?;
    let migrator = Migrator::of(project)?;
    let migrations = migrator.migrations();
    let Some(format) = migrations.format() else {
        return Err(Error::usage("what a command applies is known to it alone"));
    };
    let before = match LockFile::read(&file) {
        // What cannot be read cannot be kept.
        Err(_) if is_forced => None,
        read => read?,
    };
    let then = before.as_ref().map_or(&[][..], |before| &before.lines);
    let mut changed = Vec::new();
    for breach in breaches(then, migrations) {
        match breach {
            Breach::Edited { then, .. } | Breach::Removed { then } | Breach::Renumbered { then, .. } => {
                changed.push(then.name.clone());
            }
            // Nothing that is locked has changed; what the tool makes of it, the check says.
            Breach::Overtaken { .. } => {}
        }
    }
    if let Some(before) = before.as_ref().filter(|_| !is_forced) {
        before.is_of(format, &file)?;
        if !changed.is_empty() {
            let message =
                format!("`{}` would lose what it says of `{}`", file.display(), changed.join("`, `"));
            return Err(Error::usage(message).with_help(
                "`pgharness check --only migration.immutable` shows what was done; `pgharness lock --force` writes the \
                 file anew, if none of them is applied anywhere",
            ));
        }
    }
    let now = LockFile { format, lines: Recorded::all(migrations) };
    let is_new = |line: &&Recorded| !then.iter().any(|one| one.version == line.version);
    let added = now.lines.iter().filter(is_new).map(|line| line.name.clone()).collect();
    fs::write(&file, now.render()?)
        .attempt(ErrorKind::Environment, || format!("failed to write `{}`", file.display()))?;
    Ok(Locked { file, added, changed })
}

impl LockFile {
    /// The file of the project at `file`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub(super) fn read(file: &Path) -> Result<Option<LockFile>> {
        if !file.exists() {
            return Ok(None);
        }
        let failed = || format!("failed to read the lock file `{}`", file.display());
        let text = fs::read_to_string(file).attempt(ErrorKind::Usage, failed)?;
        LockFile::parse(&text).map(Some).map_err(|error| {
            Error::usage(failed())
                .with_source(error)
                .with_help("`pgharness lock --force` writes it anew, from the migrations as they are")
        })
    }

    /// The file that the project declares; `None` where it declares none, or it is not written yet.
    ///
    /// # Errors
    /// As [`read`](LockFile::read), or it has the checksums of another tool than that of `migrations`.
    pub(super) fn of(project: &Project, migrations: &Migrations) -> Result<Option<LockFile>> {
        let Some(file) = &project.migrations.lock else { return Ok(None) };
        let found = LockFile::read(file)?;
        if let Some(found) = &found {
            found.is_of(migrations.format().unwrap_or_default(), file)?;
        }
        Ok(found)
    }

    fn is_of(&self, format: Format, file: &Path) -> Result<()> {
        if self.format == format {
            return Ok(());
        }
        let message = format!(
            "`{}` has the checksums of {}, and the migrations are {format}'s",
            file.display(),
            self.format
        );
        Err(Error::usage(message).with_help("`pgharness lock --force` writes it anew"))
    }

    fn parse(text: &str) -> Result<LockFile> {
        let mut lines = text.lines();
        let format = lines.next().and_then(|line| line.strip_prefix(TITLE)).ok_or_else(|| {
            Error::usage("its first line is not that of a lock file, or of one that a newer pgharness wrote")
        })?;
        let numbered = lines.enumerate().filter(|(_, line)| !line.trim().is_empty());
        let lines = numbered.map(|(number, line)| {
            let mut parts = line.trim_end().splitn(3, GAP).map(str::to_owned);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(checksum), Some(version), Some(name)) => Ok(Recorded { checksum, version, name }),
                _ => Err(Error::usage(format!(
                    "line {} is not `checksum  version  name`: `{line}`",
                    number + 2
                ))),
            }
        });
        Ok(LockFile { format: format.trim().parse()?, lines: lines.collect::<Result<_>>()? })
    }

    fn render(&self) -> Result<String> {
        let mut text = format!("{TITLE}{}\n", self.format);
        for Recorded { checksum, version, name } in &self.lines {
            // It would be read as another one.
            if version.contains(GAP) || name.contains(['\n', '\r']) {
                return Err(Error::usage(format!("`{name}` cannot be locked: two spaces in its version")));
            }
            text.push_str(&format!("{checksum}{GAP}{version}{GAP}{name}\n"));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "its first line is not that of a lock file")]
    #[case(
        "# migrations that may be applied somewhere, by `pgharness lock`; version 2, x",
        "a newer pgharness wrote"
    )]
    #[case(&format!("{TITLE}sqlx\n\nabc  1\n"), "line 3 is not `checksum  version  name`: `abc  1`")]
    #[case(&format!("{TITLE}squirrel\n"), "there is no migration format `squirrel`")]
    fn what_is_no_lock_file_is_refused(#[case] text: &str, #[case] expect: &str) {
        let error = LockFile::parse(text).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(parts in prop::collection::vec(
            ("[0-9a-f]{1,9}", "[a-z0-9.]{1,9}( [a-z]{1,4})?", "[a-z][a-z_ /]{0,9}[.]sql"), 0..5)) {
            let lines = parts.into_iter().map(|(checksum, version, name)| Recorded { checksum, version, name });
            let file = LockFile { format: Format::Plain, lines: lines.collect() };
            prop_assert_eq!(LockFile::parse(&file.render().unwrap()).unwrap(), file);
        }
    }
}
