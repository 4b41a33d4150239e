//! How a client, an invariant or a reset reaches the database.

use super::Failure;
use crate::error::Result;
use crate::script::{connect, database_url};
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool};

/// The way to the database that is explored: a client's leads through its own proxy, that of an invariant or a reset
/// directly to the server.
#[derive(Clone, Debug)]
pub struct Access {
    options: PgConnectOptions,
}

impl Access {
    pub(super) fn new(options: PgConnectOptions) -> Access {
        Access { options }
    }

    /// Options for sqlx, as the role that looks after the server.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Options for sqlx, as `role`, which needs no password here.
    pub fn options_as(&self, role: &str) -> PgConnectOptions {
        self.options().username(role)
    }

    /// A URL for any client.
    pub fn url(&self) -> String {
        database_url(&self.options)
    }

    /// A connection.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn connection(&self) -> Result<PgConnection> {
        connect(&self.options).await
    }

    /// A pool of its own, as a service has one.
    pub fn pool(&self) -> PgPool {
        crate::TestDb::pool_options().connect_lazy_with(self.options())
    }
}

/// For invariants: fails with `message` unless `holds`.
///
/// # Errors
/// It does not hold.
pub fn ensure(holds: bool, message: impl Into<String>) -> std::result::Result<(), Failure> {
    if holds { Ok(()) } else { Err(message.into().into()) }
}
