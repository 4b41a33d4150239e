//! refinery: its own runner is the judge.

use super::{apply, counts, folder, rows, shape, write};
use crate::support::empty_database;
use pgharness::migration::Format;
use refinery_core::{Runner, load_sql_migrations};
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

const FILES: &[(&str, &str)] = &[
    ("V1__users.sql", "create table users (id int primary key);\r\ninsert into users values (1);\n"),
    ("more/V3__é_names.sql", "alter table users add name text default 'it''s';"),
];

/// How many refinery applied.
async fn migrate(dir: &TempDir, target: &PgConnectOptions) -> Result<usize, refinery_core::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(target.get_socket().unwrap())
        .port(target.get_port())
        .user(target.get_username())
        .dbname(target.get_database().unwrap());
    let (mut client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let served = tokio::spawn(connection);
    let migrations = load_sql_migrations(dir.path()).unwrap();
    let applied = Runner::new(&migrations).run_async(&mut client).await;
    drop(client);
    served.await.unwrap().unwrap();
    Ok(applied?.applied_migrations().len())
}

const HISTORY: &str = "select version, name, checksum from refinery_schema_history order by version";

#[tokio::test]
async fn what_we_apply_is_applied_for_refinery() {
    let (ours, theirs) = (empty_database().await, empty_database().await);
    let dir = folder(FILES);
    assert_eq!(counts(&dir, Format::Refinery, &ours).await, (2, 0));
    assert_eq!(migrate(&dir, &ours).await.unwrap(), 0);
    assert_eq!(migrate(&dir, &theirs).await.unwrap(), 2);
    assert_eq!(rows(&ours, HISTORY).await, rows(&theirs, HISTORY).await);
    assert_eq!(
        shape(&ours, "refinery_schema_history").await,
        shape(&theirs, "refinery_schema_history").await
    );
}

#[tokio::test]
async fn what_refinery_applied_is_applied_for_us() {
    let target = empty_database().await;
    let dir = folder(FILES);
    assert_eq!(migrate(&dir, &target).await.unwrap(), 2);
    assert_eq!(counts(&dir, Format::Refinery, &target).await, (0, 2));
    write(&dir, "U2__late.sql", "create table late (id int);");
    assert_eq!(counts(&dir, Format::Refinery, &target).await, (1, 2));
    assert_eq!(migrate(&dir, &target).await.unwrap(), 0);
    write(&dir, "V0__late.sql", "select 1;");
    let error = apply(&dir, Format::Refinery, &target).await.unwrap_err();
    assert!(error.to_string().contains("`V0__late.sql` is pending, and `V1__users.sql`"), "{error}");
    assert!(migrate(&dir, &target).await.is_err(), "so does refinery");
}

#[tokio::test]
async fn a_transaction_cannot_be_left() {
    let target = empty_database().await;
    let dir = folder(&[FILES[0], ("V2__index.sql", "create index concurrently i on users (id);")]);
    let error = apply(&dir, Format::Refinery, &target).await.unwrap_err();
    assert!(error.help().unwrap().contains("refinery runs every migration in a transaction"), "{error:?}");
    assert!(migrate(&dir, &target).await.is_err());
}
