//! The handle on a running server.

use super::endpoint::tcp_url;
use super::keeper::{self, Door};
use super::{Capabilities, Endpoint, Leases, Space, connect};
use crate::digest::hex;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::{quote_ident, quote_literal};
use crate::postgres::Installation;
use crate::process::{FileLock, is_there};
use crate::wait::{self, Look};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A running Postgres that we take part in. Clones share one participation; when the last one is dropped, ours
/// ends, and a server that nobody takes part in stops.
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    capabilities: Capabilities,
    leases: Leases,
    local: Option<Local>,
}

/// A server from binaries on this machine.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) installation: Installation,
    pub(super) door: Door,
    pub(super) port: u16,
    pub(super) state_dir: PathBuf,
    pub(super) space: Space,
}

impl Server {
    pub(super) fn local(capabilities: Capabilities, leases: Leases, local: Local) -> Server {
        let endpoint = Endpoint::socket(local.door.base.clone(), local.port);
        Server(Arc::new(Inner { endpoint, capabilities, leases, local: Some(local) }))
    }

    pub(super) fn remote(endpoint: Endpoint, capabilities: Capabilities) -> Server {
        Server(Arc::new(Inner { endpoint, capabilities, leases: Leases::Sessions, local: None }))
    }

    /// Where it is reached.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    /// How owners of databases on it prove that they live.
    pub fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// The installation that it runs from, if it runs on this machine.
    pub fn installation(&self) -> Option<&Installation> {
        self.0.local.as_ref().map(|local| &local.installation)
    }

    /// The room for its databases, where the harness looks after it.
    pub fn space(&self) -> Option<&Space> {
        self.0.local.as_ref().map(|local| &local.space)
    }

    /// Connects to `database` as the role that looks after the server.
    ///
    /// # Errors
    /// The server cannot be reached; for one on this machine that ended, the error has its last log lines.
    pub async fn connect(&self, database: &str) -> Result<PgConnection> {
        self.connect_with(self.0.endpoint.options(database)).await
    }

    /// Connects to the maintenance database. On a server on this machine a commit then waits for the log to be written:
    /// what we remember of the server, places in its log above all, holds also after a crash of one of its backends. A
    /// statement is planned once there, however often it is asked.
    ///
    /// # Errors
    /// As [`connect`](Server::connect).
    pub(crate) async fn control(&self) -> Result<PgConnection> {
        let options = self.0.endpoint.options(self.0.endpoint.maintenance_database());
        self.connect_with(match self.0.local {
            Some(_) => {
                options.options([("synchronous_commit", "on"), ("plan_cache_mode", "force_generic_plan")])
            }
            None => options,
        })
        .await
    }

    async fn connect_with(&self, options: PgConnectOptions) -> Result<PgConnection> {
        match connect(&options).await {
            Ok(connection) => Ok(connection),
            Err(error) => Err(self.obituary().unwrap_or(error)),
        }
    }

    /// What is known of the death of a server on this machine; `None` while it lives.
    pub(crate) fn obituary(&self) -> Option<Error> {
        let local = self.0.local.as_ref()?;
        let base = &local.door.base;
        let status = match std::fs::read_to_string(base.join("ended")) {
            Ok(status) => format!("ended with status {}", status.trim()),
            Err(_) if !base.exists() => "is gone with its directory".to_owned(),
            Err(_) => return None,
        };
        let tail = keeper::log_tail(base, 5);
        let log = if tail.is_empty() {
            String::new()
        } else {
            format!("; last log lines:\n  {}", tail.join("\n  "))
        };
        Some(
            Error::server(format!("the server at `{}` {status}{log}", base.display()))
                .with_help("the next process that needs it starts another one"),
        )
    }

    /// The process id of the postmaster, for a server on this machine.
    pub fn postmaster_pid(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.data()?.join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// Whether a server on this machine is there, as far as that can be seen without asking it.
    pub(crate) fn seems_up(&self) -> bool {
        let pid = self.postmaster_pid().and_then(|pid| i32::try_from(pid).ok());
        self.obituary().is_none() && pid.is_some_and(is_there)
    }

    /// The directory of a server on this machine: its socket, its data, its log.
    pub fn base(&self) -> Option<&Path> {
        self.0.local.as_ref().map(|local| local.door.base.as_path())
    }

    /// The data directory of a server on this machine.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        Some(self.base()?.join("data"))
    }

