//! Data directories: `initdb` once per installation, then copies.

use super::wal::PAGE;
use super::{Cache, Installation, Lsn};
use crate::digest::Hasher;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::{FileLock, Program, User};
use crate::wait::{self, Look};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The superuser of every server that the harness makes.
pub(crate) const SUPERUSER: &str = "postgres";

/// Sockets lie in a private directory, so whoever reaches them is us: no password there. TCP always asks for
/// one, and as long as no role has a password it lets nobody in.
const HBA: &str = "\
local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
";

/// A data directory of a stopped server.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// What a data directory's control file says of its last server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// It was stopped cleanly.
    ShutDown,
    /// It runs, or it was ended by force.
    Other,
}

impl DataDir {
    /// The prepared directory for `installation`: made by `initdb` when it is first asked for, by one process,
    /// then read by all. It is never started itself, only copied.
    ///
    /// The key is the installation's identity and the arguments. It is wrong if a library that `initdb` loads
    /// is replaced beneath an unchanged `postgres`, which changes no data directory in practice.
    ///
    /// # Errors
    /// The cache cannot be written, or `initdb` fails.
    pub fn prepared(installation: &Installation, cache: &Cache) -> Result<DataDir> {
        let key = Hasher::new("initdb")
            .field("installation", installation.identity().bytes())
            .field("arguments", ARGUMENTS.join(" "))
            .field("ctype", CTYPE)
            .field("hba", HBA)
            .field("removed", "maps, spare log")
            .finish()
            .short(16);
        let shelf = cache.server_dir("initdb")?;
        let path = shelf.join(&key);
        if path.join("PG_VERSION").exists() {
            return Ok(DataDir { path });
        }
        let _alone = FileLock::wait(&cache.private_dir("locks")?.join(format!("initdb-{key}")))?;
        if path.join("PG_VERSION").exists() {
            return Ok(DataDir { path });
        }
        let unfinished = shelf.join(format!("{key}.new"));
        // A killed `initdb` has children that go on writing for a moment. They end by themselves; one that lost its
        // files before would break down, and leave its shared memory behind.
        wait::until("the remains of a killed `initdb` to go", Duration::from_secs(10), || {
            if is_worked_in(&unfinished) {
                return Ok(Look::NotYet("somebody still writes there".into()));
            }
            match remove(&unfinished) {
                Ok(()) => Ok(Look::Ready(())),
                Err(error) => Ok(Look::NotYet(format!("{error:?}"))),
            }
        })?;
        initdb(installation, &unfinished)?;
        remove_maps(&unfinished).attempt(ErrorKind::Environment, || {
            format!("failed to remove files from `{}`", unfinished.display())
        })?;
        remove_spare_log(&unfinished)?;
        fs::rename(&unfinished, &path)
            .attempt(ErrorKind::Environment, || format!("failed to publish `{}`", path.display()))?;
        Ok(DataDir { path })
    }

