//! Starting a keeper with its server.

use super::base::{BASE, Door, Entry, Home, enter};
use super::reclaim;
use crate::digest::Hasher;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::{DataDir, Installation, Settings};
use crate::process::{Program, User};
use crate::wait::{self, Look};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const SCRIPT: &str = include_str!("keeper.sh");
pub(super) const START_DEADLINE: Duration = Duration::from_secs(60);

/// What a data directory is made from.
#[derive(Clone, Debug)]
pub(in crate::server) enum Source {
    /// A copy of this data directory.
    Copy(PathBuf),
    /// The data directory in this parked base, which is used up.
    Parked(PathBuf),
}

/// What becomes of the data after a clean stop, once [`ask_to_park`] was called: nothing half-made is kept.
#[derive(Clone, Debug)]
pub(in crate::server) enum Park {
    /// It is removed.
    Never,
    /// The base gets this name plus its own random part, unless it is larger than that; others that have such a
    /// name are removed.
    Slot { prefix: PathBuf, mib_max: u64 },
    /// The data directory gets this name.
    Image { data: PathBuf, mib_max: u64 },
}

/// Has the keeper of `base` park the data when its server stops.
///
/// # Errors
/// The directory cannot be written.
pub(in crate::server) fn ask_to_park(base: &Path) -> Result<()> {
    let mark = base.join("asked");
    fs::write(&mark, "").attempt(ErrorKind::Environment, || format!("failed to write `{}`", mark.display()))
}

/// A server to start.
#[derive(Debug)]
pub(in crate::server) struct Launch<'a> {
    pub(in crate::server) home: &'a Home,
    pub(in crate::server) installation: &'a Installation,
    pub(in crate::server) settings: &'a Settings,
    pub(in crate::server) root: PathBuf,
    pub(in crate::server) source: Source,
    pub(in crate::server) park: Park,
    /// How long the keeper waits for somebody else after the last participant left.
    pub(in crate::server) grace: Duration,
}

/// A way into a server that answers.
#[derive(Debug)]
pub(in crate::server) struct Attached {
    pub(in crate::server) door: Door,
    pub(in crate::server) port: u16,
}

/// How an attempt to start went wrong.
pub(super) enum Failure {
    /// The port was taken between our look and the server's bind.
    PortTaken,
    /// Somebody killed the server or its keeper: no fault of ours or of the data.
    Killed(Error),
    Other(Error),
}

/// After so many attempts that were cut short something is wrong with the machine.
const ATTEMPTS_MAX: u32 = 4;

