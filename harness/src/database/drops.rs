//! The databases of this process, and dropping those that are no longer in use. Nobody waits for it.

use super::work::Work;
use crate::error::Result;
use crate::ident::quote_ident;
use crate::server::Server;
use crate::wait::{self, Look};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// What this process has on its server.
#[derive(Default)]
pub(super) struct Drops {
    /// What it has to drop before it ends, and whether each exists for certain.
    owned: RefCell<BTreeMap<String, bool>>,
    pending: RefCell<VecDeque<String>>,
    asked: Notify,
}

impl Drops {
    /// A database of this name is about to be made.
    pub(super) fn announce(&self, name: &str) {
        self.owned.borrow_mut().insert(name.to_owned(), false);
    }

    /// The database is there.
    pub(super) fn own(&self, name: &str) {
        self.owned.borrow_mut().insert(name.to_owned(), true);
    }

    /// The database is not there, or no longer ours to drop.
    pub(super) fn disown(&self, name: &str) {
        self.owned.borrow_mut().remove(name);
    }

    /// All of them went with their server.
    pub(super) fn disown_all(&self) {
        self.pending.borrow_mut().clear();
        self.owned.borrow_mut().clear();
    }

    /// How many wait for being dropped.
    pub(super) fn pending(&self) -> usize {
        self.pending.borrow().len()
    }

    /// Has a database dropped.
    pub(super) fn drop_later(&self, name: String) {
        self.pending.borrow_mut().push_back(name);
        self.asked.notify_one();
    }

    /// Drops what is no longer in use, as long as the process lives.
    pub(super) async fn drop_forever(work: Rc<Work>) {
        let drops = &work.drops;
        let mut connection = None;
        while !work.ends.get() {
            let next = drops.pending.borrow().front().cloned();
            let Some(name) = next else {
                drops.asked.notified().await;
                continue;
            };
            if drop_next(&work, &mut connection, &name).await.is_err() {
                // The server went away, and the database with it or to the next sweep.
                connection = None;
            } else {
                drops.disown(&name);
                work.clear_shelf(&name);
            }
            drops.pending.borrow_mut().retain(|pending| *pending != name);
        }
    }

    /// Drops whatever is ours still, at the process's end, and closes the lease if nothing can be left. Nothing may be
    /// renamed meanwhile.
    pub(super) async fn finish(work: &Work) {
        let owned = work.drops.owned.take();
        let mut is_clean = owned.values().all(|exists| *exists);
        if !owned.is_empty() {
            let Ok(mut connection) = work.connect().await else { return };
            for name in owned.keys() {
                wait_for_sessions(&mut connection, name).await;
                match drop_whole(&work.server(), &mut connection, name).await {
                    Ok(()) => work.clear_shelf(name),
                    Err(_) => is_clean = false,
                }
            }
        }
        if is_clean {
            work.lease.close();
        }
    }
}

async fn drop_next(work: &Work, connection: &mut Option<PgConnection>, name: &str) -> Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(work.connect().await?),
    };
    wait_for_sessions(connection, name).await;
    drop_whole(&work.server(), connection, name).await
}

/// A forced drop or a rename waits 100 ms when it meets a session on its way out: this looks first, but not for long.
pub(super) async fn wait_for_sessions(connection: &mut PgConnection, name: &str) {
    let _ = wait::until_async("the sessions of a database to leave", Duration::from_millis(50), async || {
        let is_busy = has_sessions(connection, name).await?;
        Ok(if is_busy { Look::NotYet("busy".into()) } else { Look::Ready(()) })
    })
    .await;
}

/// Whether anybody is connected to a database.
pub(super) async fn has_sessions(connection: &mut PgConnection, name: &str) -> Result<bool> {
    Ok(sqlx::query_scalar("select exists (select from pg_stat_activity where datname = $1)")
        .bind(name)
        .fetch_one(connection)
        .await?)
}

/// Drops a database whatever was made of it: the server refuses that for one that is marked as a template, has
/// prepared transactions, or subscribes to something.
pub(super) async fn drop_whole(server: &Server, connection: &mut PgConnection, name: &str) -> Result<()> {
    let refused = match drop_database(connection, name).await {
        Err(error) => error,
        Ok(()) => return Ok(()),
    };
    match refused.sqlstate().as_deref() {
        Some("42809") => {
            let unmark = format!("alter database {} is_template false", quote_ident(name));
            connection.execute(AssertSqlSafe(unmark)).await?;
        }
        Some("55006") => end_obligations(server, name).await?,
        _ => return Err(refused),
    }
    drop_database(connection, name).await
}

/// Ends what keeps a database from being dropped and can only be ended within it.
async fn end_obligations(server: &Server, name: &str) -> Result<()> {
    let mut connection = server.connect(name).await?;
    let statements: Vec<String> = sqlx::query_scalar(
        "with ours as (select subname from pg_subscription s join pg_database d on d.oid = s.subdbid
                       where datname = current_database())
         select format('rollback prepared %L', gid) from pg_prepared_xacts where database = current_database()
         union all
         select format('alter subscription %I disable', subname) from ours
         union all
         select format('alter subscription %I set (slot_name = none)', subname) from ours
         union all
         select format('drop subscription %I', subname) from ours",
    )
    .fetch_all(&mut connection)
    .await?;
    for statement in statements {
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    connection.close().await?;
    Ok(())
}

/// Drops a database of ours, whoever is connected to it.
pub(super) async fn drop_database(connection: &mut PgConnection, name: &str) -> Result<()> {
    connection
        .execute(AssertSqlSafe(format!("drop database if exists {} with (force)", quote_ident(name))))
        .await?;
    Ok(())
}
