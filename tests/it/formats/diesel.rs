//! diesel. Its own tool needs libpq, so what its release 2.3 left in a database is written down here.

use super::{apply, counts, folder, rows, run, shape, write};
use crate::support::empty_database;
use pgharness::migration::Format;

const FILES: &[(&str, &str)] = &[
    (
        "2024-01-02-030405_users/up.sql",
        "create table users (id int primary key);\ninsert into users values (1);",
    ),
    ("2024-01-02-030405_users/down.sql", "drop table users;"),
    ("2024-01-03-000000_index/up.sql", "create index concurrently i on users (id);"),
    ("2024-01-03-000000_index/down.sql", "drop index i;"),
    ("2024-01-03-000000_index/metadata.toml", "run_in_transaction = false\n"),
];

/// The table as diesel 2.3 creates it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS __diesel_schema_migrations (
       version VARCHAR(50) PRIMARY KEY NOT NULL,
       run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);";

#[tokio::test]
async fn the_history_is_that_of_diesel() {
    let (ours, theirs) = (empty_database().await, empty_database().await);
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Auto, &ours).await, (2, 0));
    run(&theirs, TABLE).await;
    let table = "__diesel_schema_migrations";
    assert_eq!(shape(&ours, table).await, shape(&theirs, table).await);
    assert_eq!(
        rows(&ours, "select version from __diesel_schema_migrations order by 1").await,
        ["(20240102030405)", "(20240103000000)"]
    );
    assert_eq!(counts(&dir, Format::Auto, &ours).await, (0, 2));
}

#[tokio::test]
async fn what_diesel_applied_is_applied_for_us() {
    let target = empty_database().await;
    run(&target, TABLE).await;
    run(
        &target,
        "create table users (id int primary key); \
         insert into __diesel_schema_migrations (version) values ('20240102030405')",
    )
    .await;
    assert_eq!(counts(&folder(FILES), Format::Diesel, &target).await, (1, 1));
}

#[tokio::test]
async fn a_failure_shows_the_place_and_the_way_out() {
    let target = empty_database().await;
    let dir = folder(FILES);
    write(&dir, "2024-01-03-000000_index/metadata.toml", "");
    let error = apply(&dir, Format::Diesel, &target).await.unwrap_err();
    assert!(error.to_string().contains("2024-01-03-000000_index/up.sql:1:1"), "{error}");
    assert!(error.help().unwrap().contains("run_in_transaction = false"), "{error:?}");
}