impl Launch<'_> {
    /// Starts the server and waits until it answers. Blocks; not to be called within a runtime.
    ///
    /// # Errors
    /// The server does not start; the error has its last log line, and the log is kept.
    pub(in crate::server) fn start(mut self) -> Result<Attached> {
        let mut ports_taken = 0;
        for attempt in 1.. {
            // A free port can be gone a moment later, so a second try is fair; without TCP the server is still
            // good for everything but `url_tcp`.
            let port = if ports_taken < 2 { free_port() } else { None };
            let parked = matches!(self.source, Source::Parked(_));
            match self.attempt(port) {
                Ok(launched) => return Ok(launched),
                Err(Failure::PortTaken) => ports_taken += 1,
                Err(Failure::Killed(_)) if attempt < ATTEMPTS_MAX => {}
                // What was parked may be of no use any more; a fresh copy is.
                Err(Failure::Other(_)) if parked => {}
                Err(Failure::Killed(error) | Failure::Other(error)) => return Err(error),
            }
            self.source = self.source_again()?;
        }
        Err(Error::server("failed to start a server on any port"))
    }

    /// A parked directory went with the failed attempt.
    fn source_again(&self) -> Result<Source> {
        match &self.source {
            Source::Copy(path) => Ok(Source::Copy(path.clone())),
            Source::Parked(_) => {
                let cache = crate::postgres::Cache::open()?;
                let prepared = DataDir::prepared(self.installation, &cache)?;
                Ok(Source::Copy(prepared.path().to_owned()))
            }
        }
    }

    fn attempt(&self, port: Option<u16>) -> Result<Attached, Failure> {
        let base = self.root.join(format!("{}{}", self.home.base_prefix(), random_part()));
        // Without a name: several keepers start at a time, and nothing of it is left afterwards.
        let (log, log_for_keeper) = tempfile::tempfile_in(&self.home.state_dir)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .attempt(ErrorKind::Environment, || {
                format!("failed to create a file in `{}`", self.home.state_dir.display())
            })
            .map_err(Failure::Other)?;
        let (source, take) = match &self.source {
            // Nothing of its databases is read while such a server starts: they may come meanwhile.
            Source::Copy(path) if DataDir::at(path.clone()).was_shut_down() => (path, "copy"),
            Source::Copy(path) => (path, "whole"),
            Source::Parked(path) => (path, "move"),
        };
        let (park, mib_max, park_as) = match &self.park {
            Park::Never => (Path::new("-"), 0, "never"),
            Park::Slot { prefix, mib_max } => (prefix.as_path(), *mib_max, "slot"),
            Park::Image { data, mib_max } => (data.as_path(), *mib_max, "image"),
        };
        let listen = if port.is_some() { "listen_addresses=127.0.0.1" } else { "listen_addresses=" };
        let mut keeper = Program::new("/bin/sh")
            .with_plain_environment()
            .arg("-c")
            .arg(SCRIPT)
            .arg("pgkeeper")
            .arg(&base)
            .arg(self.installation.bin())
            .arg((self.grace.as_millis() / 100).to_string())
            .arg(source)
            .arg(take)
            .arg(park)
            .arg((mib_max << 10).to_string())
            .arg(park_as)
            .args(self.settings.arguments())
            .args(["-c", listen, "-c"])
            .arg(socket_directory(&base))
            .arg("-p")
            .arg(port.unwrap_or(DEFAULT_PORT).to_string())
            .current_dir("/")
            .as_user(User::for_server())
            .output(log_for_keeper)
            .start()
            .map_err(Failure::Other)?;
        let mut was_killed = false;
        let door = wait::closely("the keeper to open its door", START_DEADLINE, || {
            if let Entry::In(door) = enter(&base) {
                return Ok(Look::Ready(door));
            }
            match keeper.try_status()? {
                None => Ok(Look::NotYet("not open yet".into())),
                Some(status) => {
                    was_killed = status.code().is_none();
                    Err(self.keeper_failed(&base, &log))
                }
            }
        })
        .map_err(|error| if was_killed { Failure::Killed(error) } else { Failure::Other(error) })?;
        let port = port.unwrap_or(DEFAULT_PORT);
        let ready = self.wait_until_ready(&base, port, &mut keeper, &log);
        // From here on the door decides how long it lives, and cleans up behind a failure as well.
        keeper.leave();
        if let Err(failure) = ready {
            drop(door);
            // Unless it is gone: then nobody else knows of this base.
            reclaim::abandon(&base);
            return Err(failure);
        }
        Ok(Attached { door, port })
    }

    fn keeper_failed(&self, base: &Path, log: &File) -> Error {
        let user = User::for_server().map(|user| format!(" as `{}`", user.name)).unwrap_or_default();
        let complaint = last_words(log).unwrap_or_else(|| "the keeper ended without a word".into());
        Error::environment(format!("failed to create `{}`{user}: {complaint}", base.display()))
            .with_help("the folder above it must be writable for that user")
    }

    pub(super) fn copy_failed(&self, base: &Path, log: &File) -> Error {
        let (Source::Copy(source) | Source::Parked(source)) = &self.source;
        let complaint = last_words(log).unwrap_or_else(|| "no reason was given".into());
        let error = format!(
            "failed to make a data directory below `{}` from `{}`: {complaint}",
            base.display(),
            source.display()
        );
        Error::environment(error).with_help(format!(
            "if there is no room, free some, or name another folder in {}",
            env::DATA_ROOTS.name
        ))
    }
}

/// The setting that has the server listen in `base`. It is a list: a name with a comma in it wants quotes.
fn socket_directory(base: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut setting = b"unix_socket_directories=\"".to_vec();
    for byte in base.as_os_str().as_bytes() {
        setting.extend(std::iter::repeat_n(byte, if *byte == b'"' { 2 } else { 1 }));
    }
    setting.push(b'"');
    std::ffi::OsString::from_vec(setting)
}

/// The port in the socket's name when there is no TCP.
const DEFAULT_PORT: u16 = 5432;

/// The last line that a keeper wrote. Reads at a place of its own: the keeper writes at the shared one.
fn last_words(log: &File) -> Option<String> {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 4096];
    let length = log.read_at(&mut bytes, 0).ok()?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// A port of the loopback interface that nobody listens on at this moment.
fn free_port() -> Option<u16> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .ok()
        .map(|address| address.port())
}

/// Eight hexadecimal digits that no other base has.
fn random_part() -> String {
    use std::hash::BuildHasher;
    let random =
        std::collections::hash_map::RandomState::new().hash_one((std::process::id(), SystemTime::now()));
    Hasher::new("base").field("random", random.to_be_bytes()).finish().short(8)
}

/// The last lines of the server's log that say something.
pub(in crate::server) fn log_tail(base: &Path, lines: usize) -> Vec<String> {
    let text = fs::read(base.join("log"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    // The very last line of a failed start says only that the system is shut down.
    let telling: Vec<&str> =
        all.iter().copied().filter(|line| !line.ends_with("database system is shut down")).collect();
    telling[telling.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Whether a name is that of a base directory of any home.
pub(super) fn is_base_name(name: &str) -> bool {
    name.starts_with(BASE)
}
