//! The database that every schedule begins with.

use super::access::Access;
use super::client::Failure;
use super::watch::Watch;
use crate::database::Replay;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::quote_ident;
use crate::wait::Patience;
use futures_util::future::LocalBoxFuture;
use sqlx::{AssertSqlSafe, Executor};
use std::sync::Arc;
use std::time::Duration;

/// The database that clones are made from.
const SOURCE: &str = "pgharness_source";
/// Sessions that ended have so long to leave the server.
const LEAVING: Duration = Duration::from_secs(10);

pub(super) type Restore = Arc<dyn Fn(Access) -> LocalBoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// How a schedule's traces are removed before the next.
#[derive(Clone)]
pub(super) enum Reset {
    /// The database is a fresh clone.
    Clone,
    /// A function of the user's takes it back.
    Function(Restore),
}

/// The database between schedules.
pub(super) struct Ground {
    reset: Reset,
    database: String,
    replay: Replay,
}

impl Ground {
    /// Takes the ground: with clones the database becomes what they are made from.
    pub(super) async fn take(reset: Reset, database: &str, watch: &mut Watch) -> Result<Ground> {
        let mut replay = Replay::default();
        if let Reset::Clone = reset {
            leave(database, watch).await?;
            let rename = format!("alter database {} rename to {SOURCE}", quote_ident(database));
            watch.control().execute(AssertSqlSafe(rename)).await?;
            replay = Replay::read(watch.control(), SOURCE).await?;
        }
        Ok(Ground { reset, database: database.to_owned(), replay })
    }

    /// Whether every schedule has a database of its own.
    pub(super) fn is_cloned(&self) -> bool {
        matches!(self.reset, Reset::Clone)
    }

    /// Makes the database what it was at first.
    pub(super) async fn level(&self, access: Access, watch: &mut Watch) -> Result<()> {
        match &self.reset {
            Reset::Function(restore) => restore(access).await.map_err(|failure| {
                Error::new(ErrorKind::Fixture, "the reset function failed").with_source(failure)
            }),
            Reset::Clone => {
                leave(&self.database, watch).await?;
                let name = quote_ident(&self.database);
                let control = watch.control();
                control.execute(AssertSqlSafe(format!("drop database if exists {name}"))).await?;
                let clone = format!("create database {name} template {SOURCE} strategy file_copy");
                control.execute(AssertSqlSafe(clone)).await?;
                for sql in self.replay.sql(&self.database) {
                    control.execute(AssertSqlSafe(sql)).await?;
                }
                Ok(())
            }
        }
    }
}

/// Waits until nobody is in `database`: the server would otherwise wait for them in steps of 100 ms.
async fn leave(database: &str, watch: &mut Watch) -> Result<()> {
    let patience = Patience::new(format!("everybody to leave the database `{database}`"), LEAVING);
    loop {
        let inside: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where datname = $1")
            .bind(database)
            .fetch_one(watch.control())
            .await?;
        if inside == 0 {
            return Ok(());
        }
        patience.not_yet(&format!("{inside} sessions are in it")).await?;
    }
}
