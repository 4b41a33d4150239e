//! Reading the catalog of a live database.

use crate::catalog::{Catalog, ReadOptions};
use crate::check::live::{self, LOCK_TIMEOUT, STATEMENT_TIMEOUT};
use crate::error::Result;
use crate::secret::Secret;
use sqlx::Connection;

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
        let mut connection = live::open(&live::options(url, "pgharness drift")?).await?;
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
