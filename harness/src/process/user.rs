//! The system user that a server runs as.

use crate::error::{Attempt, ErrorKind, Result};
use libc::{c_char, c_int, passwd};
use once_cell::sync::OnceCell;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
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
        if effective_uid() != 0 {
            return None;
        }
        /// The user database may be slow to ask.
        static KNOWN: OnceCell<User> = OnceCell::new();
        let known = || {
            let known = ["postgres", "nobody"].into_iter().find_map(User::named);
            known.unwrap_or_else(|| User { name: "nobody".into(), uid: 65534, gid: 65534 })
        };
        Some(KNOWN.get_or_init(known).clone())
    }

    /// Looks a user up by name.
    pub fn named(name: &str) -> Option<User> {
        let name = CString::new(name).ok()?;
        let ask = |entry, buffer, length, found| {
            // SAFETY: the name ends with a zero, and the rest is as `look_up` promises.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found) }
        };
        look_up(&ask).map(|(user, _)| user)
    }

    /// Gives `path` to this user.
    ///
    /// # Errors
    /// We may not change its owner.
    pub fn own(&self, path: &Path) -> Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).attempt(ErrorKind::Environment, || {
            format!("failed to give `{}` to `{}`", path.display(), self.name)
        })
    }
}

/// The numeric id of the user that we run as.
pub(crate) fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Our home folder by the user database, for when `HOME` is not set.
pub(crate) fn home_dir() -> Option<PathBuf> {
    let ask = |entry, buffer, length, found| {
        // SAFETY: as `look_up` promises.
        unsafe { libc::getpwuid_r(effective_uid(), entry, buffer, length, found) }
    };
    look_up(&ask).map(|(_, home)| home)
}

/// A question to the user database: where to put the entry, a buffer for its texts with its length, and where to
/// say that it was found. All of them are valid for the call.
type Question<'a> = &'a dyn Fn(*mut passwd, *mut c_char, usize, *mut *mut passwd) -> c_int;

/// A user with the home folder, if the database knows one.
fn look_up(ask: Question<'_>) -> Option<(User, PathBuf)> {
    let mut buffer: Vec<c_char> = vec![0; 1 << 10];
    loop {
        // SAFETY: a structure of plain numbers and pointers, all of which may be zero.
        let mut entry: passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        match ask(&raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found) {
            0 if found.is_null() => return None,
            0 => {
                // SAFETY: both point to texts in the buffer, which end with a zero.
                let (name, home) = unsafe { (CStr::from_ptr(entry.pw_name), CStr::from_ptr(entry.pw_dir)) };
                let name = name.to_str().ok()?.to_owned();
                let user = User { name, uid: entry.pw_uid, gid: entry.pw_gid };
                return Some((user, OsStr::from_bytes(home.to_bytes()).into()));
            }
            libc::EINTR => {}
            // Its texts need more room.
            libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_database_knows_root_and_no_stranger() {
        let root = User::named("root").unwrap();
        assert_eq!((root.name.as_str(), root.uid), ("root", 0));
        assert_eq!(User::named("no such user"), None);
        assert_eq!(User::named("root\0"), None);
    }

    #[test]
    fn a_long_entry_is_asked_for_again_with_more_room() {
        let asked = std::cell::RefCell::new(Vec::new());
        let found = look_up(&|_, _, length, _| {
            asked.borrow_mut().push(length);
            if length < 10_000 { libc::ERANGE } else { 0 }
        });
        assert_eq!((found, asked.into_inner()), (None, vec![1 << 10, 1 << 12, 1 << 14]));
    }
}
