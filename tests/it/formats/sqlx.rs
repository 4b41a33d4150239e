//! sqlx: its own migrator is the judge.

use super::{apply, counts, folder, rows, run, shape, write};
use crate::support::{empty_cluster, empty_database};
use pgharness::migration::{Format, Migrations, Runner};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use tempfile::TempDir;

/// With a byte order mark nowhere, line ends of both kinds, a file without a transaction, and odd names.
const FILES: &[(&str, &str)] = &[
    ("1_users_and_more.sql", "create table users (id int primary key);\r\ninsert into users values (1);\r\n"),
    ("0002_index.up.sql", "-- no-transaction\ncreate index concurrently users_id on users (id);\n"),
    ("0002_index.down.sql", "-- no-transaction\ndrop index concurrently users_id;\n"),
    ("20240102030405_.sql", "select 'é';"),
];

async fn migrate(dir: &TempDir, target: &PgConnectOptions) -> Result<(), sqlx::migrate::MigrateError> {
    let migrator = Migrator::new(dir.path()).await.unwrap();
    let mut connection = PgConnection::connect_with(target).await.unwrap();
    migrator.run(&mut connection).await
}

/// All of the history but for when and how long.
const HISTORY: &str =
    "select version, description, success, encode(checksum, 'hex') from _sqlx_migrations order by version";

#[tokio::test]
async fn what_we_apply_is_applied_for_sqlx() {
    let (ours, theirs) = (empty_database().await, empty_database().await);
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Auto, &ours).await, (3, 0));
    let before = rows(&ours, "select * from _sqlx_migrations").await;
    migrate(&dir, &ours).await.unwrap();
    assert_eq!(rows(&ours, "select * from _sqlx_migrations").await, before, "nothing was left to do");
    migrate(&dir, &theirs).await.unwrap();
    assert_eq!(rows(&ours, HISTORY).await, rows(&theirs, HISTORY).await);
    assert_eq!(shape(&ours, "_sqlx_migrations").await, shape(&theirs, "_sqlx_migrations").await);
}

#[tokio::test]
async fn what_sqlx_applied_is_applied_for_us() {
    let target = empty_database().await;
    let dir = folder(FILES);
    migrate(&dir, &target).await.unwrap();
    assert_eq!(counts(&dir, Format::Auto, &target).await, (0, 3));
    let source = Migrations::load(dir.path(), Format::Auto).unwrap();
    let history = Runner::new(&source).history(&target).await.unwrap();
    assert_eq!(history[1].name, "0002_index.up.sql");
    assert!(history[1].duration_ms.is_some());
    write(
        &dir,
        "1_users_and_more.sql",
        "create table users (id int primary key);\ninsert into users values (1);\n",
    );
    let error = apply(&dir, Format::Auto, &target).await.unwrap_err();
    assert!(
        error.to_string().contains("`1_users_and_more.sql` was edited after it had been applied"),
        "{error}"
    );
    assert!(migrate(&dir, &target).await.is_err(), "to sqlx another line end is another file too");
}

#[tokio::test]
async fn either_goes_on_where_the_other_stopped() {
    let target = empty_database().await;
    let dir = folder(&FILES[..1]);
    assert_eq!(counts(&dir, Format::Sqlx, &target).await, (1, 0));
    write(&dir, "2_b.sql", "create table b (id int);");
    migrate(&dir, &target).await.unwrap();
    write(&dir, "3_c.sql", "create table c (id int);");
    assert_eq!(counts(&dir, Format::Sqlx, &target).await, (1, 2));
    assert_eq!(rows(&target, "select to_regclass('b'), to_regclass('c')").await, ["(b,c)"]);
}

#[tokio::test]
async fn a_file_without_a_transaction_is_one_message_as_it_is_to_sqlx() {
    let target = empty_database().await;
    let dir = folder(&[
        FILES[0],
        ("2_two.sql", "-- no-transaction\ncreate table t (id int);\ncreate index concurrently i on t (id);"),
    ]);
    let error = apply(&dir, Format::Sqlx, &target).await.unwrap_err();
    assert_eq!(error.sqlstate().as_deref(), Some("25001"));
    assert!(error.to_string().contains("2_two.sql:3:1"), "{error}");
    assert!(error.help().unwrap().contains("give it a file of its own"), "{error:?}");
    let theirs = migrate(&dir, &target).await.unwrap_err();
    assert!(theirs.to_string().contains("cannot run inside a transaction block"), "{theirs}");
}

