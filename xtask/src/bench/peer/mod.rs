//! What ours is put beside, one file each.

pub(super) mod ours;
pub(super) mod pgtemp;
pub(super) mod pgtestdb;
pub(super) mod postgresql_embedded;
pub(super) mod psql;
pub(super) mod raw;
pub(super) mod sqlx_test;

use pgharness::postgres::{Installation, Request, Settings};
use pgharness::sqlx::{self, PgConnection};
use pgharness::wait::{self, Look};
use pgharness::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a test of a suite does with its database, where nothing else is said.
pub(super) const WRITE: &str = "insert into t0 (name) values ('one')";

/// The numbers of tests that wait for a thread, and what each does with its database.
pub(super) struct Tests {
    next: AtomicUsize,
    end: usize,
    write: String,
}

impl Tests {
    pub(super) fn new(number: usize, write: &str) -> Tests {
        Tests { next: AtomicUsize::new(0), end: number, write: write.to_owned() }
    }

    /// The next test, for the thread that asks first.
    pub(super) fn next(&self) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|test| *test < self.end)
    }
}

/// The installation that ours uses too.
fn installation() -> Result<Installation> {
    Installation::find(&Request::from_env()?)
}

/// The settings that ours uses too.
fn settings() -> Vec<(String, String)> {
    let arguments = Settings::default().arguments();
    arguments
        .iter()
        .filter_map(|argument| argument.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Waits until nobody is connected to a database any more: else the server naps for 100 ms before it drops it, and a
/// figure would be that of the nap.
async fn wait_until_left(control: &mut PgConnection, database: &str) -> Result<()> {
    wait::until_async("a session to leave", Duration::from_secs(30), async || {
        let left: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where datname = $1")
            .bind(database)
            .fetch_one(&mut *control)
            .await?;
        Ok(if left == 0 { Look::Ready(()) } else { Look::NotYet(format!("{left} there")) })
    })
    .await
}

/// What a peer said of its failure.
fn peer_failed(peer: &str, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Environment, format!("{peer} failed: {error}"))
}
