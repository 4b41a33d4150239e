//! Prisma. What is written down here is what its release 6 left in a database.

use super::{apply, counts, folder, rows, run, waits_for, write};
use crate::support::empty_database;
use pgharness::migration::Format;

const FILES: &[(&str, &str)] = &[
    ("migration_lock.toml", "provider = \"postgresql\"\n"),
    (
        "20240101000000_a/migration.sql",
        "create table users (id int primary key); insert into users values (1);\n",
    ),
    ("20240102000000_b/migration.sql", "create index concurrently i on users (id);\n"),
];

/// Checksums as Prisma wrote them for these files.
const HISTORY: [&str; 2] = [
    "(20240101000000_a,2cfc4423b10f18936562e7780e8e52de9c8627bf395126c64aa7644272aaac22,t,1)",
    "(20240102000000_b,257edf82375f24f8348df489e7039d6ee0cd484385bb12b49178cc3e184377d1,t,1)",
];

const ASKED: &str = "select migration_name, checksum, finished_at >= started_at, applied_steps_count \
    from _prisma_migrations order by 1";

#[tokio::test]
async fn the_history_is_that_of_prisma() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Auto, &target).await, (2, 0));
    assert_eq!(rows(&target, ASKED).await, HISTORY);
    assert_eq!(counts(&dir, Format::Auto, &target).await, (0, 2));
}

#[tokio::test]
async fn a_failure_is_recorded_until_it_is_resolved() {
    let target = empty_database().await;
    let dir = folder(FILES);
    write(&dir, "20240103000000_c/migration.sql", "select 1;\nselect nosuch;");
    let error = apply(&dir, Format::Prisma, &target).await.unwrap_err();
    assert!(error.to_string().contains("20240103000000_c/migration.sql:2:8"), "{error}");
    let error = apply(&dir, Format::Prisma, &target).await.unwrap_err();
    assert!(error.to_string().contains("is recorded as half applied"), "{error}");
    run(&target, "update _prisma_migrations set rolled_back_at = now() where finished_at is null").await;
    write(&dir, "20240103000000_c/migration.sql", "select 1;");
    assert_eq!(counts(&dir, Format::Prisma, &target).await, (1, 2));
}

#[tokio::test]
async fn the_lock_is_that_of_prisma() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert!(waits_for(&dir, Format::Prisma, &target, 72_707_369).await);
    assert_eq!(counts(&dir, Format::Prisma, &target).await, (2, 0));
}
