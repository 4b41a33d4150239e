//! Several migrators at once, each a process of its own, let loose together.

use crate::check::migrator::Migrator;
use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::process::Running;
use crate::script::last_lines;
use crate::wait::Patience;
use rustix::fs::{CWD, Mode, mkfifoat};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// How long all of them together may take.
const DEADLINE: Duration = Duration::from_secs(180);

/// How long to wait for all of them to have reached the first thing that one must wait for.
const GATHERING: Duration = Duration::from_secs(10);

/// How one of several migrators ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) is_success: bool,
    /// Its status, and its last lines where it failed.
    pub(super) said: String,
}

/// Has `count` migrators apply what is pending in `db` at the same time.
///
/// They wait at a gate until all are there. And for a while nobody can create a table: that holds the first of
/// them back until the others have come as far, so that no result depends on how busy the machine is.
///
/// # Errors
/// A process cannot be started, one does not end, or the server is lost.
pub(super) async fn let_loose(
    count: usize,
    db: &TestDb,
    migrator: &Migrator,
    program: &Path,
) -> Result<Vec<Ended>> {
    let what = || "failed to prepare a gate for processes".to_owned();
    let dir = tempfile::tempdir().attempt(ErrorKind::Environment, what)?;
    let gate = dir.path().join("gate");
    mkfifoat(CWD, &gate, Mode::RWXU).attempt(ErrorKind::Environment, what)?;
    let ready = |number: usize| dir.path().join(format!("ready-{number}"));

    let mut processes = Vec::new();
    for number in 0..count {
        let path = dir.path().join(format!("said-{number}"));
        let said = File::create(&path).attempt(ErrorKind::Environment, what)?;
        let process = migrator.process(db, program, &gate, &ready(number)).await.output(said).start()?;
        processes.push(Process { running: process, path, status: None });
    }
    let patience = Patience::new("processes to start", DEADLINE);
    while let Some(late) = (0..count).find(|number| !ready(*number).exists()) {
        patience.not_yet(&format!("process {late} has not begun")).await?;
    }

    let mut holder = db.connection().await?;
    holder.execute("begin").await?;
    holder.execute("lock table pg_catalog.pg_class in share mode").await?;
    // To read and to write, for that does not wait; who reads gets through as long as this is open.
    let open = File::options().read(true).write(true).open(&gate).attempt(ErrorKind::Environment, what)?;
    gather(&mut holder, &mut processes).await?;
    holder.execute("rollback").await?;
    let _ = holder.close().await;

    let patience = Patience::new("several migrators at once", DEADLINE);
    while look(&mut processes)? < count {
        patience.not_yet("some of them still run").await?;
    }
    drop(open);
    processes.into_iter().map(|process| process.ended(&db.options())).collect()
}

struct Process {
    running: Running,
    path: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    fn ended(self, options: &PgConnectOptions) -> Result<Ended> {
        let is_success = self.status.is_some_and(|status| status.success());
        let bytes = fs::read(&self.path)
            .attempt(ErrorKind::Environment, || format!("failed to read `{}`", self.path.display()))?;
        let status = self.status.map(|status| status.to_string()).unwrap_or_default();
        let said = format!("{status}{}", last_lines(&bytes, options));
        Ok(Ended { is_success, said })
    }
}

/// How many have ended.
fn look(processes: &mut [Process]) -> Result<usize> {
    for process in processes.iter_mut() {
        process.status = process.running.try_status()?;
    }
    Ok(processes.iter().filter(|process| process.status.is_some()).count())
}

/// Waits until every migrator is connected or has ended, and one of them waits for us. Whoever never gets there,
/// since it does something else first, is not waited for long.
async fn gather(holder: &mut PgConnection, processes: &mut [Process]) -> Result<()> {
    let patience = Patience::new("migrators to gather", GATHERING);
    loop {
        // Within a transaction the activity of others is otherwise what it was at the first look.
        holder.execute("select pg_catalog.pg_stat_clear_snapshot()").await?;
        let (connected, held): (i64, i64) = sqlx::query_as(
            "select count(*), count(*) filter (where wait_event_type = 'Lock')
             from pg_catalog.pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'",
        )
        .fetch_one(&mut *holder)
        .await?;
        let ended = look(processes)?;
        let here = usize::try_from(connected).unwrap_or(0) + ended;
        if ended == processes.len() || (here >= processes.len() && held > 0) {
            return Ok(());
        }
        if patience.not_yet("some are on their way").await.is_err() {
            return Ok(());
        }
    }
}
