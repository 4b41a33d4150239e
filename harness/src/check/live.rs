//! Sessions of a live database, on which others work: nothing is written, nobody is kept waiting.

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::script::connect;
use crate::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::time::Duration;

/// How long one statement may take. All of them look at the server's own catalogs only.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one may wait for somebody's lock.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the server may take to answer at all.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);

/// The way to the database at `url`, in the name of `application`.
///
/// # Errors
/// The URL is none.
pub(super) fn options(url: &Secret, application: &str) -> Result<PgConnectOptions> {
    let options: PgConnectOptions =
        url.expose().parse().attempt(ErrorKind::Usage, || "`--live` is no URL of a database".into())?;
    Ok(options.application_name(application))
}

/// The same for sessions in which nothing can be written.
pub(super) fn guarded(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options([("default_transaction_read_only", "on")])
}

/// A session in which nothing can be written. Poolers refuse options at the start of a session, and may share what
/// is set in one: there the transaction alone is read only.
///
/// # Errors
/// The server cannot be reached, or does not answer.
pub(super) async fn open(options: &PgConnectOptions) -> Result<PgConnection> {
    match within_deadline(&guarded(options)).await {
        Err(error) if error.report().contains("unsupported startup parameter") => {
            within_deadline(options).await
        }
        opened => opened,
    }
}

/// A session as it comes.
///
/// # Errors
/// As [`open`].
pub(super) async fn within_deadline(options: &PgConnectOptions) -> Result<PgConnection> {
    tokio::time::timeout(CONNECT_DEADLINE, connect(options)).await.unwrap_or_else(|_| {
        let what = format!("the live database at `{}` did not answer", options.get_host());
        Err(Error::server(format!("{what} within {CONNECT_DEADLINE:?}"))
            .with_help("is the host right, and can it be reached from here?"))
    })
}
