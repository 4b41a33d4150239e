//! Where the parts of a keeper lie, and how one enters.

use super::origin::Origin;
use crate::digest::{Digest, Hasher};
use crate::error::{Attempt, ErrorKind, Result};
use crate::postgres::Cache;
use crate::process::{User, effective_uid};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The state directory of one shared server, and the tag that its base directories carry.
#[derive(Clone, Debug)]
pub(in crate::server) struct Home {
    /// Private to us: the lock, the state file, the leases of owners.
    pub(in crate::server) state_dir: PathBuf,
    workspace: PathBuf,
    tag: String,
}

impl Home {
    /// The home of the server with this key, which `workspace` shares.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(in crate::server) fn open(cache: &Cache, key: &Digest, workspace: &Path) -> Result<Home> {
        let state_dir = cache.private_dir(&format!("{SHELF}/{}", key.short(16)))?;
        Ok(Home::at(state_dir, workspace.to_owned()))
    }

    /// All homes, with what their servers were last started from.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(in crate::server) fn all(cache: &Cache) -> Result<Vec<(Home, Origin)>> {
        let entries = fs::read_dir(cache.private_dir(SHELF)?).into_iter().flatten().flatten();
        let known = entries.filter_map(|entry| {
            let origin = Origin::read(&entry.path())?;
            Some((Home::at(entry.path(), origin.workspace.clone()), origin))
        });
        Ok(known.collect())
    }

    fn at(state_dir: PathBuf, workspace: PathBuf) -> Home {
        // The place is part of the tag: two caches never take one another's bases for their own.
        let tag = Hasher::new("home")
            .field("state", state_dir.as_os_str().as_encoded_bytes())
            .field("user", effective_uid().to_string())
            .finish()
            .short(10);
        Home { state_dir, workspace, tag }
    }

    /// The workspace that shares the server.
    pub(in crate::server) fn workspace(&self) -> &Path {
        &self.workspace
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.state_dir.join("lock")
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.state_dir.join(STATE)
    }

    /// Names of base directories start with this.
    pub(super) fn base_prefix(&self) -> String {
        format!("{BASE}{}-", self.tag)
    }

    /// Names of parked base directories start with this.
    pub(super) fn parked_prefix(&self) -> String {
        format!("{PARKED}{}-", self.tag)
    }
}

/// The folder of the cache in which the homes are.
const SHELF: &str = "servers";
const STATE: &str = "state";
pub(super) const BASE: &str = "pgh-";
pub(super) const PARKED: &str = "pgp-";

/// A participation: as long as this is held, the keeper keeps its server.
#[derive(Debug)]
pub(in crate::server) struct Door {
    _held: File,
    pub(in crate::server) base: PathBuf,
}

/// What an attempt to enter showed.
#[derive(Debug)]
pub(super) enum Entry {
    /// We are in.
    In(Door),
    /// There is no keeper.
    NoKeeper,
    /// It retires.
    Retiring,
}

/// Enters the server at `base`, without blocking.
pub(super) fn enter(base: &Path) -> Entry {
    // Without a reader a FIFO cannot be opened like this. CLOEXEC is the default of the standard library.
    let held = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(base.join("door"));
    let Ok(mut held) = held else { return Entry::NoKeeper };
    // Where everybody may create names, a stranger could wait behind the name of a base that is gone.
    if !held.metadata().is_ok_and(|door| door.file_type().is_fifo() && is_our_own(&door)) {
        return Entry::NoKeeper;
    }
    // The line restarts the grace period; a full FIFO has told the keeper enough.
    if held.write_all(b"enter\n").is_err_and(|error| error.kind() == IoErrorKind::BrokenPipe) {
        return Entry::NoKeeper;
    }
    // Only now: see the order of steps above.
    if base.join("open").exists() {
        Entry::In(Door { _held: held, base: base.to_owned() })
    } else {
        Entry::Retiring
    }
}

/// Whether a file is ours, or as root the server's user's: nobody else's is entered, and nobody else's removed.
pub(super) fn is_our_own(file: &Metadata) -> bool {
    file.uid() == effective_uid() || User::for_server().is_some_and(|user| file.uid() == user.uid)
}

/// Asks the keeper to start a crashed private server again on its data.
///
/// # Errors
/// The keeper is gone.
pub(in crate::server) fn request_restart(base: &Path) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(base.join("door"))
        .and_then(|mut door| door.write_all(b"restart\n"))
        .attempt(ErrorKind::Server, || {
            format!("failed to ask the keeper of `{}` for a restart", base.display())
        })
}

/// What the state file says: the base and the port of the published server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) base: PathBuf,
    pub(super) port: u16,
}

impl Published {
    pub(super) fn read(home: &Home) -> Option<Published> {
        Published::read_in(&home.state_dir)
    }

    /// What is published in a state directory, be it that of another home.
    pub(super) fn read_in(state_dir: &Path) -> Option<Published> {
        let text = fs::read_to_string(state_dir.join(STATE)).ok()?;
        let (base, port) = text.trim_end().split_once('\n')?;
        Some(Published { base: base.into(), port: port.parse().ok()? })
    }

    /// Publishes by rename: a reader sees the old state or the new, never half of one.
    pub(super) fn write(&self, home: &Home) -> Result<()> {
        let state = home.state_file();
        let new = state.with_extension("new");
        fs::write(&new, format!("{}\n{}\n", self.base.display(), self.port))
            .and_then(|()| fs::rename(&new, &state))
            .attempt(ErrorKind::Environment, || format!("failed to write `{}`", state.display()))
    }
}

/// Tells the data of the server at `base`, running or parked, from those of all others: it goes where they go.
pub(in crate::server) fn generation(base: &Path) -> Option<String> {
    let text = fs::read_to_string(base.join("data/pgharness.generation")).ok()?;
    Some(text.trim_end().to_owned())
}
