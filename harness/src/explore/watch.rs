//! Who waits for whom in the server, and freezing those who wait.

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::{Signal, is_stopped, send};
use crate::wait::Patience;
use sqlx::PgConnection;
use std::collections::BTreeSet;
use std::time::Duration;

/// A look that takes so long is one that a frozen process may be in the way of.
const LOOK: Duration = Duration::from_millis(100);
/// The same after several in vain: the machine may just be slow.
const LONG_LOOK: Duration = Duration::from_secs(5);

const WAITS: &str = "select pg_blocking_pids(pid) || pg_safe_snapshot_blocking_pids(pid) \
                     from unnest($1::int4[]) with ordinality as asked (pid, place) order by place";

/// A line of what each session is at.
const ACTIVITY: &str = "
    select coalesce(string_agg(
        concat_ws(' ', backend_type, pid, state, wait_event_type, wait_event, pg_blocking_pids(pid)::text), '; ' order by pid
    ), 'nobody is there')
    from pg_stat_activity where state is not null or backend_type like 'autovacuum worker'";

/// What a session holds, for as long as its transaction.
const HELD: &str = "
    with held as materialized (
        select locktype, relation::int8 from pg_locks where pid = $1 and mode <> 'SIReadLock')
    select coalesce((select backend_xmin is not null from pg_stat_get_activity($1)), true),
           array(select distinct relation from held where locktype = 'relation' order by 1),
           exists(select from held where locktype not in ('relation', 'virtualxid', 'transactionid', 'tuple'))";

/// What the server says that a session holds.
#[derive(Debug)]
pub(super) struct Held {
    /// It goes on to see what it saw, whatever others commit.
    pub(super) has_snapshot: bool,
    /// Relations that it has locked, by their numbers.
    pub(super) relations: Vec<i64>,
    /// Locks of anything else, but transactions and their rows.
    pub(super) has_others: bool,
}

/// Looks on from a session of its own, which never waits for a lock of a table.
#[derive(Debug)]
pub(super) struct Watch {
    control: PgConnection,
    ice: Ice,
}

/// The processes that are stopped. Whatever happens to us, they go on: a SIGKILL of ours ends the private server with
/// all its processes, since its keeper uses SIGKILL too.
#[derive(Debug, Default)]
struct Ice(BTreeSet<i32>);

impl Drop for Ice {
    fn drop(&mut self) {
        for pid in &self.0 {
            // It may have been ended meanwhile.
            let _ = send(*pid, Signal::CONT);
        }
    }
}

impl Watch {
    pub(super) fn new(control: PgConnection) -> Watch {
        Watch { control, ice: Ice::default() }
    }

    /// The session that looks on.
    pub(super) fn control(&mut self) -> &mut PgConnection {
        &mut self.control
    }

    /// For each of `pids` those that it waits for; a prepared transaction is 0.
    pub(super) async fn waits(&mut self, pids: &[i32]) -> Result<Vec<Vec<i32>>> {
        sqlx::query_scalar(WAITS)
            .bind(pids)
            .fetch_all(&mut self.control)
            .await
            .attempt(ErrorKind::Database, || "failed to look who waits for whom".into())
    }

    /// What all sessions are at, for an error; that it cannot be told tells something too.
    pub(super) async fn activity(&mut self) -> String {
        let asked = sqlx::query_scalar(ACTIVITY).fetch_one(&mut self.control);
        match tokio::time::timeout(LONG_LOOK, asked).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "nothing within five seconds".into(),
        }
    }

    /// What a session holds that is within a transaction and does nothing at the moment.
    pub(super) async fn held(&mut self, pid: i32) -> Result<Held> {
        let (has_snapshot, relations, has_others) = sqlx::query_as(HELD)
            .bind(pid)
            .fetch_one(&mut self.control)
            .await
            .attempt(ErrorKind::Database, || "failed to look what a session holds".into())?;
        Ok(Held { has_snapshot, relations, has_others })
    }

    /// Stops a process that waits for a lock, so that it goes on only when we say so. It may be about to look for a
    /// deadlock, with the whole table of locks locked: nobody would get past it then, so it is let go and stopped again.
    pub(super) async fn freeze(&mut self, pid: i32) -> Result<()> {
        for attempt in 0..20 {
            signal(pid, Signal::STOP, "stop")?;
            self.ice.0.insert(pid);
            // A processor that is busy elsewhere stops it later: a look before that would say nothing.
            let patience = Patience::new("a process of the server to stop", LONG_LOOK);
            while is_stopped(pid) == Some(false) {
                patience.not_yet("it runs").await?;
            }
            let patience = if attempt < 10 { LOOK } else { LONG_LOOK };
            let mut look = std::pin::pin!(self.control_look(pid));
            if let Ok(looked) = tokio::time::timeout(patience, look.as_mut()).await {
                return looked.map(drop);
            }
            // The look is under way: it comes to its end once the process goes on.
            signal(pid, Signal::CONT, "continue")?;
            look.await?;
        }
        Err(Error::server(format!("process {pid} cannot be stopped without locking out everybody")))
    }

    async fn control_look(&mut self, pid: i32) -> Result<Vec<Vec<i32>>> {
        self.waits(&[pid]).await
    }

    /// Lets a process go on.
    pub(super) fn thaw(&mut self, pid: i32) -> Result<()> {
        self.ice.0.remove(&pid);
        signal(pid, Signal::CONT, "continue")
    }

    /// Lets all go on.
    pub(super) fn thaw_all(&mut self) {
        drop(std::mem::take(&mut self.ice));
    }
}

fn signal(pid: i32, signal: Signal, what: &str) -> Result<()> {
    send(pid, signal).attempt(ErrorKind::Server, || format!("failed to {what} process {pid} of the server"))
}
