//! dbmate. What is written down here is what its release 2 left in a database.

use super::{apply, counts, folder, rows, run, shape, write};
use crate::support::empty_database;
use pgharness::migration::Format;

const FILES: &[(&str, &str)] = &[
    (
        "20240101000000_users.sql",
        "-- a note\n-- migrate:up\ncreate table users (id int primary key);\n-- migrate:down\ndrop table users;\n",
    ),
    (
        "20240102000000_index.sql",
        "-- migrate:up transaction:false\ncreate index concurrently i on users (id);\n-- migrate:down\n",
    ),
];

const TABLE: &str = "create table schema_migrations (version varchar primary key)";

#[tokio::test]
async fn the_history_is_that_of_dbmate() {
    let (ours, theirs) = (empty_database().await, empty_database().await);
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Auto, &ours).await, (2, 0));
    run(&theirs, TABLE).await;
    assert_eq!(shape(&ours, "schema_migrations").await, shape(&theirs, "schema_migrations").await);
    assert_eq!(
        rows(&ours, "select * from schema_migrations order by 1").await,
        ["(20240101000000)", "(20240102000000)"]
    );
    run(&theirs, "create table users (id int); insert into schema_migrations values ('20240101000000')")
        .await;
    assert_eq!(counts(&dir, Format::Auto, &theirs).await, (1, 1));
}

#[tokio::test]
async fn a_failure_shows_its_place_in_the_whole_file() {
    let target = empty_database().await;
    let dir = folder(FILES);
    write(&dir, "3_x.sql", "-- migrate:up\nselect 1;\n\nselect nosuch;\n-- migrate:down\nselect also_not;\n");
    let error = apply(&dir, Format::Dbmate, &target).await.unwrap_err();
    assert!(error.to_string().contains("3_x.sql:4:8"), "{error}");
    write(&dir, "3_x.sql", "-- migrate:up\ndrop index concurrently i;\n-- migrate:down\n");
    let error = apply(&dir, Format::Dbmate, &target).await.unwrap_err();
    assert!(error.help().unwrap().contains("-- migrate:up transaction:false"), "{error:?}");
}

#[tokio::test]
async fn the_history_of_pgharness_is_not_dbmates() {
    let target = empty_database().await;
    assert_eq!(counts(&folder(&[("a.up.sql", "select 1;")]), Format::Plain, &target).await, (1, 0));
    let error = apply(&folder(FILES), Format::Dbmate, &target).await.unwrap_err();
    assert!(error.to_string().ends_with("is not a history of dbmate"), "{error}");
}
