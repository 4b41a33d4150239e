//! The database of one test.

use super::adoption::adopt;
use super::host::Claimed;
use super::keep::Keep;
use super::scratch::Scratch;
use super::work::POOL_CONNECTIONS_MAX;
use crate::error::Result;
use crate::notice;
#[cfg(feature = "checks")]
use crate::secret::Secret;
use crate::server::{Server, connect};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// An isolated database, owned by one test. It is dropped with this handle; if the test panics it is kept
/// instead, and what opens it is printed. One with a server of its own ends with it in any case.
#[derive(Debug)]
pub struct TestDb(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    home: Home,
    name: String,
    test: String,
    keep: Keep,
    is_kept: AtomicBool,
    pool: OnceCell<PgPool>,
}

#[derive(Debug)]
enum Home {
    /// A clone on a server that others use too.
    Shared(Mutex<Claimed>, Server),
    /// A server of its own, which ends with this handle.
    Own(Server),
}

impl TestDb {
    pub(super) fn claimed(claimed: Claimed, test: &str) -> Result<TestDb> {
        let (name, server) = (claimed.name.clone(), claimed.server.clone());
        TestDb::open(Home::Shared(Mutex::new(claimed), server), name, test)
    }

    pub(super) fn on_own_server(server: Server, name: String, test: &str) -> Result<TestDb> {
        TestDb::open(Home::Own(server), name, test)
    }

    fn open(home: Home, name: String, test: &str) -> Result<TestDb> {
        Ok(TestDb(Arc::new(Inner {
            home,
            name,
            test: test.to_owned(),
            keep: Keep::from_env()?,
            is_kept: AtomicBool::new(false),
            pool: OnceCell::new(),
        })))
    }

    /// Another handle on the same database, for the macro: it holds one until the test's outcome is known.
    #[doc(hidden)]
    #[must_use]
    pub fn share(&self) -> TestDb {
        TestDb(self.0.clone())
    }

    /// The database's name on its server.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The server that it is on.
    pub fn server(&self) -> &Server {
        match &self.0.home {
            Home::Shared(_, server) => server,
            Home::Own(server) => server,
        }
    }

    /// A URL for any client, as the role that looks after the server. On an embedded server it is that of a
    /// unix socket.
    pub fn url(&self) -> String {
        self.url_as(self.server().endpoint().role())
    }

    /// A URL as `role`. On an embedded server every role may connect over the unix socket without a password.
    pub fn url_as(&self, role: &str) -> String {
        drop(self.take_open());
        self.server().endpoint().url_for(self.name(), role)
    }

    /// A URL over TCP, with a password, for clients that know no unix sockets.
    ///
    /// # Errors
    /// The server does not listen on TCP, or cannot be reached.
    pub async fn url_tcp(&self) -> Result<String> {
        drop(self.take_open());
        self.server().url_tcp(&self.0.name).await
    }

    /// Options for sqlx, as the role that looks after the server.
    pub fn options(&self) -> PgConnectOptions {
        drop(self.take_open());
        self.server().endpoint().options(&self.0.name)
    }

    /// Options for sqlx, as `role`.
    pub fn options_as(&self, role: &str) -> PgConnectOptions {
        self.options().username(role)
    }

    /// A pool; the same one at every call. It begins with the connection that was opened before the database was handed
    /// out, if there is one, and opens others when they are needed.
    ///
    /// # Errors
    /// None at present: connecting is left to the first use.
    pub async fn pool(&self) -> Result<PgPool> {
        let pool = self.0.pool.get_or_init(async || {
            let open = self.take_open();
            let (pool, options) = (TestDb::pool_options(), self.options());
            match open {
                // Without a loopback interface it does not get the open connection, and opens one as it needs it.
                Some(open) => adopt(open, pool.clone(), options.clone())
                    .await
                    .unwrap_or_else(|_| pool.connect_lazy_with(options)),
                None => pool.connect_lazy_with(options),
            }
        });
        Ok(pool.await.clone())
    }

