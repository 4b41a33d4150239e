//! What the statements of a migration do to tables that are in use: locks, rewrites, scans, as the server has them.

use crate::check::migrator::Migrator;
use crate::database::TestDb;
use crate::error::Result;
use crate::migration::Migration;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// Who is kept from a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeptOut {
    /// Who writes.
    Writers,
    /// Who reads, too.
    Readers,
}

/// What one statement does.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) sql: String,
    /// The tables that somebody is kept from when it is done, until the transaction ends: whom, and by which lock.
    pub(super) held: BTreeMap<String, (KeptOut, String)>,
    /// The tables that it wrote anew.
    pub(super) rewritten: BTreeSet<String>,
    /// The tables that it read from one end to the other.
    pub(super) scanned: BTreeSet<String>,
    /// Whether a time limit for waiting for locks was set when it ran.
    pub(super) has_lock_timeout: bool,
}

/// What was seen of a migration.
#[derive(Debug, Default)]
pub(super) struct Observation {
    pub(super) statements: Vec<Observed>,
    /// How many statements could not be looked at: they refuse to run in a transaction, or come behind one that does.
    pub(super) unseen: usize,
}

/// The tables that were there before the migration: name and OID.
type Tables = Vec<(String, u32)>;

/// Who is kept from a table that is locked in a mode: told by trying, once for each.
type Tried = BTreeMap<(u32, String), Option<KeptOut>>;

/// What the session that runs a migration sees behind one of its statements.
struct Look {
    is_in_transaction: bool,
    has_lock_timeout: bool,
    /// Where the rows of each table lie; none where it is gone, or has no rows of its own.
    files: Vec<Option<i64>>,
    /// How often each table was read from one end to the other in this transaction.
    scans: Vec<Option<i64>>,
}

/// Runs the statements of `migration` in one transaction of `db`, looks at each, and undoes them.
///
/// # Errors
/// The server is lost.
pub(super) async fn observe(db: &TestDb, migrator: &Migrator, migration: &Migration) -> Result<Observation> {
    let mut session = migrator.session(db).await?;
    let mut witness = db.connection().await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut session).await?;
    let tables = tables(&mut witness).await?;
    session.execute("begin").await?;
    let mut before = look(&mut session, &tables).await?;
    let statements = migration.script.statements();
    let (mut observation, mut tried) = (Observation::default(), Tried::new());
    for (number, statement) in statements.iter().enumerate() {
        let ran = session.execute(AssertSqlSafe(statement.text)).await.is_ok();
        let now = if ran { Some(look(&mut session, &tables).await?) } else { None };
        let Some(now) = now.filter(|now| now.is_in_transaction) else {
            observation.unseen = statements.len() - number;
            break;
        };
        observation.statements.push(Observed {
            sql: statement.text.to_owned(),
            held: held(&mut witness, pid, &tables, &mut tried).await?,
            rewritten: differing(&tables, &before.files, &now.files),
            scanned: differing(&tables, &before.scans, &now.scans),
            has_lock_timeout: now.has_lock_timeout,
        });
        before = now;
    }
    let _ = session.execute("rollback").await;
    let _ = session.close().await;
    let _ = witness.close().await;
    Ok(observation)
}

async fn tables(connection: &mut PgConnection) -> Result<Tables> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select format('%s.%s', n.nspname, c.relname), c.oid::bigint
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'm', 'p') and c.oid >= 16384 and n.nspname !~ '^pg_'",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|(name, oid)| Some((name, u32::try_from(oid).ok()?))).collect())
}

/// As one message of the simple protocol: only there do `now()` and `statement_timestamp()` agree outside of a transaction.
async fn look(session: &mut PgConnection, tables: &Tables) -> Result<Look> {
    let oids: Vec<String> = tables.iter().map(|(_, oid)| oid.to_string()).collect();
    let of_each = |function: &str| {
        format!(
            "array(select pg_catalog.{function}(t)::bigint
                   from unnest('{{{}}}'::oid[]) with ordinality u (t, place) order by place)",
            oids.join(",")
        )
    };
    let sql = format!(
        "select now() <> statement_timestamp(), current_setting('lock_timeout') <> '0', {}, {}",
        of_each("pg_relation_filenode"),
        of_each("pg_stat_get_xact_numscans")
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(session).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(Look {
        is_in_transaction: row.try_get(0)?,
        has_lock_timeout: row.try_get(1)?,
        files: row.try_get(2)?,
        scans: row.try_get(3)?,
    })
}

/// The tables of which two looks say different things; what is gone says nothing.
fn differing(tables: &Tables, before: &[Option<i64>], now: &[Option<i64>]) -> BTreeSet<String> {
    let pairs = before.iter().zip(now);
    tables
        .iter()
        .zip(pairs)
        .filter(|(_, (before, now))| now.is_some() && before != now)
        .map(|((name, _), _)| name.clone())
        .collect()
}

/// The tables from which the process `pid` really keeps others.
async fn held(
    witness: &mut PgConnection,
    pid: i32,
    tables: &Tables,
    tried: &mut Tried,
) -> Result<BTreeMap<String, (KeptOut, String)>> {
    let locks: Vec<(i64, String)> = sqlx::query_as(
        "select distinct on (relation) relation::bigint, mode
         from pg_catalog.pg_locks
         where pid = $1 and granted and locktype = 'relation'
           and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
         order by relation, array_position(
             array['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock'], mode)",
    )
    .bind(pid)
    .fetch_all(&mut *witness)
    .await?;
    let mut held = BTreeMap::new();
    for (name, oid) in tables {
        let Some((_, mode)) = locks.iter().find(|(locked, _)| *locked == i64::from(*oid)) else { continue };
        let key = (*oid, mode.clone());
        let who = match tried.get(&key) {
            Some(who) => *who,
            None => *tried.entry(key).or_insert(kept_out(witness, *oid).await?),
        };
        if let Some(who) = who {
            held.insert(name.clone(), (who, mode.clone()));
        }
    }
    Ok(held)
}

/// Whom a lock keeps from a table, by trying.
async fn kept_out(witness: &mut PgConnection, oid: u32) -> Result<Option<KeptOut>> {
    for (who, wanted) in [(KeptOut::Readers, "access share"), (KeptOut::Writers, "row exclusive")] {
        let sql = format!(
            "do $try$ begin execute format('lock table only %s in {wanted} mode nowait', {oid}::oid::regclass);
             end $try$"
        );
        match witness.execute(AssertSqlSafe(sql)).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(_)) => return Ok(Some(who)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
