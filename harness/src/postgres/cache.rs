//! Where things that are worth keeping between runs lie: downloads, prepared data directories, state.

use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::{User, effective_uid, home_dir};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The cache folder of a user.
///
/// An ordinary user's lies in that user's cache folder and is private. Root's lies in the system's, where the
/// user that the server runs as can read it: a root home directory is closed to everybody else.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache, creating its folder when missing.
    ///
    /// # Errors
    /// None of the places can be written; the error names the one that was tried.
    pub fn open() -> Result<Cache> {
        if let Some(root) = env::CACHE.path() {
            return Cache::at(root);
        }
        if effective_uid() == 0 {
            return Cache::system();
        }
        let user_cache =
            env::CACHE_HOME.path().or_else(|| Some(env::HOME.path().or_else(home_dir)?.join(".cache")));
        match user_cache.map(|folder| Cache::at(folder.join("pgharness"))) {
            Some(Ok(cache)) => Ok(cache),
            // `nobody` and many service users have a home that does not exist, or that is not theirs.
            _ => Cache::private_in_tmp(),
        }
    }

    /// The cache in the system's folder: root's.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn system() -> Result<Cache> {
        Cache::at(PathBuf::from("/var/cache/pgharness"))
    }

    /// The cache at a folder of the caller's choice.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn at(root: PathBuf) -> Result<Cache> {
        create_dir(&root, if effective_uid() == 0 { 0o755 } else { 0o700 })?;
        let root = root
            .canonicalize()
            .attempt(ErrorKind::Environment, || format!("failed to open the cache `{}`", root.display()))?;
        Ok(Cache { root })
    }

    fn private_in_tmp() -> Result<Cache> {
        let uid = effective_uid();
        let root = std::env::temp_dir().join(format!("pgharness-{uid}"));
        let cache = Cache::at(root.clone())?;
        // Everybody may create names in /tmp: what somebody else put there is not to be trusted.
        let owner = fs::symlink_metadata(&root)
            .attempt(ErrorKind::Environment, || format!("failed to look at `{}`", root.display()))?;
        if owner.uid() != uid || owner.is_symlink() {
            return Err(Error::environment(format!("`{}` belongs to somebody else", root.display()))
                .with_help(format!("set {} to a folder of your own", env::CACHE.name)));
        }
        Ok(cache)
    }

    /// Its folder, absolute and free of links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder within it that is ours alone.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn private_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.root.join(name);
        create_dir(&dir, 0o700)?;
        Ok(dir)
    }

    /// A folder within it that is ours to write, and that the user that the server runs as can read.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn shared_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.root.join(name);
        create_dir(&dir, if effective_uid() == 0 { 0o755 } else { 0o700 })?;
        Ok(dir)
    }

    /// A folder within it that belongs to the user that the server runs as, and that both can reach.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn server_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.root.join(name);
        create_dir(&dir, 0o700)?;
        if let Some(user) = User::for_server() {
            user.own(&dir)?;
        }
        Ok(dir)
    }
}

fn create_dir(dir: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .attempt(ErrorKind::Environment, || format!("failed to create the folder `{}`", dir.display()))
}
