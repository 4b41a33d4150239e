//! A folder of migrations that is not written yet.

use pgharness::migration::{Delivery, Migration, Migrations};
use pgharness::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder of migrations that is not written yet, and what applies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// A command in place of the built-in runner; `{dir}` stands for the folder.
    pub(super) command: Option<String>,
    /// What a superuser runs behind the project's own bootstrap.
    pub(super) bootstrap: Option<String>,
}

impl Folder {
    /// One without a file.
    fn empty() -> Folder {
        Folder { files: BTreeMap::new(), command: None, bootstrap: None }
    }

    /// All that lies in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Folder> {
        let mut folder = Folder::empty();
        collect(dir, dir, &mut folder.files).map_err(|error| {
            Error::new(ErrorKind::Usage, format!("failed to read the folder `{}`", dir.display()))
                .with_source(error)
        })?;
        Ok(folder)
    }

    /// Writes all of it below `dir`.
    pub(super) fn write(&self, dir: &Path) -> std::io::Result<()> {
        for (path, bytes) in &self.files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
            std::fs::write(path, bytes)?;
        }
        Ok(())
    }

    /// The text of a file; nothing of one that is not there, or no text.
    pub(super) fn text(&self, path: &Path) -> &str {
        self.files.get(path).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    #[must_use]
    pub(super) fn with(mut self, path: impl Into<PathBuf>, text: impl Into<Vec<u8>>) -> Folder {
        self.files.insert(path.into(), text.into());
        self
    }

    #[must_use]
    pub(super) fn without(mut self, path: &Path) -> Folder {
        self.files.remove(path);
        self
    }

    /// The same file under another name.
    #[must_use]
    pub(super) fn renamed(mut self, from: &Path, to: impl Into<PathBuf>) -> Folder {
        if let Some(bytes) = self.files.remove(from) {
            self.files.insert(to.into(), bytes);
        }
        self
    }

    #[must_use]
    pub(super) fn prepared_by(mut self, bootstrap: impl Into<String>) -> Folder {
        self.bootstrap = Some(bootstrap.into());
        self
    }

    #[must_use]
    pub(super) fn applied_by(mut self, command: impl Into<String>) -> Folder {
        self.command = Some(command.into());
        self
    }
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            collect(root, &path, files)?;
        } else if path.is_file() {
            let inside = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.insert(inside, std::fs::read(&path)?);
        }
    }
    Ok(())
}

/// The files of a project's migrations, and where each of them lies.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) folder: Folder,
    pub(super) migrations: Migrations,
}

impl Files {
    /// # Errors
    /// They cannot be read.
    pub(super) fn read(migrations: Migrations) -> Result<Files> {
        let folder = match migrations.format() {
            Some(_) => Folder::read(migrations.dir())?,
            None => Folder::empty(),
        };
        Ok(Files { folder, migrations })
    }

    /// The migrations with their numbers, counted from 1.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &Migration)> {
        (1..).zip(self.migrations.iter())
    }

    /// Where a migration lies in the folder.
    pub(super) fn path<'a>(&self, migration: &'a Migration) -> &'a Path {
        migration.path().strip_prefix(self.migrations.dir()).unwrap_or(migration.path())
    }

    /// The folder as it was when the first `count` migrations were all that there was.
    pub(super) fn until(&self, count: usize) -> Folder {
        self.numbered().filter(|(number, _)| *number > count).fold(
            self.folder.clone(),
            |folder, (_, migration)| {
                let folder = folder.without(self.path(migration));
                match &migration.down {
                    Some(down) => {
                        let path = down.path();
                        folder.without(path.strip_prefix(self.migrations.dir()).unwrap_or(path))
                    }
                    None => folder,
                }
            },
        )
    }

    /// The same with one migration more, of these statements: named as the last one is, with the next number.
    pub(super) fn followed_by(&self, count: usize, sql: &str) -> Option<Folder> {
        let last = self.migrations.iter().nth(count.checked_sub(1)?)?;
        let path = next(self.path(last).to_str()?)?;
        let head = match self.migrations.format()?.name() {
            "goose" => "-- +goose Up\n",
            "dbmate" => "-- migrate:up\n",
            _ => "",
        };
        Some(self.until(count).with(path, format!("{head}{sql}\n")))
    }

    /// The folder with another text of one migration, which is told the old one.
    pub(super) fn edited(&self, migration: &Migration, edit: impl FnOnce(&str) -> String) -> Folder {
        let path = self.path(migration);
        let text = edit(self.folder.text(path));
        self.folder.clone().with(path, text)
    }

    /// The migrations before the first that does not run in one transaction.
    pub(super) fn transactional(&self) -> usize {
        self.migrations.iter().take_while(|migration| migration.delivery == Delivery::Transaction).count()
    }
}

/// A path with the next number in place of its first one.
fn next(path: &str) -> Option<String> {
    let start = path.find(|c: char| c.is_ascii_digit())?;
    let digits: String = path[start..].chars().take_while(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().ok()?;
    let width = digits.len();
    Some(format!("{}{:0width$}{}", &path[..start], number + 1, &path[start + width..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_is_named_like_the_last() {
        assert_eq!(next("0009_a1.sql").as_deref(), Some("0010_a1.sql"));
        assert_eq!(next("V7__a.sql").as_deref(), Some("V8__a.sql"));
        assert_eq!(next("a.sql"), None);
    }
}