    /// The data directory at `path`.
    pub fn at(path: PathBuf) -> DataDir {
        DataDir { path }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How its last server ended, by its control file.
    ///
    /// # Errors
    /// The control file cannot be read.
    pub fn state(&self) -> Result<ClusterState> {
        // After the system identifier (8 bytes) and two version numbers (4 each) comes the state; that head has
        // not moved since 8.3, so that every version can tell a foreign directory from its own.
        const STATE_OFFSET: u64 = 16;
        const SHUT_DOWN: i32 = 1;
        let state = i32::from_ne_bytes(self.control(STATE_OFFSET)?);
        Ok(if state == SHUT_DOWN { ClusterState::ShutDown } else { ClusterState::Other })
    }

    /// Whether its last server was stopped cleanly, as far as its control file can be read.
    pub(crate) fn was_shut_down(&self) -> bool {
        self.state().is_ok_and(|state| state == ClusterState::ShutDown)
    }

    /// The place in the log at which its last checkpoint began: all of the log from there on is there.
    ///
    /// # Errors
    /// The control file cannot be read.
    pub(crate) fn checkpoint(&self) -> Result<Lsn> {
        // After the state come the time of writing (8 bytes, aligned), the checkpoint's record, and where it began.
        const REDO_OFFSET: u64 = 40;
        Ok(Lsn::from(u64::from_ne_bytes(self.control(REDO_OFFSET)?)))
    }

    fn control<const LENGTH: usize>(&self, offset: u64) -> Result<[u8; LENGTH]> {
        let file = self.path.join("global/pg_control");
        let mut bytes = [0; LENGTH];
        fs::File::open(&file)
            .and_then(|control| control.read_exact_at(&mut bytes, offset))
            .attempt(ErrorKind::Environment, || format!("failed to read `{}`", file.display()))?;
        Ok(bytes)
    }
}

const ARGUMENTS: &[&str] = &[
    "--username",
    SUPERUSER,
    "--auth=trust",
    "--no-sync",
    "--no-instructions",
    "--encoding=UTF8",
    // C, so that order and messages are the same on every machine.
    "--locale=C",
    // The smallest segments: a clone and a stop then write less.
    "--wal-segsize=1",
];
/// Bytes of such a segment.
const LOG_SEGMENT: u64 = 1 << 20;
const FIRST_TIMELINE: u32 = 1;

/// Letters beyond ASCII are letters too, where the system knows this locale.
const CTYPE: &str = "--lc-ctype=C.UTF-8";

fn initdb(installation: &Installation, data: &Path) -> Result<()> {
    let run = |ctype: Option<&str>| {
        Program::new(installation.program("initdb"))
            .with_plain_environment()
            .args(ARGUMENTS)
            .args(ctype)
            .arg("--pgdata")
            .arg(data)
            .current_dir("/")
            .as_user(User::for_server())
            .deadline(Duration::from_secs(120))
            .ends_with_us()
            .run()
    };
    let mut finished = run(Some(CTYPE))?;
    if !finished.status.success() && finished.complaint().contains("locale") {
        remove(data)?;
        finished = run(None)?;
    }
    finished.check(ErrorKind::Environment, || {
        format!("failed to prepare a data directory with `{}`", installation.program("initdb").display())
    })?;
    let hba = data.join("pg_hba.conf");
    fs::write(&hba, HBA).attempt(ErrorKind::Environment, || format!("failed to write `{}`", hba.display()))
}

/// Removes the maps of the catalogs' free space and visibility: a quarter of all files, of which every database has its
/// copy. A server needs none, and makes one anew where it writes.
fn remove_maps(data: &Path) -> std::io::Result<()> {
    let databases = fs::read_dir(data.join("base"))?.map(|entry| Ok(entry?.path()));
    let folders = databases.chain([Ok(data.join("global"))]).collect::<std::io::Result<Vec<_>>>()?;
    for folder in folders {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with("_fsm") || name.ends_with("_vm") {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Removes the log's files that wait for being written to: a server makes those that it needs.
fn remove_spare_log(data: &Path) -> Result<()> {
    let failed = || format!("failed to remove files from `{}`", data.display());
    let checkpoint = DataDir::at(data.to_owned()).checkpoint()?;
    // The checkpoint is the last record, and shorter than that.
    let last = checkpoint.plus(PAGE).file_name(FIRST_TIMELINE, LOG_SEGMENT);
    for entry in fs::read_dir(data.join("pg_wal")).attempt(ErrorKind::Environment, failed)? {
        let entry = entry.attempt(ErrorKind::Environment, failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.len() == last.len() && *name > *last {
            fs::remove_file(entry.path()).attempt(ErrorKind::Environment, failed)?;
        }
    }
    Ok(())
}

/// Whether a process works in `dir`, as far as that can be seen.
fn is_worked_in(dir: &Path) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.into_iter().any(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir))
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::environment(format!("failed to remove `{}`", dir.display())).with_source(error))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn who_works_in_a_directory_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_worked_in(dir.path()));
        let worker = Program::new("sleep").arg("60").current_dir(dir.path()).start().unwrap();
        assert!(is_worked_in(dir.path()));
        drop(worker);
        assert!(!is_worked_in(dir.path()));
    }
}