    /// A pool whose connections are `role`'s.
    ///
    /// # Errors
    /// None at present: connecting is left to the first use.
    pub async fn pool_as(&self, role: &str) -> Result<PgPool> {
        Ok(TestDb::pool_options().connect_lazy_with(self.options_as(role)))
    }

    /// What pools of tests have, which is what `#[sqlx::test]` gives them: few connections, which are not kept when
    /// idle, since all of them share the server's.
    pub fn pool_options() -> PgPoolOptions {
        PgPoolOptions::new()
            .max_connections(POOL_CONNECTIONS_MAX)
            .acquire_timeout(Duration::from_secs(30))
            .idle_timeout(Duration::from_secs(1))
    }

    /// A connection, as the role that looks after the server. The first one may have been opened already, before the
    /// database was handed out.
    ///
    /// # Errors
    /// The server cannot be reached; if it ended, the error has its last log lines.
    pub async fn connection(&self) -> Result<PgConnection> {
        if let Some(mut open) = self.take_open()
            && open.ping().await.is_ok()
        {
            return Ok(open);
        }
        self.server().connect(&self.0.name).await
    }

    /// The connection that was opened ahead. Whoever connects in another way ends it, so that nobody but the test is
    /// in its database.
    fn take_open(&self) -> Option<PgConnection> {
        match &self.0.home {
            Home::Shared(claimed, _) => {
                claimed.lock().unwrap_or_else(PoisonError::into_inner).connection.take()
            }
            Home::Own(_) => None,
        }
    }

    /// A connection as `role`: by logging in, so that row-level security and privileges are what the
    /// application meets. `SET ROLE` would keep the superuser's way back.
    ///
    /// # Errors
    /// The role may not log in, or the server cannot be reached.
    pub async fn connect_as(&self, role: &str) -> Result<PgConnection> {
        match connect(&self.options_as(role)).await {
            Ok(connection) => Ok(connection),
            Err(error) => Err(self.server().obituary().unwrap_or(error)),
        }
    }

    /// A connection as `role`, which comes in as a service does: over TCP with a password where that can be had, and
    /// with the one that is known of it, if any.
    ///
    /// # Errors
    /// The role may not log in, or the server cannot be reached.
    #[cfg(feature = "checks")]
    pub(crate) async fn log_in(&self, role: &str, known: Option<&Secret>) -> Result<PgConnection> {
        drop(self.take_open());
        match self.server().log_in(self.name(), role, known).await {
            Ok(connection) => Ok(connection),
            Err(error) => Err(self.server().obituary().unwrap_or(error)),
        }
    }

    /// A transaction that is always rolled back: for the many cases of a property test, which a database each
    /// would be too dear for. What a rollback does not undo (sequences, advisory locks) stays.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn scratch(&self) -> Result<Scratch> {
        Scratch::begin(self.pool().await?).await
    }

    /// Keeps the database when this handle is dropped, and prints then what opens it.
    pub fn keep(&self) {
        self.0.is_kept.store(true, Ordering::Release);
    }
}

impl Inner {
    fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Acquire)
            || match self.keep {
                Keep::Always => true,
                Keep::Failed => std::thread::panicking(),
                Keep::Never => false,
            }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.is_kept() {
            return;
        }
        match &mut self.home {
            Home::Shared(claimed, server) => {
                let url = server.endpoint().url_for(&self.name, server.endpoint().role());
                let kept = claimed.get_mut().unwrap_or_else(PoisonError::into_inner).keep(&self.test);
                match kept {
                    Ok(()) => {
                        let outlives_server = server.capabilities().parked_data;
                        notice::kept(&self.name, &self.test, &url, outlives_server);
                    }
                    Err(error) => {
                        notice::warn(&format!("database `{}` could not be kept: {error}", self.name));
                    }
                }
            }
            Home::Own(_) => notice::warn(&format!(
                "the database of `{}` had a server of its own, which ends with its test and is not kept",
                self.test
            )),
        }
    }
}
