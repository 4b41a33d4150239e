//! How long others wait for a table with many rows while a migration goes through it.

use crate::check::migrator::Migrator;
use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::fixture::rows::{Rows, Step};
use crate::ident::QualifiedName;
use crate::migration::Migration;
use crate::wait::Patience;
use futures_util::future::join3;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// So many rows are many: enough to tell from none, and few enough to be there in no time.
pub(super) const ROWS: u32 = 20_000;

/// Nobody waits longer for a table.
const PATIENCE: Duration = Duration::from_secs(60);

/// No migration takes longer.
const DEADLINE: Duration = Duration::from_secs(600);

/// How long others waited for a table while a migration went through many rows.
#[derive(Clone, Debug)]
pub(super) struct Bulk {
    /// The statements that put the rows there.
    pub(super) steps: Vec<Step>,
    /// Somebody who read, over and over.
    pub(super) reader: Duration,
    /// Somebody who took the lock of who writes, over and over.
    pub(super) writer: Duration,
}

/// Runs the first `count` statements of `migration` in one transaction while `large` tables have many rows and others
/// come to read and to write `table`; all is undone. Nothing where the tables take no such rows, or the migration fails
/// on them.
///
/// # Errors
/// The server is lost.
pub(super) async fn bulk(
    db: &TestDb,
    migrator: &Migrator,
    migration: &Migration,
    count: usize,
    table: &str,
    large: &BTreeSet<String>,
) -> Result<Option<Bulk>> {
    let mut control = db.connection().await?;
    let since: i64 = sqlx::query_scalar("select pg_current_xact_id()::text::bigint")
        .fetch_one(&mut control)
        .await
        .attempt(ErrorKind::Database, || "failed to ask for a transaction's number".into())?;
    let mut rows = Rows::read(&mut control).await?;
    let mut steps = Vec::new();
    for name in large {
        let Ok(more) = rows.multiply(&mut control, &QualifiedName::parse(name), ROWS).await? else {
            // Which tables got rows before one was refused is not told.
            remove(&mut control, rows.tables(), since).await?;
            return Ok(None);
        };
        steps.extend(more);
    }
    let waited = waited(db, migrator, migration, count, table).await?;
    let tables: BTreeSet<&QualifiedName> = steps.iter().map(|step| &step.table).collect();
    remove(&mut control, tables.into_iter(), since).await?;
    Ok(waited.map(|(reader, writer)| Bulk { steps, reader, writer }))
}

/// How long a reader and a writer waited at most, unless the migration fails.
async fn waited(
    db: &TestDb,
    migrator: &Migrator,
    migration: &Migration,
    count: usize,
    table: &str,
) -> Result<Option<(Duration, Duration)>> {
    let mut session = migrator.session(db).await?;
    let (mut reader, mut writer) = (db.connection().await?, db.connection().await?);
    let table = QualifiedName::parse(table).sql();
    let is_over = AtomicBool::new(false);
    let migrating = async {
        let mut done = session.execute("begin").await;
        for statement in migration.script.statements().iter().take(count) {
            if done.is_ok() {
                done = session.execute(AssertSqlSafe(statement.text)).await;
            }
        }
        let _ = session.execute("rollback").await;
        is_over.store(true, Ordering::Relaxed);
        done.is_ok()
    };
    let read = format!("select from only {table} limit 0");
    let write = format!("begin; lock table only {table} in row exclusive mode; rollback");
    let (is_done, read, written) =
        join3(migrating, longest(&mut reader, &read, &is_over), longest(&mut writer, &write, &is_over)).await;
    Ok(is_done.then_some((read?, written?)))
}

/// How long a statement took at most that is run over and over, until it `is_over`.
async fn longest(session: &mut PgConnection, sql: &str, is_over: &AtomicBool) -> Result<Duration> {
    let patience = format!("set statement_timeout = {}", PATIENCE.as_millis());
    session.execute(AssertSqlSafe(patience)).await?;
    let deadline = Patience::new("a migration to end", DEADLINE);
    let mut longest = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let started = Instant::now();
        let done = session.execute(AssertSqlSafe(sql)).await;
        longest = longest.max(started.elapsed());
        match done {
            Ok(_) => {}
            // It took too long.
            Err(sqlx::Error::Database(_)) => break,
            Err(lost) => return Err(lost.into()),
        }
        deadline.not_yet("others come and go").await?;
    }
    Ok(longest)
}

/// Takes away the rows that came into `tables` since a transaction, whatever refers to them.
async fn remove(
    control: &mut PgConnection,
    tables: impl Iterator<Item = &QualifiedName>,
    since: i64,
) -> Result<()> {
    for table in tables {
        let table = table.sql();
        let removed = format!(
            "set session_replication_role = replica;
             delete from {table} where xmin::text::bigint >= {since};
             reset session_replication_role"
        );
        for sql in [removed, format!("vacuum {table}")] {
            control
                .execute(AssertSqlSafe(sql))
                .await
                .attempt(ErrorKind::Database, || format!("failed to take rows out of {table} again"))?;
        }
    }
    Ok(())
}

/// A time as one says it: by its first digit.
pub(super) fn about(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 1.0 {
        return "less than 1 ms".into();
    }
    let unit = 10_f64.powf(millis.log10().floor());
    let rounded = (millis / unit).round() * unit;
    if rounded < 1000.0 { format!("about {rounded} ms") } else { format!("about {} s", rounded / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(300, "less than 1 ms")]
    #[case(1_000, "about 1 ms")]
    #[case(9_700, "about 10 ms")]
    #[case(43_210, "about 40 ms")]
    #[case(960_000, "about 1 s")]
    #[case(2_510_000, "about 3 s")]
    fn a_time_is_told_by_its_first_digit(#[case] micros: u64, #[case] expected: &str) {
        assert_eq!(about(Duration::from_micros(micros)), expected);
    }
}
