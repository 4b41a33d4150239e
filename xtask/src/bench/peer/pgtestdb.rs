//! `pgtestdb`, a package for Go: its statements in its order, over as many sessions.
//!
//! Read in its `testdb.go`: role and template are looked after once per program, each under a session lock; every
//! test connects, clones in the server's default way, disconnects, works in a session of the template's owner, and
//! connects once more to drop. One thing is added: before the drop it is seen to that the session has left.

use super::{Tests, WRITE, peer_failed, wait_until_left};
use crate::bench::measure::runtime;
use pgharness::Result;
use pgharness::sqlx::migrate::Migrator;
use pgharness::sqlx::postgres::PgConnectOptions;
use pgharness::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

const ROLE: &str = "pgtdbuser";
const PASSWORD: &str = "pgtdbpass";
const TEMPLATE: &str = "testdb_tpl_suite100";
/// It makes them of a checksum of the names.
const ROLE_LOCK: i64 = 1_001;
const TEMPLATE_LOCK: i64 = 1_002;

/// Runs tests until there are no more.
pub(in crate::bench) fn run(server: &PgConnectOptions, migrator: &Migrator, tests: &Tests) -> Result<()> {
    let mut is_looked_after = false;
    while let Some(test) = tests.next() {
        runtime()?.block_on(async {
            let mut base = server.connect().await?;
            if !is_looked_after {
                ensure_role(&mut base).await?;
                ensure_template(&mut base, server, migrator).await?;
                is_looked_after = true;
            }
            let instance = format!("{TEMPLATE}_inst_{test:08x}");
            execute(
                &mut base,
                format!(r#"CREATE DATABASE "{instance}" WITH TEMPLATE "{TEMPLATE}" OWNER "{ROLE}""#),
            )
            .await?;
            base.close().await?;
            let mut connection = as_role(server, &instance).connect().await?;
            connection.execute(WRITE).await?;
            connection.close().await?;
            let mut base = server.connect().await?;
            wait_until_left(&mut base, &instance).await?;
            execute(&mut base, format!(r#"DROP DATABASE IF EXISTS "{instance}""#)).await?;
            base.close().await?;
            Ok::<_, pgharness::Error>(())
        })?;
    }
    Ok(())
}

async fn ensure_role(base: &mut PgConnection) -> Result<()> {
    execute(base, format!("SELECT pg_advisory_lock({ROLE_LOCK})")).await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT from pg_catalog.pg_roles WHERE rolname = $1)")
            .bind(ROLE)
            .fetch_one(&mut *base)
            .await?;
    if !exists {
        execute(base, format!(r#"CREATE ROLE "{ROLE}""#)).await?;
        let capabilities = "NOSUPERUSER NOCREATEDB NOCREATEROLE";
        execute(base, format!(r#"ALTER ROLE "{ROLE}" WITH LOGIN PASSWORD '{PASSWORD}' {capabilities}"#))
            .await?;
    }
    execute(base, format!("SELECT pg_advisory_unlock({ROLE_LOCK})")).await
}

async fn ensure_template(
    base: &mut PgConnection,
    server: &PgConnectOptions,
    migrator: &Migrator,
) -> Result<()> {
    execute(base, format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await?;
    let exists: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate = true)",
    )
    .bind(TEMPLATE)
    .fetch_one(&mut *base)
    .await?;
    if !exists {
        execute(base, format!(r#"DROP DATABASE IF EXISTS "{TEMPLATE}""#)).await?;
        execute(base, format!(r#"CREATE DATABASE "{TEMPLATE}" OWNER "{ROLE}""#)).await?;
        let mut template = as_role(server, TEMPLATE).connect().await?;
        migrator
            .run_direct(None, &mut template, false)
            .await
            .map_err(|error| peer_failed("migrating", error))?;
        template.close().await?;
        sqlx::query("UPDATE pg_database SET datistemplate = true WHERE datname=$1")
            .bind(TEMPLATE)
            .execute(&mut *base)
            .await?;
    }
    execute(base, format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})")).await
}

fn as_role(server: &PgConnectOptions, database: &str) -> PgConnectOptions {
    server.clone().database(database).username(ROLE).password(PASSWORD)
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<()> {
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(())
}
