//! golang-migrate. What is written down here is what its source has.

use super::{apply, counts, folder, rows, run, write};
use crate::support::empty_database;
use pgharness::migration::Format;

const FILES: &[(&str, &str)] = &[
    ("000001_users.up.sql", "create table users (id int primary key);\ninsert into users values (1);"),
    ("000001_users.down.sql", "drop table users;"),
    ("000002_index.up.sql", "create index concurrently i on users (id);"),
    ("000002_index.down.sql", "drop index i;"),
];

const HISTORY: &str = "select version, dirty from schema_migrations";

#[tokio::test]
async fn the_history_is_one_row() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::GolangMigrate, &target).await, (2, 0));
    assert_eq!(rows(&target, HISTORY).await, ["(2,f)"]);
    write(&dir, "000003_more.up.sql", "create table more (id int);");
    assert_eq!(counts(&dir, Format::GolangMigrate, &target).await, (1, 2));
    run(&target, "update schema_migrations set version = 9").await;
    let error = apply(&dir, Format::GolangMigrate, &target).await.unwrap_err();
    assert!(error.to_string().contains("`9` is applied, and its file is gone"), "{error}");
}

#[tokio::test]
async fn a_failure_leaves_the_database_dirty_as_the_tool_does() {
    let target = empty_database().await;
    let dir = folder(&FILES[..2]);
    // The statements of one message are one transaction.
    write(&dir, "000002_x.up.sql", "create table half (id int);\nselect nosuch;");
    let error = apply(&dir, Format::GolangMigrate, &target).await.unwrap_err();
    assert!(error.to_string().contains("000002_x.up.sql:2:8"), "{error}");
    assert_eq!(rows(&target, HISTORY).await, ["(2,t)"]);
    assert_eq!(rows(&target, "select to_regclass('half')").await, ["()"]);
    let error = apply(&dir, Format::GolangMigrate, &target).await.unwrap_err();
    assert!(error.to_string().contains("`000002_x.up.sql` is recorded as half applied"), "{error}");
    assert!(error.help().unwrap().contains("migrate force VERSION"), "{error:?}");
    run(&target, "update schema_migrations set version = 1, dirty = false").await;
    write(&dir, "000002_x.up.sql", "create index concurrently i on users (id);\nselect 1;");
    let error = apply(&dir, Format::GolangMigrate, &target).await.unwrap_err();
    assert!(error.help().unwrap().contains("golang-migrate sends a file as one message"), "{error:?}");
}
