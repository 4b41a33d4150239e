//! Where contracts are shown: a schema of their own, and side sessions that look on.

use super::seam::{Failure, Session, first_as_text};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::wait::{self, Look};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::time::Duration;

/// The schema that holds whatever a contract creates.
pub(super) const SCHEMA: &str = "pgharness_contract";

/// The comment by which a schema left behind by a killed run is known as ours.
const MARK: &str = "made by a pgharness contract; dropped when it ends";

/// Any number, the same for all: one contract at a time on one database.
const LOCK: i64 = 0x7067_6863_6f6e_7472;

/// The other sessions of this database that are inside a transaction. Of an aborted one the server shows no
/// start, only the state.
pub(super) const INSIDE: &str = "from pg_stat_activity where datname = current_database() \
                                 and pid <> pg_backend_pid() and backend_type = 'client backend' \
                                 and (xact_start is not null or state like 'idle in transaction%')";

/// How long a session may stay inside its transaction after its borrower let go: a rollback is on its way, or
/// it never comes.
const LEAVING: Duration = Duration::from_secs(2);

/// How long an observable state may take to come.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

pub(super) struct Stage {
    options: PgConnectOptions,
    /// Holds the lock, and looks on from outside.
    control: PgConnection,
    pub(super) role: String,
    /// The server's major version.
    pub(super) major: u32,
}

impl Stage {
    pub(super) async fn set_up(options: &PgConnectOptions) -> Result<Self> {
        let mut control = connect(options).await?;
        let what = || format!("failed to prepare the schema `{SCHEMA}`");
        let mut ask = async |sql: &str| control.run(sql).await.attempt(ErrorKind::Database, what);
        ask(&format!("select pg_advisory_lock({LOCK})")).await?;
        let major = ask("select current_setting('server_version_num')::int / 10000").await?;
        let role = ask("select current_user").await?.unwrap_or_default();
        let found = ask(&format!(
            "select coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace \
             where nspname = '{SCHEMA}'"
        ))
        .await?;
        match found.as_deref() {
            None => (),
            Some(MARK) => drop(ask(&format!("drop schema {SCHEMA} cascade")).await?),
            Some(_) => {
                return Err(Error::usage(format!("the schema `{SCHEMA}` exists and is not ours"))
                    .with_help("give the contract a database of its own"));
            }
        }
        for sql in [
            format!("create schema {SCHEMA}"),
            format!("comment on schema {SCHEMA} is '{MARK}'"),
            // The code under test may connect as any role.
            format!("grant usage on schema {SCHEMA} to public"),
        ] {
            ask(&sql).await?;
        }
        let major = major.and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok(Stage { options: options.clone(), control, role, major })
    }

    pub(super) async fn tear_down(mut self) -> Result<()> {
        self.ask(&format!("drop schema {SCHEMA} cascade")).await?;
        self.control.close().await.attempt(ErrorKind::Database, || "failed to close a session".into())
    }

    /// A fresh session.
    pub(super) async fn session(&self) -> Result<PgConnection> {
        connect(&self.options).await
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Runs a statement from outside; gives the first column of the first row.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Option<String>> {
        self.control
            .run(sql)
            .await
            .attempt(ErrorKind::Database, || format!("failed to run `{sql}` beside the contract"))
    }

    /// What a session opened just now sees.
    pub(super) async fn ask_freshly(&self, sql: &str) -> Result<Option<String>> {
        let mut session = self.session().await?;
        let seen =
            session.run(sql).await.attempt(ErrorKind::Database, || format!("failed to run `{sql}`"))?;
        session.close().await.attempt(ErrorKind::Database, || "failed to close a session".into())?;
        Ok(seen)
    }

    /// Waits until no other session of this database is inside a transaction. `Some` says what is left.
    pub(super) async fn leftovers(&mut self) -> Result<Option<String>> {
        let look = format!("select string_agg(format('pid %s %s', pid, state), ', ') {INSIDE}");
        let mut left = None;
        let waited = wait::until_async("sessions to leave their transactions", LEAVING, async || {
            // An error of the look must not pass for a leftover.
            left = None;
            left = self.ask(&look).await?;
            Ok(match &left {
                None => Look::Ready(()),
                Some(left) => Look::NotYet(left.clone()),
            })
        })
        .await;
        // Only the deadline leaves something: any other error is the look's own.
        match (waited, left) {
            (Err(_), Some(left)) => Ok(Some(left)),
            (waited, _) => waited.map(|()| None),
        }
    }
}

/// Opens a session whose prepared statements do not matter.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    PgConnection::connect_with(options).await.attempt(ErrorKind::Database, || {
        format!(
            "failed to connect to `{}` as `{}`",
            options.get_database().unwrap_or_default(),
            options.get_username()
        )
    })
}

/// Runs several statements in one go and gives the driver's own error, for the error contract.
pub(super) async fn run_raw(session: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(session).await.map(drop)
}

/// The backend's process id.
pub(super) async fn pid(session: &mut PgConnection) -> Result<i32, Failure> {
    let row = sqlx::raw_sql("select pg_backend_pid()").fetch_one(session).await?;
    let text = first_as_text(&row)?.unwrap_or_default();
    text.parse().map_err(|_| Failure::new(format!("`{text}` is no process id")))
}
