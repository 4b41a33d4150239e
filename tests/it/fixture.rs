//! Fixtures against a server.

use crate::support::{client_tool, empty_database};
use pgharness::digest::Hasher;
use pgharness::fixture::Fixtures;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::fs;
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

async fn count(target: &PgConnectOptions, table: &str) -> i64 {
    let mut connection = PgConnection::connect_with(target).await.unwrap();
    connection.fetch_one(AssertSqlSafe(format!("select count(*) from {table}"))).await.unwrap().get(0)
}

#[tokio::test]
async fn files_and_programs_are_loaded_in_order() {
    let target = empty_database().await;
    let dir = folder(&[
        ("1.sql", "create table t (id int primary key);\nset search_path = nowhere;"),
        ("2.sql", "insert into t values (1);"),
    ]);
    let psql = client_tool("psql");
    let fixtures = Fixtures::load(dir.path(), ["*.sql"]).unwrap().and_command(
        format!("{} -qX \"$DATABASE_URL\" -c 'insert into t values (2)'", psql.display()),
        dir.path(),
    );
    fixtures.apply(&target).await.unwrap();
    assert_eq!(count(&target, "t").await, 2);
}

#[tokio::test]
async fn a_failing_file_leaves_nothing_and_shows_the_place() {
    let target = empty_database().await;
    let dir = folder(&[
        ("1.sql", "create table t (id int primary key);"),
        ("2.sql", "insert into t values (1);\ninsert into t (id, nosuch)\n  values (2, 3);"),
    ]);
    let error = Fixtures::load(dir.path(), ["*.sql"]).unwrap().apply(&target).await.unwrap_err();
    let text = format!("{error:?}").replace(&dir.path().display().to_string(), "fixtures");
    assert_eq!(
        text,
        "failed to load fixture `2.sql`: column \"nosuch\" of relation \"t\" does not exist (SQLSTATE 42703)\n   \
         --> fixtures/2.sql:2:20\n    |\n  2 | insert into t (id, nosuch)\n    |                    ^"
    );
    assert_eq!(count(&target, "t").await, 0);
}

#[tokio::test]
async fn a_text_is_sent_as_one_message() {
    let target = empty_database().await;
    let text = "create table t (n int);\nbegin; insert into t values (1); commit;\ninsert into t values (2);";
    let fixtures = Fixtures::none().and_text("seed", text);
    fixtures.apply(&target).await.unwrap();
    assert_eq!(count(&target, "t").await, 2);
    let error = fixtures.clone().and_text("open", "begin").apply(&target).await.unwrap_err();
    assert!(
        error.to_string().starts_with("failed to load fixture `seed`: relation \"t\" already"),
        "{error}"
    );
    let error = Fixtures::none().and_text("open", "begin").apply(&target).await.unwrap_err();
    assert_eq!(error.to_string(), "fixture `open` leaves a transaction open");
    let digest = |name: &str, text: &str| {
        let mut hasher = Hasher::new("test");
        Fixtures::none().and_text(name, text).add_to(&mut hasher).unwrap();
        hasher.finish()
    };
    assert_eq!(digest("seed", text), digest("seed", text));
    assert_ne!(digest("seed", text), digest("seed", "select 1"));
    assert_ne!(digest("seed", text), digest("other", text));
}

#[tokio::test]
async fn what_is_checked_at_the_end_is_checked_with_the_files_own_settings() {
    let target = empty_database().await;
    let deferred = "create schema app;\nset search_path = app;\ncreate table t (id int);\n\
        create function f() returns trigger language plpgsql as 'begin perform id from t; return null; end';\n\
        create constraint trigger c after insert on t deferrable initially deferred for each row execute function f();\n\
        insert into t values (1);";
    let dir = folder(&[
        ("1.sql", deferred),
        ("2.sql", "create table seen as select 1 where current_setting('search_path') !~ 'app';"),
    ]);
    Fixtures::load(dir.path(), ["*.sql"]).unwrap().apply(&target).await.unwrap();
    assert_eq!((count(&target, "app.t").await, count(&target, "public.seen").await), (1, 1));
}

#[tokio::test]
async fn rows_over_the_connection_are_refused() {
    let target = empty_database().await;
    let dir = folder(&[("1.sql", "create table t (id int);\ncopy t (id) from stdin;\n1\n\\.\n")]);
    let error = Fixtures::load(dir.path(), ["1.sql"]).unwrap().apply(&target).await.unwrap_err();
    assert!(
        error.to_string().contains("copies rows over the connection")
            && error.to_string().contains("1.sql:2:1")
    );
    assert_eq!(count(&target, "pg_class where relname = 't'").await, 0);
}

#[tokio::test]
async fn a_failing_program_is_told() {
    let target = empty_database().await;
    let fixtures = Fixtures::none().and_command("echo no rows today; false", std::env::temp_dir());
    let error = fixtures.apply(&target).await.unwrap_err();
    assert!(
        error.to_string().starts_with("fixture command `echo no rows today; false` on database"),
        "{error}"
    );
    assert!(error.to_string().ends_with("| no rows today"), "{error}");
}

#[test]
fn whatever_shapes_the_rows_shapes_the_digest() {
    let digest = |files: &[(&str, &str)], command: Option<&str>| {
        let dir = folder(files);
        let mut fixtures = Fixtures::load(dir.path(), ["*.sql"]).unwrap();
        if let Some(command) = command {
            fixtures = fixtures.and_command(command, dir.path());
        }
        let mut hasher = Hasher::new("test");
        fixtures.add_to(&mut hasher).unwrap();
        hasher.finish()
    };
    let one = digest(&[("a.sql", "select 1;")], None);
    assert_eq!(one, digest(&[("a.sql", "select 1;")], None), "where the folder lies does not matter");
    assert_ne!(one, digest(&[("b.sql", "select 1;")], None));
    assert_ne!(one, digest(&[("a.sql", "select 2;")], None));
    assert_ne!(one, digest(&[("a.sql", "select 1;")], Some("true")));
    assert_ne!(
        digest(&[("a.sql", "select 1;")], Some("false")),
        digest(&[("a.sql", "select 1;")], Some("true"))
    );
}
