//! Pools that begin with a connection which was open before they were.

use pgharness::server::ServerConfig;
use pgharness::wait::{self, Look};
use pgharness::{Template, TestDb};
use sqlx::{Connection, Executor, PgPool};
use std::path::Path;
use std::time::Duration;

/// A database that was put back, and its pool.
async fn put_back(template: &Template) -> (TestDb, PgPool) {
    wait::until_async("a database to be put back", Duration::from_secs(20), async || {
        let db = template.get().await?;
        let pool = db.pool().await?;
        Ok(match pool.size() {
            0 => Look::NotYet("only fresh ones".into()),
            _ => Look::Ready((db, pool)),
        })
    })
    .await
    .unwrap()
}

/// A template with one table, so that nobody else's databases come between; its folder goes with the first part.
fn template(table: &str) -> (tempfile::TempDir, Template) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("migrations")).unwrap();
    std::fs::write(
        dir.path().join("migrations/0001_first.up.sql"),
        format!("create table {table} (n int);\n"),
    )
    .unwrap();
    let here = ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let template = Template::builder(dir.path()).with_migrations("migrations").with_server(here).build();
    (dir, template)
}

#[tokio::test]
async fn the_open_connection_is_the_tests_only_one() {
    let (_dir, template) = template("alone");
    let (db, pool) = put_back(&template).await;
    assert_eq!((pool.size(), pool.num_idle()), (1, 1));
    let options = pool.connect_options();
    assert_eq!(options.get_database(), Some(db.name()));
    let sessions = "select count(*), min(pid) = pg_backend_pid(), current_database()::text
                    from pg_stat_activity where datname = current_database()";
    let found: (i64, bool, String) = sqlx::query_as(sessions).fetch_one(&pool).await.unwrap();
    assert_eq!(found, (1, true, db.name().to_owned()));
    let mut another = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let name: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&mut another).await.unwrap();
    assert_eq!(name, db.name());
}

#[tokio::test]
async fn further_connections_are_the_servers() {
    let (_dir, template) = template("further");
    let (db, pool) = put_back(&template).await;
    let mut held = Vec::new();
    let mut backends = std::collections::HashSet::new();
    for _ in 0..5 {
        let mut connection = pool.acquire().await.unwrap();
        let sql = "select current_database()::text, pg_backend_pid()";
        let (name, backend): (String, i32) = sqlx::query_as(sql).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(name, db.name());
        backends.insert(backend);
        held.push(connection);
    }
    assert_eq!(backends.len(), 5);
}

#[tokio::test]
async fn a_session_that_was_ended_is_replaced() {
    let (_dir, template) = template("ended");
    let (db, pool) = put_back(&template).await;
    let mut control = db.server().connect("postgres").await.unwrap();
    let end = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = $1";
    let ended: Vec<bool> = sqlx::query_scalar(end).bind(db.name()).fetch_all(&mut control).await.unwrap();
    assert_eq!(ended, [true]);
    pool.execute("insert into ended values (1)").await.unwrap();
}
