//! Advisory file locks: held by an open file, so that they end with their holder, SIGKILL included.

use crate::error::{Attempt, ErrorKind, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An exclusive lock on a file; released when dropped or when its process ends in any way.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    held: File,
}

impl FileLock {
    /// Waits for the lock on `path`, whose file is created when missing. Blocks the thread.
    ///
    /// # Errors
    /// The file cannot be created or opened.
    pub fn wait(path: &Path) -> Result<FileLock> {
        let held = open(path)?;
        loop {
            match held.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    return outcome
                        .map(|()| FileLock { path: path.to_owned(), held })
                        .attempt(ErrorKind::Environment, || format!("failed to lock `{}`", path.display()));
                }
            }
        }
    }

    /// Takes the lock if nobody holds it. `None`: somebody does.
    ///
    /// # Errors
    /// The file cannot be created or opened.
    pub fn try_take(path: &Path) -> Result<Option<FileLock>> {
        Ok(try_lock(path, open(path)?))
    }

    /// As [`try_take`](FileLock::try_take), on a file that is there. `None` too: there is no file any more.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn try_existing(path: &Path) -> Result<Option<FileLock>> {
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).attempt(ErrorKind::Environment, || {
                    format!("failed to open the lock file `{}`", path.display())
                });
            }
        };
        Ok(try_lock(path, file))
    }

    /// The same lock, after its file was renamed.
    #[must_use]
    pub fn renamed(mut self, path: PathBuf) -> FileLock {
        self.path = path;
        self
    }

    /// Whether the locked file is the one at its path, and was not replaced before it was locked.
    pub fn is_in_place(&self) -> bool {
        let (held, there) = (self.held.metadata(), std::fs::metadata(&self.path));
        let id = |file: std::fs::Metadata| (file.dev(), file.ino());
        matches!((held.map(id), there.map(id)), (Ok(held), Ok(there)) if held == there)
    }

    /// The locked file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Not left to the descriptor: a child has it too, between its fork and its exec.
        let _ = self.held.unlock();
    }
}

fn try_lock(path: &Path, file: File) -> Option<FileLock> {
    file.try_lock().ok().map(|()| FileLock { path: path.to_owned(), held: file })
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .attempt(ErrorKind::Environment, || format!("failed to open the lock file `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::wait(&path).unwrap();
        assert!(FileLock::try_take(&path).unwrap().is_none());
        assert!(FileLock::try_existing(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_existing(&path).unwrap().is_some());
        assert!(FileLock::try_existing(&dir.path().join("other")).unwrap().is_none());
        assert!(!dir.path().join("other").exists());
        assert!(FileLock::try_take(&path).unwrap().is_some());
    }
}
