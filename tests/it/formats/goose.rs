//! goose. What is written down here is what its source has.

use super::{apply, counts, folder, rows, run, waits_for, write};
use crate::support::empty_database;
use pgharness::migration::Format;

const FILES: &[(&str, &str)] = &[
    (
        "00001_users.sql",
        "-- +goose Up\ncreate table users (id int primary key);\n-- +goose StatementBegin\n\
         do $$ begin\n  insert into users values (1);\nend $$;\n-- +goose StatementEnd\n\
         -- +goose Down\ndrop table users;\n",
    ),
    (
        "00002_index.sql",
        "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently i on users (id);\nselect 1;\n",
    ),
];

const HISTORY: &str = "select version_id, is_applied from goose_db_version order by id";

#[tokio::test]
async fn the_history_is_that_of_goose() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Auto, &target).await, (2, 0));
    assert_eq!(rows(&target, HISTORY).await, ["(0,t)", "(1,t)", "(2,t)"]);
    assert_eq!(counts(&dir, Format::Auto, &target).await, (0, 2));
    // As older releases undo one.
    run(&target, "drop index i; insert into goose_db_version (version_id, is_applied) values (2, false)")
        .await;
    assert_eq!(counts(&dir, Format::Auto, &target).await, (1, 1));
}

#[tokio::test]
async fn a_failure_shows_its_place_in_the_whole_file() {
    let target = empty_database().await;
    let dir = folder(FILES);
    write(&dir, "00003_x.sql", "-- +goose Up\nselect 1;\nselect nosuch;\n");
    let error = apply(&dir, Format::Goose, &target).await.unwrap_err();
    assert!(error.to_string().contains("00003_x.sql:3:8"), "{error}");
    write(&dir, "00003_x.sql", "-- +goose Up\ndrop index concurrently i;\n");
    let error = apply(&dir, Format::Goose, &target).await.unwrap_err();
    assert!(error.help().unwrap().contains("-- +goose NO TRANSACTION"), "{error:?}");
}

#[tokio::test]
async fn the_lock_is_that_of_a_program_that_asks_goose_for_one() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert!(waits_for(&dir, Format::Goose, &target, 5_887_940_537_704_921_958).await);
    assert!(waits_for(&dir, Format::Goose, &target, 4_097_083_626).await);
    assert_eq!(counts(&dir, Format::Goose, &target).await, (2, 0));
}
