//! Reading the catalog of a live database, on which others work: nothing is written, nobody is kept waiting.

use crate::catalog::{Catalog, ReadOptions};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::script::connect;
use crate::secret::Secret;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::time::Duration;

/// How long one statement may take. All of them look at the server's own catalogs only.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one may wait for somebody's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the server may take to answer at all.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);

/// What was read of a live database.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) catalog: Catalog,
    /// Its name.
    pub(super) database: String,
    /// The server's version, as people write it: `15.18`.
    pub(super) version: String,
}

impl Live {
    /// Reads the catalog of the database at `url`, in one transaction that may only read.
    ///
    /// # Errors
    /// The URL is none, the server cannot be reached or takes too long, or the role may not read the catalogs.
    pub(super) async fn read(url: &Secret) -> Result<Live> {
        let options: PgConnectOptions =
            url.expose().parse().attempt(ErrorKind::Usage, || "`--live` is no URL of a database".into())?;
        let mut connection = open(&options.application_name("pgharness drift")).await?;
        let limits = ReadOptions::new().with_limits(STATEMENT_TIMEOUT, LOCK_TIMEOUT);
        let catalog = Catalog::read_with(&mut connection, &limits).await?;
        let sql = "select current_database()::text, split_part(current_setting('server_version'), ' ', 1)";
        let (database, version) = sqlx::query_as(sql).persistent(false).fetch_one(&mut connection).await?;
        let _ = connection.close().await;
        Ok(Live { catalog, database, version })
    }

    /// The major version.
    pub(super) fn major(&self) -> &str {
        major(&self.version)
    }
}

/// The part of a version before its first dot.
pub(super) fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// A session in which nothing can be written. Poolers refuse options at the start of a session, and may share what
/// is set in one: there the transaction alone is read only.
async fn open(options: &PgConnectOptions) -> Result<PgConnection> {
    let guarded = options.clone().options([("default_transaction_read_only", "on")]);
    match within_deadline(&guarded).await {
        Err(error) if error.report().contains("unsupported startup parameter") => {
            within_deadline(options).await
        }
        opened => opened,
    }
}

async fn within_deadline(options: &PgConnectOptions) -> Result<PgConnection> {
    tokio::time::timeout(CONNECT_DEADLINE, connect(options)).await.unwrap_or_else(|_| {
        let what = format!("the live database at `{}` did not answer", options.get_host());
        Err(Error::server(format!("{what} within {CONNECT_DEADLINE:?}"))
            .with_help("is the host right, and can it be reached from here?"))
    })
}
