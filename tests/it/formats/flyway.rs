//! Flyway. What is written down here is what its documentation and source have.

use super::{apply, counts, folder, rows, run, write};
use crate::support::empty_database;
use pgharness::migration::Format;

const FILES: &[(&str, &str)] = &[
    ("V1__users.sql", "create table users (id int primary key);\ninsert into users values (1);\n"),
    ("V1.2__an_index.sql", "create index concurrently i on users (id);\n"),
    ("R__names.sql", "create or replace view names as select id from users;\n"),
];

const HISTORY: &str = "select installed_rank, version, description, type, script, checksum, installed_by, success \
    from flyway_schema_history order by 1";

#[tokio::test]
async fn the_history_is_that_of_flyway() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Auto, &target).await, (3, 0));
    // The checksums are zlib's CRC-32 of the lines.
    assert_eq!(
        rows(&target, HISTORY).await,
        [
            "(1,1,users,SQL,V1__users.sql,-1610903483,postgres,t)",
            "(2,1.2,\"an index\",SQL,V1.2__an_index.sql,-1348458637,postgres,t)",
            "(3,,names,SQL,R__names.sql,1422090348,postgres,t)",
        ]
    );
    assert_eq!(counts(&dir, Format::Auto, &target).await, (0, 3));
}

#[tokio::test]
async fn what_may_be_repeated_is_when_it_changes() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Flyway, &target).await, (3, 0));
    write(&dir, "V2__more.sql", "alter table users add name text;");
    write(&dir, "R__names.sql", "create or replace view names as select id, name from users;");
    assert_eq!(counts(&dir, Format::Flyway, &target).await, (2, 2));
    assert_eq!(counts(&dir, Format::Flyway, &target).await, (0, 4));
    write(&dir, "V1__users.sql", "select 1;");
    let error = apply(&dir, Format::Flyway, &target).await.unwrap_err();
    assert!(error.to_string().contains("`V1__users.sql` was edited after it had been applied"), "{error}");
}

#[tokio::test]
async fn baselines_are_understood() {
    let (new, old) = (empty_database().await, empty_database().await);
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Flyway, &old).await, (3, 0));
    write(&dir, "B1.2__all.sql", "create table users (id int primary key);");
    // Where the versions were applied one by one, the baseline is not pending.
    assert_eq!(counts(&dir, Format::Flyway, &old).await, (0, 2));
    assert_eq!(counts(&dir, Format::Flyway, &new).await, (2, 0));
    assert_eq!(
        rows(&new, "select version, type from flyway_schema_history order by installed_rank").await,
        ["(1.2,SQL_BASELINE)", "(,SQL)"]
    );
    assert_eq!(counts(&dir, Format::Flyway, &new).await, (0, 2));
    // As `flyway baseline` says that a database is at a version.
    run(&new, "delete from flyway_schema_history where version is null").await;
    run(&new, "update flyway_schema_history set type = 'BASELINE', checksum = null").await;
    assert_eq!(counts(&folder(FILES), Format::Flyway, &new).await, (1, 2));
}

#[tokio::test]
async fn a_failed_row_is_told() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Flyway, &target).await, (3, 0));
    run(&target, "update flyway_schema_history set success = false where version = '1.2'").await;
    let error = apply(&dir, Format::Flyway, &target).await.unwrap_err();
    assert!(error.to_string().contains("`V1.2__an_index.sql` is recorded as half applied"), "{error}");
    assert!(error.help().unwrap().contains("flyway repair"), "{error:?}");
}
