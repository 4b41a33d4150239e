//! The built-in runner.

use super::foreign;
use super::history::{Entry, History};
use super::lock::MigrationLock;
use super::plan::Plan;
use super::source::{Migration, Migrations, Version};
use crate::error::{Error, Result};
use crate::postgres::{Installation, command_path};
use crate::script::{Purpose, Session};
use sqlx::postgres::PgConnectOptions;
use std::time::{Duration, Instant};

/// Applies migrations, each once, however many runners there are.
///
/// A migration runs in one transaction together with its row in the history; one that opts out has its statements
/// sent one by one, and its row written after the last. One session advisory lock keeps runners apart; it is given
/// back on every path, and the server frees it when the connection ends, which a dropped future brings about. A
/// migration begins with the session's settings as they were at the start: a `search_path` or a role that one
/// file sets does not reach the next.
///
/// A second run changes nothing, and takes no lock to find that out.
#[derive(Clone, Debug)]
pub struct Runner<'a> {
    migrations: &'a Migrations,
    history: History,
    lock_timeout: Duration,
    tools: Option<&'a Installation>,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// What this run applied, in order. What a [command](Migrations::command) applied is not known.
    pub applied: Vec<AppliedMigration>,
    /// How many were applied before, or by another runner meanwhile.
    pub already: usize,
}

/// A migration that a run applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedMigration {
    /// Its version.
    pub version: Version,
    /// The name of its file.
    pub name: String,
    /// How long it took.
    pub took: Duration,
}

impl<'a> Runner<'a> {
    /// A runner of `migrations` that keeps its history in `public.schema_migrations` and waits five minutes for
    /// another runner.
    pub fn new(migrations: &'a Migrations) -> Self {
        Runner {
            migrations,
            history: History::new("public.schema_migrations"),
            lock_timeout: Duration::from_secs(300),
            tools: None,
        }
    }

    /// Keeps the history in the table `schema.name`. A missing schema is created.
    #[must_use]
    pub fn with_history(mut self, table: &str) -> Self {
        self.history = History::new(table);
        self
    }

    /// Waits that long for another runner.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Has a [command](Migrations::command) find the client tools of this installation on its `PATH`.
    #[must_use]
    pub(crate) fn with_tools(mut self, installation: Option<&'a Installation>) -> Self {
        self.tools = installation;
        self
    }

    /// Applies what is pending, as the role that `options` name. A [command](Migrations::command) is run instead
    /// where that is the source.
    ///
    /// # Errors
    /// The server is not there; it has the history of another tool; files were edited, removed or slipped in
    /// before applied ones; another runner does not end; or a migration fails: then the error shows the place in
    /// the file, and those before it stay applied.
    pub async fn apply(&self, options: &PgConnectOptions) -> Result<Applied> {
        if let Some(command) = self.migrations.as_command() {
            command.run(Purpose::Migration, options, command_path(self.tools).await).await?;
            return Ok(Applied::default());
        }
        let mut session = self.connect(options).await?;
        let (_, plan) = self.survey(&mut session).await?;
        if plan.pending.is_empty() {
            session.close().await;
            return Ok(Applied { applied: Vec::new(), already: plan.already });
        }
        let lock = MigrationLock::take(&mut session, self.lock_timeout).await?;
        let outcome = self.apply_locked(&mut session, lock).await;
        if outcome.is_err() {
            session.roll_back().await;
        }
        let released = lock.release(&mut session).await;
        session.close().await;
        let applied = outcome?;
        released?;
        Ok(applied)
    }

    /// What [`apply`](Runner::apply) would apply, in order. Changes nothing, and takes no lock.
    ///
    /// # Errors
    /// As `apply`, before it applies anything; or the source is a [command](Migrations::command), which alone
    /// knows.
    pub async fn pending(&self, options: &PgConnectOptions) -> Result<Vec<&'a Migration>> {
        self.refuse_command()?;
        let mut session = self.connect(options).await?;
        let (_, plan) = self.survey(&mut session).await?;
        session.close().await;
        Ok(plan.pending)
    }

    /// What is applied, in the order in which it was; empty where nothing ever was.
    ///
    /// # Errors
    /// The server is not there, or has the history of another tool; or the source is a
    /// [command](Migrations::command), which keeps its own.
    pub async fn history(&self, options: &PgConnectOptions) -> Result<Vec<Entry>> {
        self.refuse_command()?;
        let mut session = self.connect(options).await?;
        let entries = match self.history.exists(&mut session).await? {
            true => self.history.read(&mut session).await?,
            false => Vec::new(),
        };
        session.close().await;
        Ok(entries)
    }

    fn refuse_command(&self) -> Result<()> {
        match self.migrations.as_command() {
            None => Ok(()),
            Some(command) => Err(Error::usage(format!(
                "`{}` keeps its own history: what is pending or applied is not known",
                command.line()
            ))),
        }
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<Session> {
        let mut session = Session::connect(options, "pgharness migrate").await?;
        session.take_back(self.history.lock_timeout()).await?;
        Ok(session)
    }

    /// Whether there is a history, and what is to be done.
    async fn survey(&self, session: &mut Session) -> Result<(bool, Plan<'a>)> {
        let exists = self.history.exists(session).await?;
        let entries = if exists { self.history.read(session).await? } else { Vec::new() };
        Ok((exists, Plan::new(self.migrations, &entries, session.database())?))
    }

    async fn apply_locked(&self, session: &mut Session, lock: MigrationLock) -> Result<Applied> {
        // Again, since what was pending before the wait may be applied now.
        let (exists, plan) = self.survey(session).await?;
        let mut applied = Applied { applied: Vec::new(), already: plan.already };
        if !exists {
            self.history.create(session).await?;
        }
        for migration in plan.pending {
            let outcome = if migration.transactional {
                self.apply_in_transaction(session, lock, migration).await
            } else {
                self.apply_apart(session, lock, migration).await
            };
            let took = outcome.map_err(foreign::advise)?;
            let (version, name) = (migration.version.clone(), migration.name().to_owned());
            applied.applied.push(AppliedMigration { version, name, took });
        }
        Ok(applied)
    }

    async fn apply_in_transaction(
        &self,
        session: &mut Session,
        lock: MigrationLock,
        migration: &Migration,
    ) -> Result<Duration> {
        let started = Instant::now();
        let transaction = session.load(&migration.script, Purpose::Migration).await?;
        let took = started.elapsed();
        // A role or a time-out that the file set must not decide whether the history can be written.
        session.take_back(self.history.lock_timeout()).await?;
        lock.check(session, migration.name()).await?;
        self.history.record(session, migration, took).await?;
        session.commit(transaction, &migration.script, Purpose::Migration).await?;
        Ok(took)
    }

    async fn apply_apart(
        &self,
        session: &mut Session,
        lock: MigrationLock,
        migration: &Migration,
    ) -> Result<Duration> {
        let started = Instant::now();
        session.run_apart(&migration.script, Purpose::Migration).await?;
        let took = started.elapsed();
        session.take_back(self.history.lock_timeout()).await?;
        // Recorded first: what was done is done, whatever has become of the lock.
        self.history.record(session, migration, took).await?;
        lock.check(session, migration.name()).await?;
        Ok(took)
    }
}