    /// The folder for what is remembered about this server between runs.
    pub(crate) fn state_dir(&self) -> Option<&Path> {
        self.0.local.as_ref().map(|local| local.state_dir.as_path())
    }

    /// Tells its data from those of all other servers, over stops and starts. `None`: it is not on this machine.
    pub(crate) fn generation(&self) -> Option<String> {
        keeper::generation(self.base()?)
    }

    /// Has the data thrown away at the end: something was left on it that the next run must not find.
    pub(crate) fn spoil(&self) {
        if let Some(base) = self.base() {
            // The directory may be gone already, and the data with it.
            let _ = std::fs::write(base.join("spoiled"), "");
        }
    }

    /// Ends our part in a private server and waits until its keeper stopped it cleanly and parked its data as
    /// `data`. Blocks.
    ///
    /// # Errors
    /// Somebody else still holds a handle on it, or the data could not be parked.
    pub(super) fn stop_and_park(self, data: &Path) -> Result<()> {
        let Some(base) = self.base().map(Path::to_owned) else {
            return Err(Error::usage("only a server on this machine can be parked"));
        };
        let random = base.file_name().and_then(|name| name.to_str()?.rsplit('-').next()).unwrap_or_default();
        let moving = PathBuf::from(format!("{}.{random}.new", data.display()));
        let inner = Arc::try_unwrap(self.0)
            .map_err(|_| Error::usage(format!("the server at `{}` is still in use", base.display())))?;
        keeper::ask_to_park(&base)?;
        drop(inner);
        wait::until("a server to stop and its data to be parked", Duration::from_secs(30), || {
            // In the order in which the keeper moves it: see `park` there.
            if base.exists() || moving.exists() {
                return Ok(Look::NotYet("it stops".into()));
            }
            match data.join("PG_VERSION").exists() {
                true => Ok(Look::Ready(())),
                false => Err(Error::server(format!(
                    "the server at `{}` could not be stopped cleanly",
                    base.display()
                ))),
            }
        })
    }

    /// Starts a private server again on its data after a crash, and waits until it answers.
    ///
    /// # Errors
    /// It is no private server of this machine, or it does not come up.
    pub async fn restart(&self) -> Result<()> {
        let Some(local) = &self.0.local else {
            return Err(Error::usage("only a server on this machine can be restarted"));
        };
        keeper::request_restart(&local.door.base)?;
        wait::until_async("the server to recover", Duration::from_secs(60), async || {
            match self.connect(self.0.endpoint.maintenance_database()).await {
                Ok(connection) => {
                    let _ = connection.close().await;
                    Ok(Look::Ready(()))
                }
                Err(error) => Ok(Look::NotYet(error.to_string())),
            }
        })
        .await
    }

    /// A URL over TCP for `database`. The role gets a random password on the first request; until then TCP lets
    /// nobody in.
    ///
    /// # Errors
    /// The server does not listen on TCP, or the password cannot be set.
    pub async fn url_tcp(&self, database: &str) -> Result<String> {
        let role = self.0.endpoint.role();
        let Some(local) = &self.0.local else { return Ok(self.0.endpoint.url_for(database, role)) };
        let mut control = self.connect(self.0.endpoint.maintenance_database()).await?;
        let listens: String = sqlx::query_scalar("show listen_addresses").fetch_one(&mut control).await?;
        if listens.is_empty() {
            return Err(Error::environment(
                "the server found no free port of the loopback interface to listen on",
            ));
        }
        let kept = local.door.base.join("tcp-password");
        let lock_file = local.state_dir.join("tcp-password.lock");
        let lock = tokio::task::spawn_blocking(move || FileLock::wait(&lock_file))
            .await
            .attempt(ErrorKind::Environment, || "failed to wait for a lock".into())??;
        let password = match std::fs::read_to_string(&kept) {
            Ok(password) => password,
            Err(_) => {
                let password = random_password()?;
                let sql = format!("alter role {} password {}", quote_ident(role), quote_literal(&password));
                control.execute(AssertSqlSafe(sql)).await?;
                write_private(&kept, &password)?;
                password
            }
        };
        drop(lock);
        let _ = control.close().await;
        Ok(tcp_url("127.0.0.1", local.port, role, &password, database))
    }
}

/// 128 bits of the system's randomness.
pub(super) fn random_password() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .attempt(ErrorKind::Environment, || "failed to read `/dev/urandom`".into())?;
    Ok(hex(&bytes))
}

pub(super) fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))
}
