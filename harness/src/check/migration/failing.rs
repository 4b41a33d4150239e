//! A migrator that fails halfway, and what it leaves behind in the locks of its server.

use crate::check::migrator::Migrator;
use crate::database::TestDb;
use crate::error::{Error, Result};
use crate::wait::Patience;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::time::Duration;

/// The change of the schema at which a run fails: the first is mostly the tool's own.
const AT: i64 = 2;

/// How long locks of sessions that have ended may be seen.
const LEAVING: Duration = Duration::from_secs(5);

/// How a run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A statement is refused.
    Statement,
    /// The server ends the session.
    Session,
}

/// What came of a run that failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// It did, as it was meant to, and left these advisory locks, a line each.
    AsMeant(Vec<String>),
    /// It never came so far, for this reason.
    Earlier(Error),
    /// It went through: it has too few changes of the schema.
    Not,
}

/// What came of another run.
#[derive(Debug)]
pub(super) enum Second {
    /// It went through, and left these advisory locks, a line each.
    Through(Vec<String>),
    Fails(Error),
    /// It was given up on.
    Waits(Duration),
}

impl Failure {
    /// As a step of a transcript.
    pub(super) fn told(self) -> &'static str {
        match self {
            Failure::Statement => "a statement is refused",
            Failure::Session => "the server ends its session",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Failure::Statement => "raise exception 'refused, to see what becomes of the lock'",
            Failure::Session => "perform pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())",
        }
    }
}

/// Has `migrator` apply what is pending where `options` lead, in `db`, and fail in the middle of it.
///
/// # Errors
/// The server is lost.
pub(super) async fn fail(
    migrator: &Migrator,
    db: &TestDb,
    options: &PgConnectOptions,
    failure: Failure,
) -> Result<Failed> {
    let mut witness = db.connection().await?;
    // A sequence counts on whatever is rolled back.
    let trap = format!(
        "create schema pgharness_trap;
         create sequence pgharness_trap.seen;
         create function pgharness_trap.spring() returns event_trigger language plpgsql security definer as $trap$
         begin
             if pg_catalog.nextval('pgharness_trap.seen') = {AT} then
                 {};
             end if;
         end $trap$;
         create event trigger pgharness_trap on ddl_command_start execute function pgharness_trap.spring();",
        failure.sql()
    );
    witness.execute(AssertSqlSafe(trap)).await?;
    let outcome = migrator.apply_by(options, db).await;
    let seen: i64 =
        sqlx::query_scalar("select last_value from pgharness_trap.seen").fetch_one(&mut witness).await?;
    // With it goes the event trigger.
    witness.execute("set client_min_messages = error; drop schema pgharness_trap cascade").await?;
    let failed = match outcome {
        Ok(_) => Failed::Not,
        Err(_) if seen >= AT => Failed::AsMeant(advisory_locks(&mut witness).await?),
        Err(error) => Failed::Earlier(error),
    };
    let _ = witness.close().await;
    Ok(failed)
}

/// Has `migrator` apply what is pending where `options` lead, in `db`, for so long.
///
/// # Errors
/// The server is lost.
pub(super) async fn again(
    migrator: &Migrator,
    db: &TestDb,
    options: &PgConnectOptions,
    deadline: Duration,
) -> Result<Second> {
    let Ok(outcome) = tokio::time::timeout(deadline, migrator.apply_by(options, db)).await else {
        return Ok(Second::Waits(deadline));
    };
    if let Err(error) = outcome {
        return Ok(Second::Fails(error));
    }
    let mut witness = db.connection().await?;
    let left = advisory_locks(&mut witness).await?;
    let _ = witness.close().await;
    Ok(Second::Through(left))
}

/// The advisory locks of this database that stay, and who holds them.
async fn advisory_locks(witness: &mut PgConnection) -> Result<Vec<String>> {
    let patience = Patience::new("advisory locks to go", LEAVING);
    loop {
        let held: Vec<String> = sqlx::query_scalar(
            "select format('advisory lock (%s, %s) of pid %s (`%s`), which is %s', l.classid, l.objid, l.pid,
                 coalesce(a.application_name, ''), coalesce(a.state, 'gone'))
             from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a using (pid)
             where l.locktype = 'advisory' and l.granted
               and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
             order by l.pid, l.classid, l.objid",
        )
        .fetch_all(&mut *witness)
        .await?;
        if held.is_empty() || patience.not_yet(&held.join(", ")).await.is_err() {
            return Ok(held);
        }
    }
}
