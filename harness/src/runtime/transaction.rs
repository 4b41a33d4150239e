//! One closure, one transaction: committed, rolled back, or tried again as a whole.

use super::sqlstate::{self, Retry};
use crate::error::Error;
use crate::wait;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, SqlSafeStr, Transaction};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

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

/// A transaction lent to the closure of [`with_transaction`]: a connection that can neither be committed nor
/// kept. `begin` on it makes a savepoint.
#[derive(Debug)]
pub struct Tx(OwnedMutexGuard<Transaction<'static, Postgres>>);

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// Runs `work` in one transaction: commits when it returns `Ok`, rolls back when it returns an error.
///
/// When the server asks for the transaction to be run again (40001, 40P01, at COMMIT too), all of `work` is
/// run again in a new one, after a jittered pause, at most `options.retries` times. So `work` must have no
/// effect outside the database.
///
/// If the future is dropped, or `work` panics, the transaction is rolled back before the connection has its
/// next borrower. A statement that still runs then ends by the server's `statement_timeout`.
///
/// `work` takes its transaction by value: a closure that borrows it would make a future that cannot be
/// spawned (the `Send` of an `AsyncFnMut`'s future cannot be asked for in Rust 1.95).
///
/// # Errors
/// What `work` returned; or that no connection could be had, the transaction could not be begun or could
/// not be committed. A transaction in which a statement failed cannot be committed, even if `work` returned
/// `Ok`: that is an error (25P02), although the server itself answers such a COMMIT with a friendly
/// `ROLLBACK`. If the connection breaks during COMMIT, whether it happened is unknown.
///
/// # Examples
/// ```no_run
/// use pgharness::runtime::{TransactionOptions, with_transaction};
///
/// # async fn example(pool: sqlx::PgPool, id: i64) -> Result<(), sqlx::Error> {
/// let left: i64 = with_transaction(&pool, TransactionOptions::serializable(), async |mut tx| {
///     sqlx::query("update account set balance = balance - 1 where id = $1").bind(id).execute(&mut *tx).await?;
///     sqlx::query_scalar("select balance from account where id = $1").bind(id).fetch_one(&mut *tx).await
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub async fn with_transaction<T, E, F>(
    pool: &PgPool,
    options: TransactionOptions,
    mut work: impl FnMut(Tx) -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: From<sqlx::Error> + Sqlstate,
{
    let begin = options.begin();
    let mut retried = 0;
    loop {
        match attempt(pool, &begin, &mut work).await {
            Err(error) if retried < options.retries && asks_for_retry(&error) => {
                // The connection is back in the pool meanwhile.
                wait::pass(pause(retried)).await;
                retried += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn attempt<T, E, F>(pool: &PgPool, begin: &str, work: &mut impl FnMut(Tx) -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: From<sqlx::Error>,
{
    let transaction = Arc::new(Mutex::new(begun(pool, begin).await?));
    let lent = Tx(transaction.clone().lock_owned().await);
    let outcome = work(lent).await;
    let Some(mut transaction) = Arc::into_inner(transaction).map(Mutex::into_inner) else {
        // It is rolled back when whoever has it lets go.
        return Err(sqlx::Error::Protocol("the closure of a transaction kept it".into()).into());
    };
    match outcome {
        Ok(value) => {
            // COMMIT of an aborted transaction is answered with `ROLLBACK`, and the driver drops the
            // answer's tag. Any statement fails in an aborted transaction, so the smallest is asked first.
            transaction.execute("select").await?;
            transaction.commit().await?;
            Ok(value)
        }
        Err(error) => {
            // Dropped, it would be rolled back too, but only after we have said so.
            drop(transaction.rollback().await);
            Err(error)
        }
    }
}

/// BEGIN runs in a task of its own, which nobody cancels. When a future is dropped between BEGIN and its
/// answer, sqlx 0.9.0 forgets that there is a transaction, and the next borrower of the connection is in it.
/// A whole transaction that is dropped is rolled back.
async fn begun(pool: &PgPool, begin: &str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // Outside the task: a borrower who gives up leaves the queue.
    let connection = pool.acquire().await?;
    let begin = AssertSqlSafe(begin.to_owned()).into_sql_str();
    tokio::spawn(Transaction::begin(connection, Some(begin))).await.map_err(|_| sqlx::Error::WorkerCrashed)?
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
