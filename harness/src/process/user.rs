//! The system user that a server runs as.

use crate::error::{Attempt, ErrorKind, Result};
use nix::unistd::{Gid, Uid};
use std::path::{Path, PathBuf};

/// A user of the operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The numeric user id.
    pub uid: u32,
    /// The numeric id of the primary group.
    pub gid: u32,
}

impl User {
    /// Whom a server must run as instead of us: `None` for an ordinary user; as root, whom Postgres refuses,
    /// `postgres` where it exists, else `nobody`.
    pub fn for_server() -> Option<User> {
        if !Uid::effective().is_root() {
            return None;
        }
        let known = ["postgres", "nobody"].into_iter().find_map(User::named);
        Some(known.unwrap_or_else(|| User { name: "nobody".into(), uid: 65534, gid: 65534 }))
    }

    /// Looks a user up by name.
    pub fn named(name: &str) -> Option<User> {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(User { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }

    /// Gives `path` to this user.
    ///
    /// # Errors
    /// We may not change its owner.
    pub fn own(&self, path: &Path) -> Result<()> {
        nix::unistd::chown(path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
            .attempt(ErrorKind::Environment, || {
                format!("failed to give `{}` to `{}`", path.display(), self.name)
            })
    }
}

/// The numeric id of the user that we run as.
pub(crate) fn effective_uid() -> u32 {
    Uid::effective().as_raw()
}

/// Our home folder by the user database, for when `HOME` is not set.
pub(crate) fn home_dir() -> Option<PathBuf> {
    nix::unistd::User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir)
}
