//! A folder of one run of a bench: it goes with its handle or, where its maker was killed, with the next run.

use super::place::{entries, failed, wait_until_stopped};
use pgharness::Result;
use pgharness::process::FileLock;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const PREFIX: &str = "pgb-";
/// Held by whoever made the folder, as long as it lives.
const LOCK: &str = "lock";

/// A folder of this run's own.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: TempDir,
    _alive: FileLock,
}

impl Scratch {
    /// A folder in `root`, after those were removed there whose makers are dead.
    pub(super) fn below(root: &Path) -> Result<Scratch> {
        for dir in entries(root, PREFIX) {
            remove_if_abandoned(&dir);
        }
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root).map_err(failed)?;
        // Named once it is held: a lock that is there and free is a dead run's.
        let new = dir.path().join("lock.new");
        let held = FileLock::wait(&new)?;
        let path = dir.path().join(LOCK);
        fs::rename(&new, &path).map_err(failed)?;
        Ok(Scratch { dir, _alive: held.renamed(path) })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Also where a bench failed half-way: a server that stops writes into a folder that is being removed.
        let _ = wait_until_stopped(&self.path().join(super::place::ROOTS));
    }
}

/// Removes the folder if nobody holds its lock. What cannot be removed, another user's for example, stays.
fn remove_if_abandoned(dir: &Path) {
    if let Ok(Some(_dead)) = FileLock::try_existing(&dir.join(LOCK)) {
        // Its servers notice by themselves that nobody is left.
        let _ = wait_until_stopped(&dir.join(super::place::ROOTS));
        let _ = fs::remove_dir_all(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_runs_folder_goes_with_the_next_run() {
        let root = tempfile::tempdir().unwrap();
        let (dead, strange) = (root.path().join("pgb-dead"), root.path().join("pgb-strange"));
        fs::create_dir_all(dead.join("roots")).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::create_dir(&strange).unwrap();
        let alive = Scratch::below(root.path()).unwrap();
        assert!(!dead.exists());
        let other = Scratch::below(root.path()).unwrap();
        assert!(alive.path().exists() && other.path().exists(), "those of living runs stay");
        assert!(strange.exists(), "so does one that may be in the making");
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
    }
}
