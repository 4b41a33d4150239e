//! Migrations in the formats of known tools: what we apply is applied for the tool, and the other way.

mod dbmate;
mod diesel;
mod flyway;
mod golang_migrate;
mod goose;
mod prisma;
mod refinery;
mod sqlx;

use ::sqlx::postgres::PgConnectOptions;
use ::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use pgharness::migration::{Applied, Format, Migrations, Runner};
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(&dir, name, text);
    }
    dir
}

fn write(dir: &TempDir, name: &str, text: &str) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

async fn apply(dir: &TempDir, format: Format, target: &PgConnectOptions) -> pgharness::Result<Applied> {
    Runner::new(&Migrations::load(dir.path(), format)?).apply(target).await
}

/// Whether a run waits for whoever holds the lock `key` in the database.
async fn waits_for(dir: &TempDir, format: Format, target: &PgConnectOptions, key: i64) -> bool {
    let mut holder = PgConnection::connect_with(&target.clone().application_name("the tool")).await.unwrap();
    holder.execute(AssertSqlSafe(format!("select pg_advisory_lock({key})"))).await.unwrap();
    let source = Migrations::load(dir.path(), format).unwrap();
    let runner = Runner::new(&source).with_lock_timeout(Duration::from_millis(50));
    let outcome = runner.apply(target).await;
    holder.execute("select pg_advisory_unlock_all()").await.unwrap();
    let held = "select count(*) from pg_locks where locktype = 'advisory' \
        and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(rows(target, held).await, ["(0)"], "what was taken is given back");
    outcome.is_err_and(|error| error.to_string().contains("(`the tool`)"))
}

/// How many were applied, and how many before.
async fn counts(dir: &TempDir, format: Format, target: &PgConnectOptions) -> (usize, usize) {
    let applied = apply(dir, format, target).await.unwrap();
    (applied.applied.len(), applied.already)
}

/// The rows that `sql` finds, as text.
async fn rows(target: &PgConnectOptions, sql: &str) -> Vec<String> {
    let mut connection = PgConnection::connect_with(target).await.unwrap();
    let sql = format!("select t::text from ({sql}) t");
    let rows = connection.fetch_all(AssertSqlSafe(sql)).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn run(target: &PgConnectOptions, sql: &str) {
    let mut connection = PgConnection::connect_with(target).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

/// The columns of a table as the catalog has them, with types and defaults, and its indexes.
async fn shape(target: &PgConnectOptions, table: &str) -> Vec<String> {
    rows(
        target,
        &format!(
            "select attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attidentity::text || ' '
               || coalesce(pg_get_expr(adbin, adrelid), '')
             from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
             where attrelid = '{table}'::regclass and attnum > 0 order by attnum"
        ),
    )
    .await
    .into_iter()
    .chain(rows(target, &format!("select pg_get_indexdef(indexrelid) from pg_index where indrelid = '{table}'::regclass order by 1")).await)
    .collect()
}
