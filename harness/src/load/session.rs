//! A session that runs one prepared statement as its role, and keeps nothing that it does.

use crate::error::{Attempt, ErrorKind, Result};
use crate::statement::{Connect, Draw, Source};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, ConnectOptions, Either, PgConnection, Row};

/// Enough that the relation cache is warm: the first look at an index in a session also reads its meta page.
pub(super) const WARM_UP: usize = 5;

pub(super) struct Session {
    connection: PgConnection,
}

impl Session {
    /// Connects as the statement's role and prepares it.
    pub(super) async fn open(source: &Source, connect: &dyn Connect) -> Result<Self> {
        let statement = source.statement();
        let role = statement.role.as_deref();
        let connection = connect.as_role(role).connect().await.attempt(ErrorKind::Database, || {
            format!("failed to connect as `{}` for `{}`", role.unwrap_or("the owner"), statement.name)
        })?;
        let mut session = Session { connection };
        session.run(&source.prepare_sql()).await.attempt(ErrorKind::Database, || {
            format!("{}:{}: failed to prepare `{}`", statement.file.display(), statement.line, statement.name)
        })?;
        Ok(session)
    }

    /// Runs a message and gives the number of its rows.
    pub(super) async fn run(&mut self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut answers = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.connection);
        let mut rows = 0;
        while let Some(answer) = answers.try_next().await? {
            rows += u64::from(matches!(answer, Either::Right(_)));
        }
        Ok(rows)
    }

    /// Begins a transaction with the header's settings, in one message.
    pub(super) async fn begin(
        &mut self,
        begin: &str,
        source: &Source,
        draw: &Draw,
    ) -> Result<(), sqlx::Error> {
        let settings = source.settings_sql(draw).unwrap_or_default();
        self.run(&format!("{begin}; {settings}")).await.map(drop)
    }

    /// What the server explains, as it writes it; verbose, for the names of schemas.
    pub(super) async fn explain(&mut self, sql: &str) -> Result<String, sqlx::Error> {
        let sql = format!("explain (analyze, buffers, verbose, format json) {sql}");
        sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await?.try_get_unchecked(0)
    }
}

/// Names the statement in an error of running it.
pub(super) trait Running<T> {
    fn running(self, source: &Source) -> Result<T>;
}

impl<T> Running<T> for Result<T, sqlx::Error> {
    fn running(self, source: &Source) -> Result<T> {
        let statement = source.statement();
        self.attempt(ErrorKind::Database, || {
            let role = statement.role.as_deref().unwrap_or("the owner");
            let (file, line) = (statement.file.display(), statement.line);
            format!("{file}:{line}: failed to run `{}` as `{role}`", statement.name)
        })
    }
}
