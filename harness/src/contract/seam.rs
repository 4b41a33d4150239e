//! What the user's code implements so that its contracts can be shown.

use crate::runtime::{Isolation, Sqlstate};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row, ValueRef};
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the contract does inside a transaction; run again from its start when the transaction is.
pub type Work<'w> =
    dyn for<'s> Fn(&'s mut dyn Session) -> BoxFuture<'s, Result<(), Failure>> + Send + Sync + 'w;

/// How the code under test runs a transaction.
///
/// The usual implementation is one line: it hands its own transaction, as a [`Session`], to `work`.
pub trait Transactions: Sync {
    /// Runs `work` in one transaction at `isolation`, as a request handler would.
    ///
    /// The future may be dropped before it is ready, and `work` may panic.
    fn transaction<'a>(
        &'a self,
        isolation: Isolation,
        work: &'a Work<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// A session inside a transaction of the code under test.
pub trait Session: Send {
    /// Runs one statement and gives the first column of its first row, as text.
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Option<String>, Failure>>;
}

impl Session for PgConnection {
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Option<String>, Failure>> {
        Box::pin(async move {
            // The simple protocol: its values are text, whatever their type.
            let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut *self).await?;
            Ok(row.as_ref().map(first_as_text).transpose()?.flatten())
        })
    }
}

/// The first column of a row of the simple protocol.
pub(super) fn first_as_text(row: &PgRow) -> Result<Option<String>, sqlx::Error> {
    if row.is_empty() {
        return Ok(None);
    }
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(value.as_str().map_err(sqlx::Error::Decode)?.to_owned()))
}

/// Why a transaction or a statement failed, in no driver's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The SQLSTATE, if the server answered.
    pub sqlstate: Option<String>,
    /// What happened, for people.
    pub message: String,
}

impl Failure {
    /// A failure that is not the server's.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { sqlstate: None, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sqlstate {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Failure {}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure { sqlstate: error.sqlstate(), message: error.to_string() }
    }
}

impl Sqlstate for Failure {
    fn sqlstate(&self) -> Option<String> {
        self.sqlstate.clone()
    }
}

/// How the code under test turns a database error into what its client and its log get.
pub trait ErrorMap: Sync {
    /// The answer to the request whose statement failed with `error`.
    fn map(&self, error: sqlx::Error) -> Answer;
}

/// What comes out of the code under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All text that goes to the client: body and headers.
    pub body: String,
    /// What goes to logs and traces: the error's `Debug`, and its chain of sources.
    pub log: String,
}
