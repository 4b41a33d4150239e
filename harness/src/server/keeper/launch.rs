//! Starting a keeper with its server, and waiting until the server answers.

use super::base::{BASE, Door, Entry, Home, enter};
use crate::digest::Hasher;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::{Installation, Settings};
use crate::process::{Program, User};
use crate::server::Endpoint;
use crate::wait::{self, Look};
use sqlx::{ConnectOptions, Connection};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const SCRIPT: &str = include_str!("keeper.sh");
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What a data directory is made from.
#[derive(Clone, Debug)]
pub(in crate::server) enum Source {
    /// A copy of this data directory.
    Copy(PathBuf),
    /// The data directory in this parked base, which is used up.
    Parked(PathBuf),
}

/// What becomes of the data after a clean stop.
#[derive(Clone, Debug)]
pub(in crate::server) enum Park {
    /// It is removed.
    Never,
    /// The base is renamed to this name plus its own random part, unless it is larger than that.
    As { prefix: PathBuf, mib_max: u64 },
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
enum Failure {
    /// The port was taken between our look and the server's bind.
    PortTaken,
    Other(Error),
}

impl Launch<'_> {
    /// Starts the server and waits until it answers. Blocks; not to be called within a runtime.
    ///
    /// # Errors
    /// The server does not start; the error has its last log line, and the log is kept.
    pub(in crate::server) fn start(mut self) -> Result<Attached> {
        // A free port can be gone a moment later, so a second and a third try are fair; without TCP the server
        // is still good for everything but `url_tcp`.
        for port in [free_port(), free_port(), None] {
            match self.attempt(port) {
                Ok(launched) => return Ok(launched),
                Err(Failure::PortTaken) => self.source = self.source_again()?,
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Err(Error::server("failed to start a server on any port"))
    }

    /// A parked directory went with the failed attempt.
    fn source_again(&self) -> Result<Source> {
        match &self.source {
            Source::Copy(path) => Ok(Source::Copy(path.clone())),
            Source::Parked(_) => {
                let cache = crate::postgres::Cache::open()?;
                let prepared = crate::postgres::DataDir::prepared(self.installation, &cache)?;
                Ok(Source::Copy(prepared.path().to_owned()))
            }
        }
    }

    fn attempt(&self, port: Option<u16>) -> Result<Attached, Failure> {
        let base = self.root.join(format!("{}{}", self.home.base_prefix(), random_part()));
        let keeper_log = self.home.state_dir.join("keeper.log");
        let log = File::create(&keeper_log)
            .attempt(ErrorKind::Environment, || format!("failed to create `{}`", keeper_log.display()))
            .map_err(Failure::Other)?;
        let (source, take) = match &self.source {
            Source::Copy(path) => (path, "copy"),
            Source::Parked(path) => (path, "move"),
        };
        let (park, park_kib_max) = match &self.park {
            Park::Never => (PathBuf::from("-"), 0),
            Park::As { prefix, mib_max } => (prefix.clone(), mib_max << 10),
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
            .arg(park_kib_max.to_string())
            .args(self.settings.arguments())
            .args(["-c", listen, "-p"])
            .arg(port.unwrap_or(DEFAULT_PORT).to_string())
            .current_dir("/")
            .as_user(User::for_server())
            .output(log)
            .start()
            .map_err(Failure::Other)?;
        let door = wait::until("the keeper to open its door", START_DEADLINE, || {
            if let Entry::In(door) = enter(&base) {
                return Ok(Look::Ready(door));
            }
            match keeper.try_status()? {
                None => Ok(Look::NotYet("not open yet".into())),
                Some(_) => Err(self.keeper_failed(&base, &keeper_log)),
            }
        })
        .map_err(Failure::Other)?;
        // From here on the door decides how long it lives.
        keeper.leave();
        let port = port.unwrap_or(DEFAULT_PORT);
        self.wait_until_ready(&base, port)?;
        Ok(Attached { door, port })
    }

    fn wait_until_ready(&self, base: &Path, port: u16) -> Result<(), Failure> {
        let started = std::time::Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .attempt(ErrorKind::Environment, || "failed to make a runtime".into())
            .map_err(Failure::Other)?;
        let endpoint = Endpoint::socket(base.to_owned(), port);
        let options = endpoint.options(endpoint.maintenance_database());
        let mut ended = None;
        let ready = wait::until("the server to answer", START_DEADLINE, || {
            match runtime.block_on(async { options.connect().await?.close().await }) {
                Ok(()) => Ok(Look::Ready(())),
                Err(error) => {
                    ended = fs::read_to_string(base.join("ended")).ok();
                    match &ended {
                        Some(status) => Err(self.server_failed(base, status.trim(), started.elapsed())),
                        None => Ok(Look::NotYet(error.to_string())),
                    }
                }
            }
        });
        ready.map_err(|error| {
            let port_taken = ended.is_some()
                && fs::read_to_string(base.join("log"))
                    .is_ok_and(|log| log.contains("could not create any TCP/IP sockets"));
            if port_taken { Failure::PortTaken } else { Failure::Other(error) }
        })
    }

    fn keeper_failed(&self, base: &Path, keeper_log: &Path) -> Error {
        let complaint = fs::read_to_string(keeper_log).unwrap_or_default();
        let user = User::for_server().map(|user| format!(" as `{}`", user.name)).unwrap_or_default();
        Error::environment(format!(
            "failed to create `{}`{user}: {}",
            base.display(),
            complaint.lines().last().unwrap_or("the keeper ended without a word")
        ))
        .with_help("the folder above it must be writable for that user")
    }

    fn server_failed(&self, base: &Path, status: &str, after: Duration) -> Error {
        let kept = self.home.state_dir.join("server.log");
        let tail = log_tail(base, 1);
        let kept = match fs::copy(base.join("log"), &kept) {
            Ok(_) => format!("; log kept at `{}`", kept.display()),
            Err(_) => String::new(),
        };
        if status == "copy" {
            let error = Error::environment(format!(
                "failed to copy a data directory to `{}`: {}{kept}",
                base.display(),
                tail.join("")
            ));
            return error.with_help("is the disk full?");
        }
        Error::server(format!(
            "failed to start `{}`: exited with status {status} within {after:.0?}; last log line: `{}`{kept}",
            self.installation.program("postgres").display(),
            tail.join("")
        ))
    }
}

/// The port in the socket's name when there is no TCP.
const DEFAULT_PORT: u16 = 5432;

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
