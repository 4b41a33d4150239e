//! Databases for tests of the rooms below `database`.

use once_cell::sync::Lazy;
use pgharness::process::{Program, Running, User};
use pgharness::wait::{self, Look};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::Path;
use std::time::Duration;

struct Scratch {
    dir: tempfile::TempDir,
    _server: Running,
}

static SCRATCH: Lazy<Scratch> = Lazy::new(|| {
    let bin = Path::new("/usr/lib/postgresql/15/bin");
    let dir = tempfile::Builder::new().prefix("pgh-it-").tempdir_in("/dev/shm").unwrap();
    let user = User::for_server();
    if let Some(user) = &user {
        user.own(dir.path()).unwrap();
    }
    let data = dir.path().join("data");
    Program::new(bin.join("initdb"))
        .args(["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-D"])
        .arg(&data)
        .as_user(user.clone())
        .run()
        .unwrap();
    let server = Program::new(bin.join("postgres"))
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200", "-k"])
        .arg(dir.path())
        .arg("-D")
        .arg(&data)
        .as_user(user)
        .start()
        .unwrap();
    wait::until("the scratch server", Duration::from_secs(20), || {
        Ok(if dir.path().join(".s.PGSQL.5432").exists() {
            Look::Ready(())
        } else {
            Look::NotYet("no socket".into())
        })
    })
    .unwrap();
    Scratch { dir, _server: server }
});

fn options(database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(SCRATCH.dir.path())
        .port(5432)
        .username("postgres")
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

/// A new empty database, as superuser.
pub async fn empty_database() -> PgConnectOptions {
    let name = format!("t_{:x}", std::collections::hash_map::RandomState::new().hash_one_u64());
    let mut control = wait::until_async("the scratch server", Duration::from_secs(20), async || {
        Ok(match PgConnection::connect_with(&options("postgres")).await {
            Ok(connection) => Look::Ready(connection),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();
    control.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    options(&name)
}

/// A fresh random number, without a crate for it.
trait HashOneU64 {
    fn hash_one_u64(&self) -> u64;
}

impl HashOneU64 for std::collections::hash_map::RandomState {
    fn hash_one_u64(&self) -> u64 {
        std::hash::BuildHasher::hash_one(self, 0u8)
    }
}
