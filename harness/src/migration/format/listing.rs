//! What lies in a migrations folder.

use crate::error::{Attempt, ErrorKind, Result};
use once_cell::unsync::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What lies in a migrations folder, sorted by name.
#[derive(Debug)]
pub(in crate::migration) struct Listing {
    dir: PathBuf,
    files: Vec<String>,
    dirs: Vec<String>,
    /// The files of SQL by their names, read once for all who look through them.
    texts: OnceCell<BTreeMap<String, String>>,
}

impl Listing {
    pub(in crate::migration) fn read(dir: &Path) -> Result<Listing> {
        let mut listing =
            Listing { dir: dir.to_owned(), files: Vec::new(), dirs: Vec::new(), texts: OnceCell::new() };
        listing.fill().attempt(ErrorKind::Migration, || {
            format!("failed to read the migrations folder `{}`", dir.display())
        })?;
        Ok(listing)
    }

    fn fill(&mut self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            // Follows links, as the tools do.
            let is_dir = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
            if is_dir { self.dirs.push(name) } else { self.files.push(name) }
        }
        self.files.sort();
        self.dirs.sort();
        Ok(())
    }

    /// Files that are not there, by name, for what depends on names only.
    #[cfg(test)]
    pub(in crate::migration) fn of(names: &[&str]) -> Listing {
        let mut files: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        files.sort();
        Listing { dir: "migrations".into(), files, dirs: Vec::new(), texts: OnceCell::new() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(in crate::migration) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &str> {
        self.dirs.iter().map(String::as_str)
    }

    pub(super) fn has(&self, inside: &str) -> bool {
        self.dir.join(inside).exists()
    }

    pub(in crate::migration) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether any file of SQL is as `wanted`. One that cannot be read is told when the folder is read.
    pub(super) fn any_text(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let text = |name: &str| Some((name.to_owned(), fs::read_to_string(self.path(name)).ok()?));
        let texts = self.texts.get_or_init(|| self.scripts().filter_map(text).collect());
        texts.values().any(|text| wanted(text))
    }

    /// The text of a file, if all were looked through.
    pub(in crate::migration) fn known_text(&self, name: &str) -> Option<&str> {
        Some(self.texts.get()?.get(name)?.as_str())
    }

    /// The files of SQL.
    pub(in crate::migration) fn scripts(&self) -> impl Iterator<Item = &str> {
        self.files().filter(|name| name.ends_with(".sql"))
    }

    /// Files in this folder and in all folders below it, as paths from here, sorted; hidden folders are left out.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(super) fn deep_files(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = self.files.clone();
        let mut dirs: Vec<String> = self.dirs.clone();
        while let Some(dir) = dirs.pop() {
            // Links are not followed: one may lead back.
            if dir.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
                || self.path(&dir).is_symlink()
            {
                continue;
            }
            let below = Listing::read(&self.path(&dir))?;
            found.extend(below.files().map(|file| format!("{dir}/{file}")));
            dirs.extend(below.dirs().map(|name| format!("{dir}/{name}")));
        }
        found.sort();
        Ok(found)
    }

    /// The nearest of `names` in this folder or one around it, up to the folder of the repository.
    pub(super) fn nearest(&self, names: &[&str]) -> Option<PathBuf> {
        let dir = self.dir.canonicalize().ok()?;
        for around in dir.ancestors() {
            if let Some(found) = names.iter().map(|name| around.join(name)).find(|path| path.is_file()) {
                return Some(found);
            }
            if around.join(".git").exists() {
                return None;
            }
        }
        None
    }
}