#[tokio::test]
async fn the_history_goes_where_the_search_path_leads() {
    let target = empty_cluster().await;
    run(&target, "create schema app; alter role postgres set search_path = app, public").await;
    let dir = folder(&FILES[..1]);
    assert_eq!(counts(&dir, Format::Sqlx, &target).await, (1, 0));
    migrate(&dir, &target).await.unwrap();
    assert_eq!(rows(&target, "select count(*) from app._sqlx_migrations").await, ["(1)"]);
    run(&target, "alter role postgres set search_path = nowhere").await;
    let error = apply(&dir, Format::Sqlx, &target).await.unwrap_err();
    assert!(error.to_string().starts_with("no schema of the search path is there"), "{error}");
}

#[tokio::test]
async fn a_setting_and_the_crates_configuration_name_the_table() {
    let (set, configured) = (empty_database().await, empty_database().await);
    let dir = folder(&[
        ("Cargo.toml", ""),
        ("sqlx.toml", "[migrate]\ntable-name = 'ops.applied'\ncreate-schemas = ['ops', 'more']\n"),
        ("migrations/1_a.sql", "create table more.a (id int);"),
    ]);
    let source = Migrations::load(dir.path().join("migrations"), Format::Auto).unwrap();
    Runner::new(&source).apply(&configured).await.unwrap();
    assert_eq!(rows(&configured, "select version from ops.applied").await, ["(1)"]);
    Runner::new(&source).with_history("public.mine").apply(&set).await.unwrap();
    assert_eq!(rows(&set, "select version, description from public.mine").await, ["(1,a)"]);
}

#[tokio::test]
async fn a_half_applied_one_is_told() {
    let target = empty_database().await;
    let dir = folder(&FILES[..1]);
    assert_eq!(counts(&dir, Format::Sqlx, &target).await, (1, 0));
    run(&target, "update _sqlx_migrations set success = false").await;
    let error = apply(&dir, Format::Sqlx, &target).await.unwrap_err();
    assert!(error.to_string().contains("`1_users_and_more.sql` is recorded as half applied"), "{error}");
}

#[tokio::test]
async fn a_table_of_another_shape_is_no_history() {
    let target = empty_database().await;
    run(&target, "create table _sqlx_migrations (version bigint primary key)").await;
    let error = apply(&folder(&FILES[..1]), Format::Sqlx, &target).await.unwrap_err();
    assert!(error.to_string().contains("`public._sqlx_migrations` of database"), "{error}");
    assert!(error.to_string().ends_with("is not a history of sqlx"), "{error}");
}

#[tokio::test]
async fn the_lock_is_that_of_sqlx() {
    let target = empty_database().await;
    let dir = folder(FILES);
    let mut theirs = PgConnection::connect_with(&target.clone().application_name("sqlx")).await.unwrap();
    theirs.lock().await.unwrap();
    let source = Migrations::load(dir.path(), Format::Sqlx).unwrap();
    let runner = Runner::new(&source).with_lock_timeout(Duration::from_millis(50));
    let error = runner.apply(&target).await.unwrap_err();
    assert!(
        error.to_string().contains("another runner migrates") && error.to_string().contains("(`sqlx`)"),
        "{error}"
    );
    theirs.unlock().await.unwrap();
    assert_eq!(runner.apply(&target).await.unwrap().applied.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlx_and_we_at_once_apply_each_migration_once() {
    let dir = folder(&[
        ("1_log.sql", "create table log (step int);"),
        ("2_one.sql", "insert into log values (1);\nselect pg_sleep(0.01);"),
        ("3_two.sql", "-- no-transaction\ninsert into log values (2);"),
        ("4_three.sql", "insert into log values (3);"),
    ]);
    let source = Migrations::load(dir.path(), Format::Sqlx).unwrap();
    for round in 0..10 {
        let target = empty_database().await;
        let ours = (0..3).map(|_| {
            let (source, target) = (source.clone(), target.clone());
            tokio::spawn(async move {
                Runner::new(&source).apply(&target).await.map(drop).map_err(|e| e.report())
            })
        });
        let theirs = (0..3).map(|_| {
            let (path, target) = (dir.path().to_owned(), target.clone());
            tokio::spawn(async move {
                let pool = PgPoolOptions::new().max_connections(1).connect_with(target).await.unwrap();
                let migrator = Migrator::new(path).await.unwrap();
                migrator.run(&pool).await.map_err(|error| error.to_string())
            })
        });
        for runner in ours.chain(theirs).collect::<Vec<_>>() {
            assert_eq!(runner.await.unwrap(), Ok(()), "round {round}");
        }
        assert_eq!(
            rows(&target, "select step from log order by 1").await,
            ["(1)", "(2)", "(3)"],
            "round {round}"
        );
        assert_eq!(rows(&target, "select count(*) from _sqlx_migrations").await, ["(4)"], "round {round}");
    }
}
