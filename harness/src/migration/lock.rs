//! The lock that lets one runner at a time migrate a database.

use crate::error::{Error, ErrorKind, Result};
use crate::script::Session;
use crate::wait::Patience;
use sqlx::Row;
use std::time::Duration;

/// The key: `pgharnes` in ASCII. It does not depend on the database's name, since a clone is the same database;
/// the server keeps the locks of two databases apart by itself.
const KEY: i64 = 0x7067_6861_726e_6573;

/// The lock's rows in `pg_locks`, of this database.
const IN_PG_LOCKS: &str = "l.locktype = 'advisory' and l.classid = 1885825121 and l.objid = 1919837555 \
    and l.objsubid = 1 and l.granted \
    and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())";

/// The session that holds the lock, by the server's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MigrationLock {
    backend: i32,
}

impl MigrationLock {
    /// Takes the lock, by asking again and again. A wait within the server would hold a snapshot, for which the
    /// `CREATE INDEX CONCURRENTLY` of the holder waits in turn: a deadlock.
    ///
    /// # Errors
    /// Somebody else still holds it after `timeout`; the error says who.
    pub(super) async fn take(session: &mut Session, timeout: Duration) -> Result<MigrationLock> {
        let database = session.database().to_owned();
        let ask = format!("select pg_catalog.pg_try_advisory_lock({KEY}), pg_catalog.pg_backend_pid()");
        let patience = Patience::new("the migration lock", timeout);
        loop {
            let row = session.row(&ask).await?;
            if row.try_get::<bool, _>(0)? {
                return Ok(MigrationLock { backend: row.try_get(1)? });
            }
            let who = holder(session).await?;
            if patience.not_yet(&who).await.is_err() {
                let message =
                    format!("another runner migrates database `{database}` for more than {timeout:?}: {who}");
                return Err(Error::new(ErrorKind::Migration, message)
                    .with_help("wait for it, or end it (`select pg_terminate_backend(pid)`) if it hangs"));
            }
        }
    }

    /// Makes sure that the lock is still held, and by this session.
    ///
    /// # Errors
    /// A script gave it up, or a pooler handed us the session of somebody else.
    pub(super) async fn check(self, session: &mut Session, file: &str) -> Result<()> {
        let held = format!(
            "select pg_catalog.pg_backend_pid(), exists (select from pg_catalog.pg_locks l \
             where {IN_PG_LOCKS} and l.pid = pg_catalog.pg_backend_pid())"
        );
        let row = session.row(&held).await?;
        let (backend, held): (i32, bool) = (row.try_get(0)?, row.try_get(1)?);
        if backend != self.backend {
            return Err(self.pooled(session));
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
    pub(super) async fn release(self, session: &mut Session) -> Result<()> {
        let row = session.row(&format!("select pg_catalog.pg_advisory_unlock({KEY})")).await?;
        if row.try_get(0)? { Ok(()) } else { Err(self.pooled(session)) }
    }

    fn pooled(self, session: &Session) -> Error {
        let database = session.database();
        let message = format!(
            "the session that holds the migration lock of database `{database}` is not ours any more"
        );
        Error::new(ErrorKind::Migration, message)
            .with_help("a pooler in transaction mode stands between: connect to the server itself to migrate")
    }
}

/// Who holds the lock, in words.
async fn holder(session: &mut Session) -> Result<String> {
    // Each connection of a runner is new: since when it is connected is since when it migrates or waits.
    let who = format!(
        "select coalesce(string_agg(format('pid %s (`%s`), connected since %s', l.pid, a.application_name, \
           coalesce(to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"'), 'unknown')), ', '), \
           'nobody any more') \
         from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a using (pid) where {IN_PG_LOCKS}"
    );
    Ok(session.row(&who).await?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_pg_locks() {
        let (high, low) = ((KEY >> 32) as u32, (KEY & 0xffff_ffff) as u32);
        assert!(IN_PG_LOCKS.contains(&format!("classid = {high} ")), "{high}");
        assert!(IN_PG_LOCKS.contains(&format!("objid = {low} ")), "{low}");
    }
}
