//! Where a check looks: at a live database, where one is named, or else at one made of the migrations.

use super::context::Context;
use super::live;
use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::Evidence;
use crate::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};

/// What a session with a live database calls itself.
const APPLICATION: &str = "pgharness check";

/// Where a check looks.
#[derive(Debug)]
pub(super) struct Place {
    /// A session that looks around, within one transaction that may only read.
    pub(super) connection: PgConnection,
    /// Who looks.
    pub(super) role: String,
    pub(super) database: String,
    /// The server's version, as people write it: `15.18`.
    pub(super) version: String,
    pub(super) is_live: bool,
    options: PgConnectOptions,
    /// Keeps a database of our own there.
    own: Option<TestDb>,
}

impl Place {
    /// The live database, or a clone of the project's.
    ///
    /// # Errors
    /// There is no server, or the project's database cannot be built.
    pub(super) async fn of(context: &Context) -> Result<Place> {
        let (options, mut connection, own) = match &context.project().live {
            Some(url) => {
                let options = live::options(url, APPLICATION)?;
                let connection = live::open(&options).await?;
                (options, connection, None)
            }
            None => {
                let db = context.database().await?;
                (db.options(), db.connection().await?, Some(db))
            }
        };
        begin(&mut connection).await?;
        let sql = "select session_user::text, current_database()::text, \
                   split_part(current_setting('server_version'), ' ', 1)";
        let (role, database, version) =
            sqlx::query_as(sql).persistent(false).fetch_one(&mut connection).await?;
        Ok(Place { connection, role, database, version, is_live: own.is_none(), options, own })
    }

    /// What people call it.
    pub(super) fn shown(&self) -> String {
        if self.is_live {
            format!("the live database `{}`", self.database)
        } else {
            "a database made of the migrations".into()
        }
    }

    /// The server's major version.
    pub(super) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
    }

    /// The server's own programs and extensions, where it runs on this machine for us.
    pub(super) fn own(&self) -> Option<&TestDb> {
        self.own.as_ref()
    }

    /// A session of `role`, which logs in, within a transaction that may only read; `None` where that would take a
    /// password that nobody gave.
    ///
    /// # Errors
    /// It may not log in.
    pub(super) async fn session_of(
        &self,
        role: &str,
        password: Option<&Secret>,
    ) -> Result<Option<PgConnection>> {
        let options = self.options.clone().username(role);
        let mut connection = match (&self.own, password) {
            (Some(db), _) => db.connect_as(role).await?,
            (None, Some(password)) => live::open(&options.password(password.expose())).await?,
            // A failed attempt is written to the log, and may lock the role out.
            (None, None) => return Ok(None),
        };
        begin(&mut connection).await?;
        Ok(Some(connection))
    }

    /// The way there for whoever opens sessions of their own: in those of a live database nothing can be written.
    pub(super) fn guarded(&self) -> PgConnectOptions {
        if self.is_live { live::guarded(&self.options) } else { self.options.clone() }
    }

    /// The way there for whoever was asked to try what writes.
    pub(super) fn writable(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The steps that ask `sql` as this place does, without a search path, so that names come with their schemas.
    pub(super) fn asked(&self, sql: impl Into<String>, result: impl Into<String>) -> Vec<Evidence> {
        let steps = [
            ("begin".to_owned(), String::new()),
            ("set local search_path = ''".to_owned(), String::new()),
            (sql.into(), result.into()),
            ("rollback".to_owned(), String::new()),
        ];
        steps.map(|(sql, result)| Evidence::as_role(&self.role, sql, result)).into()
    }

    /// Ends the session.
    pub(super) async fn close(mut self) {
        // Nothing was written, and the server ends it in any case.
        let _ = sqlx::raw_sql("rollback").execute(&mut self.connection).await;
        let _ = self.connection.close().await;
    }
}

/// Begins a transaction that may only read, and that gives up before it keeps anybody waiting.
async fn begin(connection: &mut PgConnection) -> Result<()> {
    let sql = format!(
        "begin isolation level repeatable read, read only; set local statement_timeout = {}; \
         set local lock_timeout = {}; set local idle_in_transaction_session_timeout = '5min'; \
         set local search_path = ''",
        live::STATEMENT_TIMEOUT.as_millis(),
        live::LOCK_TIMEOUT.as_millis(),
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to begin a transaction that may only read".into())?;
    Ok(())
}
