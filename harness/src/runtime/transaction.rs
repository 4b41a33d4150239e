//! One closure, one transaction: committed, rolled back, or tried again as a whole.

use super::sqlstate::{self, Retry};
use crate::error::Error;
use crate::wait;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

/// The pause before the first retry is at most this long; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// An isolation level. Postgres treats READ UNCOMMITTED as READ COMMITTED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    #[default]
    ReadCommitted,
    /// The whole transaction sees one snapshot.
    RepeatableRead,
    /// As if transactions ran one after the other.
    Serializable,
}

/// As SQL, and as `SHOW transaction_isolation` answers.
impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        })
    }
}

/// How a transaction is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionOptions {
    /// The isolation level, always said: a role's or a database's default does not decide.
    pub isolation: Isolation,
    /// Whether the server refuses writes.
    pub read_only: bool,
    /// How many times more the closure is run when the server asks for it (40001, 40P01).
    pub retries: u32,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        TransactionOptions { isolation: Isolation::default(), read_only: false, retries: 8 }
    }
}

impl TransactionOptions {
    /// Serializable, with the retries that it needs.
    pub fn serializable() -> Self {
        TransactionOptions { isolation: Isolation::Serializable, ..Self::default() }
    }

    fn begin(&self) -> String {
        let access = if self.read_only { " read only" } else { "" };
        format!("begin isolation level {}{access}", self.isolation)
    }
}

/// An error that may carry the server's SQLSTATE, however deep.
pub trait Sqlstate {
    /// The SQLSTATE, if the server's answer is the cause.
    fn sqlstate(&self) -> Option<String>;
}

impl Sqlstate for sqlx::Error {
    fn sqlstate(&self) -> Option<String> {
        self.as_database_error()?.code().map(|code| code.into_owned())
    }
}

impl Sqlstate for Error {
    fn sqlstate(&self) -> Option<String> {
        Error::sqlstate(self)
    }
}

impl Sqlstate for super::DataError {
    fn sqlstate(&self) -> Option<String> {
        self.code.clone()
    }
}

/// Runs `work` in one transaction: commits when it returns `Ok`, rolls back when it returns an error.
///
/// When the server asks for the transaction to be run again (40001, 40P01, at COMMIT too), all of `work` is
/// run again in a new one, after a jittered pause, at most `options.retries` times. So `work` must have no
/// effect outside the database. `work` may open savepoints with `connection.begin()`.
///
/// If the future is dropped, or `work` panics, the connection is closed: no other borrower ever meets the
/// transaction. (sqlx 0.9.0 forgets a `BEGIN` whose future was dropped before the answer came.) A statement
/// that still runs then ends by the server's `statement_timeout`.
///
/// # Errors
/// What `work` returned; or that no connection could be had, the transaction could not be begun or could
/// not be committed. A transaction in which a statement failed cannot be committed, even if `work` returned
/// `Ok`: that is an error (25P02), although the server itself answers such a COMMIT with a friendly
/// `ROLLBACK`. If the connection breaks during COMMIT, whether it happened is unknown.
pub async fn with_transaction<T, E>(
    pool: &PgPool,
    options: TransactionOptions,
    mut work: impl AsyncFnMut(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E>
where
    E: From<sqlx::Error> + Sqlstate,
{
    let begin = options.begin();
    let mut retried = 0;
    loop {
        // The connection is back in the pool before the pause.
        let outcome = Borrowed::new(pool.acquire().await?).run(&begin, &mut work).await;
        match outcome {
            Err(error) if retried < options.retries && asks_for_retry(&error) => {
                wait::pass(pause(retried)).await;
                retried += 1;
            }
            outcome => return outcome,
        }
    }
}

fn asks_for_retry(error: &impl Sqlstate) -> bool {
    error.sqlstate().is_some_and(|code| sqlstate::retry(&code) == Retry::Transaction)
}

/// Anything from nothing to the whole: with a fixed pause, those who met once meet again.
fn pause(retried: u32) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << retried.min(16)).min(PAUSE_MAX);
    // A fresh hasher's keys are random, and this needs no more than that.
    let random = RandomState::new().hash_one(retried) as u32;
    longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A borrowed connection that goes back to the pool only when its transaction has provably ended.
struct Borrowed {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Borrowed {
    fn new(connection: PoolConnection<Postgres>) -> Self {
        // True until BEGIN is on its way.
        Borrowed { connection, ended: true }
    }

    async fn run<T, E: From<sqlx::Error>>(
        mut self,
        begin: &str,
        work: &mut impl AsyncFnMut(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.ended = false;
        // The driver's own transaction, not a bare BEGIN, so that `begin` inside `work` is a savepoint.
        let mut transaction = self.connection.begin_with(AssertSqlSafe(begin.to_owned())).await?;
        let value = match work(&mut transaction).await {
            Ok(value) => value,
            Err(error) => {
                self.ended = transaction.rollback().await.is_ok();
                return Err(error);
            }
        };
        // COMMIT of an aborted transaction is answered with `ROLLBACK`, and the driver drops the answer's
        // tag. Any statement fails in an aborted transaction, so the smallest one is asked first.
        if let Err(error) = transaction.execute("select").await {
            self.ended = transaction.rollback().await.is_ok();
            return Err(error.into());
        }
        match transaction.commit().await {
            Ok(()) => {
                self.ended = true;
                Ok(value)
            }
            Err(error) => {
                // An answer to COMMIT, be it no, ends the transaction. Silence does not.
                self.ended = is_answer(&error);
                Err(error.into())
            }
        }
    }
}

/// Whether the session lives on after this error.
fn is_answer(error: &sqlx::Error) -> bool {
    let answer = error.as_database_error().and_then(|answer| answer.try_downcast_ref::<PgDatabaseError>());
    answer.is_some_and(|answer| answer.severity() == PgSeverity::Error)
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_bounded() {
        for retried in [0, 1, 5, 40, u32::MAX] {
            assert!(pause(retried) <= PAUSE_MAX);
        }
        assert!(pause(0) <= PAUSE_FIRST);
    }

    #[test]
    fn the_level_is_always_said() {
        assert_eq!(TransactionOptions::default().begin(), "begin isolation level read committed");
        let reading = TransactionOptions { read_only: true, ..TransactionOptions::serializable() };
        assert_eq!(reading.begin(), "begin isolation level serializable read only");
    }
}
