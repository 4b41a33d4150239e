//! The contract with the environment: what a service needs to know to reach its database, and what it
//! never leaves to chance.

use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgConnection, PgPool};
use std::fmt;
use std::time::Duration;

/// Gives a session back as it was at its start. Without DEALLOCATE, which `DISCARD ALL` holds: the driver
/// caches its prepared statements. What the connection itself asked for (`statement_timeout`, …) is the
/// session's default and survives RESET.
const CLEAN_UP: &str = "close all; set session authorization default; reset all; unlisten *; \
                        select pg_advisory_unlock_all(); discard temp; discard sequences";

/// Whether a transaction was begun by an earlier message; asked by the simple protocol, where one message is
/// one transaction otherwise. In an aborted one the question itself fails.
const IN_TRANSACTION: &str = "select transaction_timestamp() <> statement_timestamp()";

/// How a service reaches its database. Every wait has a bound, and the server knows who is calling.
#[derive(Clone)]
pub struct PoolSettings {
    options: PgConnectOptions,
    application_name: String,
    max: u32,
    acquire_timeout: Duration,
    statement_timeout: Duration,
}

impl PoolSettings {
    /// Reads a `postgres://` URL.
    ///
    /// # Errors
    /// It is no such URL. The error does not repeat it, since it may hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        let options = url
            .parse::<PgConnectOptions>()
            // The parser's own error may quote a part of the URL.
            .map_err(|_| Error::usage("failed to read the database URL"))
            .map_err(|error| error.with_help("its form is `postgres://user:password@host:port/database`"))?;
        Ok(PoolSettings::new(options))
    }

    /// Reads the environment: `DATABASE_URL` and the variables that start with `DATABASE_POOL_`.
    ///
    /// # Errors
    /// `DATABASE_URL` is not set or is no URL, or a number is none.
    pub fn from_env() -> Result<Self> {
        let url = env::DATABASE_URL.text().ok_or_else(|| {
            Error::usage(format!("`{}` is not set", env::DATABASE_URL.name))
                .with_help(env::DATABASE_URL.meaning)
        })?;
        let mut settings = PoolSettings::from_url(&url)?;
        if let Some(max) = env::DATABASE_POOL_MAX.number()? {
            settings = settings.with_max(u32::try_from(max).unwrap_or(u32::MAX));
        }
        if let Some(ms) = env::DATABASE_POOL_ACQUIRE_TIMEOUT_MS.number()? {
            settings = settings.with_acquire_timeout(Duration::from_millis(ms));
        }
        if let Some(ms) = env::DATABASE_POOL_STATEMENT_TIMEOUT_MS.number()? {
            settings = settings.with_statement_timeout(Duration::from_millis(ms));
        }
        if let Some(name) = env::DATABASE_POOL_APPLICATION_NAME.text() {
            settings = settings.with_application_name(&name);
        }
        Ok(settings)
    }

    /// The defaults on top of `options`.
    pub fn new(options: PgConnectOptions) -> Self {
        let application_name = options.get_application_name().unwrap_or("pgharness").to_owned();
        PoolSettings {
            options,
            application_name,
            max: 10,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }

    /// At most this many connections.
    #[must_use]
    pub fn with_max(mut self, max: u32) -> Self {
        self.max = max;
        self
    }

    /// How long a borrower waits for a free connection.
    #[must_use]
    pub fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// How long the server lets a statement run. It also bounds what a client that went away leaves
    /// running, since the driver cancels nothing when a future is dropped.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// What `pg_stat_activity` shows.
    #[must_use]
    pub fn with_application_name(mut self, name: &str) -> Self {
        self.application_name = name.to_owned();
        self
    }

    /// Opens the pool and its first connection.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the role.
    pub async fn connect(self) -> Result<PgPool> {
        let statement_ms = self.statement_timeout.as_millis();
        let options = self.options.application_name(&self.application_name).options([
            ("statement_timeout", statement_ms),
            // Between two statements of one transaction a service only thinks: the same bound is plenty.
            ("idle_in_transaction_session_timeout", statement_ms),
        ]);
        PgPoolOptions::new()
            .max_connections(self.max)
            .acquire_timeout(self.acquire_timeout)
            .after_release(|connection, _| Box::pin(keep(connection)))
            .connect_with(options)
            .await
            .attempt(ErrorKind::Database, || {
                format!("failed to open the connection pool of `{}`", self.application_name)
            })
    }
}

/// Whether the pool may hand this connection to the next borrower. One with an open transaction is closed:
/// whoever forgot it also forgot whether to commit.
async fn keep(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let row = connection.fetch_one(IN_TRANSACTION).await?;
    if sqlx::Row::try_get::<bool, _>(&row, 0)? {
        return Ok(false);
    }
    connection.execute(CLEAN_UP).await?;
    Ok(true)
}

/// Without the connection's options, whose own `Debug` shows the password (sqlx 0.9.0).
impl fmt::Debug for PoolSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSettings")
            .field("host", &self.options.get_host())
            .field("database", &self.options.get_database())
            .field("application_name", &self.application_name)
            .field("max", &self.max)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let settings = PoolSettings::from_url("postgres://app:hunter2@db.internal/app").unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("db.internal") && !shown.contains("hunter2"), "{shown}");
        let error = PoolSettings::from_url("postgres://app:hunter2@host:no-port/app").unwrap_err();
        assert!(!error.report().contains("hunter2"), "{error:?}");
    }
}
