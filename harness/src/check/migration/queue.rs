//! The queue behind a migration that waits for its lock behind a long query.

use crate::check::migrator::Migrator;
use crate::database::TestDb;
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::migration::Migration;
use crate::wait::Patience;
use futures_util::future::join;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a migration waits that is given a limit.
pub(super) const LIMIT: &str = "50ms";

/// How long to look out for somebody who begins to wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of somebody who reads a table behind a migration that waits for somebody else who reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Queue {
    /// How long the reader behind waited: until the one in front was gone, which was as soon as the queue was seen.
    pub(super) waited: Duration,
    /// Given [`LIMIT`], the migration gave up, and the reader behind came through while the one in front still read.
    pub(super) does_limit_help: bool,
}

/// Runs `migration` up to its statement `place` while somebody reads `table`, and has somebody else come to read; all is
/// undone. Nothing where the statement does not wait.
///
/// # Errors
/// The server is lost, or a statement before that one fails.
pub(super) async fn queue(
    db: &TestDb,
    migrator: &Migrator,
    migration: &Migration,
    place: usize,
    table: &str,
) -> Result<Option<Queue>> {
    let statements: Vec<&str> = migration.script.statements().iter().map(|one| one.text).collect();
    let (before, statement) = statements.split_at(place);
    let Some(statement) = statement.first() else { return Ok(None) };
    let read = format!("select from only {} limit 0", QualifiedName::parse(table).sql());
    let scene = Scene::set(db, migrator, before, &read).await?;
    let Some(waited) = scene.play(statement, &read, true).await? else { return Ok(None) };
    let mut scene = Scene::set(db, migrator, before, &read).await?;
    let limit = format!("set local lock_timeout = '{LIMIT}'");
    scene.migration.execute(AssertSqlSafe(limit)).await?;
    let does_limit_help = scene.play(statement, &read, false).await?.is_some();
    Ok(Some(Queue { waited, does_limit_help }))
}

/// The sessions of a queue.
struct Scene {
    in_front: PgConnection,
    migration: PgConnection,
    behind: PgConnection,
    witness: PgConnection,
}

impl Scene {
    /// Somebody has read and not gone, and the migration comes to the statement that waits.
    async fn set(db: &TestDb, migrator: &Migrator, before: &[&str], read: &str) -> Result<Scene> {
        let mut in_front = db.connection().await?;
        in_front.execute("begin").await?;
        in_front.execute(AssertSqlSafe(read)).await?;
        let mut migration = migrator.session(db).await?;
        migration.execute("begin").await?;
        for statement in before {
            migration.execute(AssertSqlSafe(*statement)).await?;
        }
        let mut behind = db.connection().await?;
        let patience = format!("set statement_timeout = {}", PATIENCE.as_millis());
        behind.execute(AssertSqlSafe(patience)).await?;
        Ok(Scene { in_front, migration, behind, witness: db.connection().await? })
    }

    /// How long who comes to read behind the waiting migration waits until it has read, if it does. Who is in front
    /// stays to the end, or `leaves` as soon as the other waits.
    async fn play(self, statement: &str, read: &str, leaves: bool) -> Result<Option<Duration>> {
        let Scene { mut in_front, mut migration, mut behind, mut witness } = self;
        let first = pid(&mut in_front).await?;
        let second = pid(&mut migration).await?;
        let third = pid(&mut behind).await?;
        let is_through = AtomicBool::new(false);
        let migrating = async {
            let _ = migration.execute(AssertSqlSafe(statement)).await;
            is_through.store(true, Ordering::Relaxed);
            let _ = migration.execute("rollback").await;
        };
        // Who is in front goes at the end of this, however it ends.
        let is_through = &is_through;
        let reading = async move {
            if !waits(&mut witness, second, first, is_through).await? {
                return Ok(None);
            }
            let started = Instant::now();
            let leaving = async {
                if leaves {
                    waits(&mut witness, third, second, is_through).await?;
                    in_front.execute("rollback").await?;
                }
                Ok::<_, Error>(())
            };
            let (has_read, left) = join(behind.execute(AssertSqlSafe(read)), leaving).await;
            left?;
            Ok(has_read.is_ok().then(|| started.elapsed()))
        };
        join(migrating, reading).await.1
    }
}

async fn pid(session: &mut PgConnection) -> Result<i32> {
    Ok(sqlx::query_scalar("select pg_backend_pid()").fetch_one(session).await?)
}

/// Whether the process `who` comes to wait for `whom`, before the migration is through.
async fn waits(witness: &mut PgConnection, who: i32, whom: i32, is_through: &AtomicBool) -> Result<bool> {
    let patience = Patience::new("a session to wait for a lock", PATIENCE);
    loop {
        let waits: bool = sqlx::query_scalar("select $2 = any (pg_blocking_pids($1))")
            .bind(who)
            .bind(whom)
            .fetch_one(&mut *witness)
            .await?;
        if waits || is_through.load(Ordering::Relaxed) {
            return Ok(waits);
        }
        patience.not_yet("it waits for nobody").await?;
    }
}
