//! The lock that lets one runner at a time migrate a database.

use crate::error::{Error, ErrorKind, Result};
use crate::script::Session;
use crate::wait::Patience;
use sqlx::Row;
use std::time::Duration;

/// The key: `pgharnes` in ASCII. It does not depend on the database's name, since a clone is the same database;
/// the server keeps the locks of two databases apart by itself.
const KEY: i64 = 0x7067_6861_726e_6573;

/// The session that holds the lock, by the server's process, and all that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MigrationLock {
    backend: i32,
    keys: Vec<i64>,
}

impl MigrationLock {
    /// Takes the lock, and then those that the format's own tool takes: `of_tool` tells their keys in the database of
    /// that name. All of it by asking again and again. A wait within the server would hold a snapshot, for which the
    /// `CREATE INDEX CONCURRENTLY` of the holder waits in turn: a deadlock.
    ///
    /// # Errors
    /// Somebody else still holds one after `timeout`; the error says who.
    pub(super) async fn take(
        session: &mut Session,
        of_tool: impl FnOnce(&str) -> Vec<i64>,
        timeout: Duration,
    ) -> Result<MigrationLock> {
        // The server's own name for it: a pooler may have another.
        let row =
            session.row("select pg_catalog.pg_backend_pid(), pg_catalog.current_database()::text").await?;
        let (backend, name): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        let patience = Patience::new("the migration lock", timeout);
        let mut lock = MigrationLock { backend, keys: Vec::new() };
        // Ours twice, so that it stays held while `is_held` gives it back and takes it again.
        for key in [KEY, KEY].into_iter().chain(of_tool(&name)) {
            if let Err(error) = take_one(session, key, &patience, timeout).await {
                let _ = lock.release(session).await;
                return Err(error);
            }
            lock.keys.push(key);
        }
        Ok(lock)
    }

    /// The condition that the lock is still held, and by this session. It looks at no `pg_locks`, which would be most
    /// of what a small migration costs: the server copies all its locks to show one.
    pub(super) fn is_held(&self) -> String {
        format!(
            "pg_catalog.pg_backend_pid() = {} and case when pg_catalog.pg_advisory_unlock({KEY}) \
               then pg_catalog.pg_try_advisory_lock({KEY}) else false end",
            self.backend
        )
    }

    /// Makes sure that the lock is still held, and by this session.
    ///
    /// # Errors
    /// A script gave it up, or a pooler handed us the session of somebody else.
    pub(super) async fn check(&self, session: &mut Session, file: &str) -> Result<()> {
        let row = session.row(&format!("select pg_catalog.pg_backend_pid(), {}", held())).await?;
        let (backend, held): (i32, bool) = (row.try_get(0)?, row.try_get(1)?);
        if backend != self.backend {
            return Err(pooled(session));
        }
        if held {
            return Ok(());
        }
        let message = format!("migration `{file}` gave up the lock of the runner");
        Err(Error::new(ErrorKind::Migration, message)
            .with_help("take `pg_advisory_unlock_all()` or `DISCARD ALL` out of it"))
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// This session does not hold it.
    pub(super) async fn release(&self, session: &mut Session) -> Result<()> {
        let keys = self.keys.iter().rev().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let release = format!(
            "select coalesce(bool_and(pg_catalog.pg_advisory_unlock(key)), true) from unnest(array[{keys}]::bigint[]) key"
        );
        if session.row(&release).await?.try_get(0)? { Ok(()) } else { Err(pooled(session)) }
    }
}

/// Takes the lock `key`.
async fn take_one(session: &mut Session, key: i64, patience: &Patience, timeout: Duration) -> Result<()> {
    let ask = format!("select pg_catalog.pg_try_advisory_lock({key})");
    loop {
        if session.row(&ask).await?.try_get::<bool, _>(0)? {
            return Ok(());
        }
        let who = holder(session, key).await?;
        if patience.not_yet(&who).await.is_err() {
            let database = session.database();
            let message =
                format!("another runner migrates database `{database}` for more than {timeout:?}: {who}");
            return Err(Error::new(ErrorKind::Migration, message)
                .with_help("wait for it, or end it (`select pg_terminate_backend(pid)`) if it hangs"));
        }
    }
}

fn pooled(session: &Session) -> Error {
    let database = session.database();
    let message =
        format!("the session that holds the migration lock of database `{database}` is not ours any more");
    Error::new(ErrorKind::Migration, message)
        .with_help("a pooler in transaction mode stands between: connect to the server itself to migrate")
}

/// The condition by which the rows of `pg_locks`, called `l`, are those of the lock `key`, in whatever database.
fn in_pg_locks(key: i64) -> String {
    let (high, low) = (key.cast_unsigned() >> 32, key.cast_unsigned() & 0xffff_ffff);
    format!(
        "l.locktype = 'advisory' and l.classid = {high} and l.objid = {low} and l.objsubid = 1 and l.granted"
    )
}

/// The condition that this session holds our lock. It is one of this database then.
fn held() -> String {
    let ours = in_pg_locks(KEY);
    format!("exists (select from pg_catalog.pg_locks l where l.pid = pg_catalog.pg_backend_pid() and {ours})")
}

/// Who holds the lock `key`, in words.
async fn holder(session: &mut Session, key: i64) -> Result<String> {
    // Each connection of a runner is new: since when it is connected is since when it migrates or waits.
    let who = format!(
        "select coalesce(string_agg(format('pid %s (`%s`), connected since %s', l.pid, a.application_name, \
           coalesce(to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"'), 'unknown')), ', '), \
           'nobody any more') \
         from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a using (pid) where {} and l.database = \
           (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())",
        in_pg_locks(key)
    );
    Ok(session.row(&who).await?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_pg_locks() {
        assert!(in_pg_locks(KEY).contains("l.classid = 1885825121 and l.objid = 1919837555 "));
        assert!(in_pg_locks(-2).contains("l.classid = 4294967295 and l.objid = 4294967294 "));
    }
}
