//! The built-in runner.

use super::foreign;
use super::history::{Entry, History, Located};
use super::lock::MigrationLock;
use super::plan::Plan;
use super::source::Migrations;
use super::step::{Delivery, Migration, Version};
use super::took::{Took, mark};
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::postgres::{Installation, command_path};
use crate::script::{Chain, Closing, Frame, Outcome, Purpose, Session, Uncommitted};
use crate::server::explain;
use sqlx::postgres::PgConnectOptions;
use std::time::{Duration, Instant};

/// The SQLSTATE of a statement that refuses to run in a transaction.
const IN_A_TRANSACTION: &str = "25001";

/// Applies migrations, each once, however many runners there are.
///
/// A migration runs in one transaction together with its row in the history; how one that opts out is sent is its
/// format's [`Delivery`](super::Delivery). Several that only define things may come in one message: each is committed
/// before the next one begins. The history is the one that the format's own tool keeps, so that either
/// goes on where the other stopped. A session advisory lock keeps runners apart, and that of the format's own tool,
/// where it has one, keeps it and the runner apart; both are given back on every path, and the server frees them when
/// the connection ends, which a dropped future brings about. A migration begins with
/// the session's settings as they were at the start: a `search_path` or a role that one file sets does not reach
/// the next.
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
    /// A runner of `migrations` that keeps its history where the format's own tool does (in
    /// `public.schema_migrations` where there is none), and waits five minutes for another runner.
    pub fn new(migrations: &'a Migrations) -> Self {
        Runner {
            migrations,
            history: History::of(migrations),
            lock_timeout: Duration::from_secs(300),
            tools: None,
        }
    }

    /// Keeps the history in the table `schema.name`, in the same form. A missing schema is created.
    #[must_use]
    pub fn with_history(mut self, table: &str) -> Self {
        self.history = self.history.with_table(table);
        self
    }

    /// Whether the history is kept in `table`; of a [command](Migrations::command), whether it may be.
    pub fn keeps_history_in(&self, table: &QualifiedName) -> bool {
        match self.migrations.as_command() {
            Some(_) => foreign::tables().any(|name| name == table.name),
            None => self.history.fits(table),
        }
    }

    /// Waits that long for another runner.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Has a [command](Migrations::command) find the client tools of this installation on its `PATH`, and errors tell
    /// which extension of it has what is missing.
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
            let ran = command.run(Purpose::Migration, options, command_path(self.tools).await).await;
            return match ran {
                Ok(()) => Ok(Applied::default()),
                Err(error) => Err(explain(error, options, self.tools).await),
            };
        }
        let mut session = self.connect(options).await?;
        let (located, plan) = self.survey(&mut session).await?;
        if plan.pending.is_empty() {
            session.close().await;
            return Ok(Applied { applied: Vec::new(), already: plan.already });
        }
        let of_tool = |database: &str| self.history.locks(database, &located.table);
        let lock = MigrationLock::take(&mut session, of_tool, self.lock_timeout).await?;
        let outcome = self.apply_locked(&mut session, &lock).await;
        if outcome.is_err() {
            session.roll_back().await;
        }
        let released = lock.release(&mut session).await;
        session.close().await;
        let applied = match outcome {
            Ok(applied) => applied,
            Err(error) => return Err(explain(error, options, self.tools).await),
        };
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
        let located = self.history.locate(&mut session).await?;
        let entries = self.history.read(&mut session, &located, self.migrations).await?;
        session.close().await;
        Ok(entries)
    }

    /// Creates the table of the history where there is none, and applies nothing: for checks that run the files
    /// themselves, since a file may speak of that table.
    ///
    /// # Errors
    /// As `apply`, before it applies anything.
    #[cfg(feature = "checks")]
    pub(crate) async fn create_history(&self, options: &PgConnectOptions) -> Result<()> {
        self.refuse_command()?;
        let mut session = self.connect(options).await?;
        let located = self.history.locate(&mut session).await?;
        if !located.exists {
            self.history.create(&mut session, &located.table).await?;
        }
        session.close().await;
        Ok(())
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

    /// Where the history is, and what is to be done.
    async fn survey(&self, session: &mut Session) -> Result<(Located, Plan<'a>)> {
        let located = self.history.locate(session).await?;
        let entries = self.history.read(session, &located, self.migrations).await?;
        let plan = Plan::new(self.migrations, &entries, session.database())?;
        Ok((located, plan))
    }

    async fn apply_locked(&self, session: &mut Session, lock: &MigrationLock) -> Result<Applied> {
        // Again, since what was pending before the wait may be applied now.
        let (located, plan) = self.survey(session).await?;
        let mut applied = Applied { applied: Vec::new(), already: plan.already };
        if !located.exists {
            self.history.create(session, &located.table).await?;
        }
        let mut pending = plan.pending.as_slice();
        while !pending.is_empty() {
            let mut took = self.apply_chain(session, lock, &located.table, pending).await?;
            if took.is_empty() {
                let outcome = self.apply_one(session, lock, &located.table, pending[0]).await;
                took.push(outcome.map_err(|error| self.advise(error, pending[0]))?);
            }
            let (done, rest) = pending.split_at(took.len());
            applied.applied.extend(done.iter().zip(took).map(|(migration, took)| {
                let (version, name) = (migration.version.clone(), migration.name().to_owned());
                AppliedMigration { version, name, took }
            }));
            pending = rest;
        }
        Ok(applied)
    }

    /// The first of `pending` that can go as one message.
    fn chain(&self, table: &QualifiedName, pending: &[&'a Migration]) -> Chain<'a> {
        let mut chain = Chain::default();
        let _ = pending.iter().all(|migration| {
            migration.delivery == Delivery::Transaction
                && !self.history.says_beginnings(table, migration)
                && chain.takes(&migration.script, Purpose::Migration)
        });
        chain
    }

    /// Applies the first of `pending` as one message, as many as the server takes. Hands out how long each took.
    async fn apply_chain(
        &self,
        session: &mut Session,
        lock: &MigrationLock,
        table: &QualifiedName,
        pending: &[&'a Migration],
    ) -> Result<Vec<Duration>> {
        let chain = self.chain(table, pending);
        if chain.len() < 2 {
            return Ok(Vec::new());
        }
        let record = |migration: &&Migration| self.history.record(table, migration, Took::SinceMark);
        let lasts: Vec<String> = pending[..chain.len()].iter().map(record).collect();
        let (condition, lock_timeout) = (&lock.is_held(), self.history.lock_timeout());
        let frame = Frame { condition, mark: &mark(), lasts: &lasts, lock_timeout };
        let Outcome { took, stopped } = session.apply_chain(chain, Purpose::Migration, frame).await;
        match stopped {
            None => Ok(took),
            Some(uncommitted) => {
                let migration = pending[took.len()];
                let error = self.uncommitted(uncommitted, session, lock, table, migration).await;
                Err(self.advise(error, migration))
            }
        }
    }

    async fn apply_one(
        &self,
        session: &mut Session,
        lock: &MigrationLock,
        table: &QualifiedName,
        migration: &Migration,
    ) -> Result<Duration> {
        let (script, purpose) = (&migration.script, Purpose::Migration);
        self.history.begin(session, table, migration).await?;
        let started = Instant::now();
        match migration.delivery {
            Delivery::Transaction => {
                self.apply_in_transaction(session, lock, table, migration).await?;
                return Ok(started.elapsed());
            }
            Delivery::Statements => session.run_apart(script, purpose).await?,
            Delivery::Message => session.run_whole(script, purpose).await?,
        }
        let took = started.elapsed();
        let record = self.history.record(table, migration, Took::Known(took));
        // A role or a time-out that the file set must not decide whether the history can be written.
        session.take_back(self.history.lock_timeout()).await?;
        // Recorded first: what was done is done, whatever has become of the lock.
        self.history.write(session, table, migration, &record).await?;
        lock.check(session, migration.name()).await?;
        Ok(took)
    }

    /// Applies and records a migration in one transaction, which is committed if the lock is still held.
    async fn apply_in_transaction(
        &self,
        session: &mut Session,
        lock: &MigrationLock,
        table: &QualifiedName,
        migration: &Migration,
    ) -> Result<()> {
        let record = self.history.record(table, migration, Took::SinceBegin);
        let (condition, lock_timeout) = (&lock.is_held(), self.history.lock_timeout());
        let closing = Closing { condition, last: &record, lock_timeout };
        match session.apply(&migration.script, Purpose::Migration, closing).await {
            Ok(()) => Ok(()),
            Err(uncommitted) => Err(self.uncommitted(uncommitted, session, lock, table, migration).await),
        }
    }

    /// Why a migration was not committed.
    async fn uncommitted(
        &self,
        uncommitted: Uncommitted,
        session: &mut Session,
        lock: &MigrationLock,
        table: &QualifiedName,
        migration: &Migration,
    ) -> Error {
        match uncommitted {
            Uncommitted::Last(error) => self.history.not_written(error, session, table, migration).await,
            Uncommitted::Moved(error) => {
                session.roll_back().await;
                // Where the lock is not to blame, the transaction is.
                lock.check(session, migration.name()).await.err().unwrap_or(error)
            }
            Uncommitted::Script(error) | Uncommitted::Refused(error) => error,
        }
    }

    /// Adds what the project's own tool has for such a failure.
    fn advise(&self, error: Error, migration: &Migration) -> Error {
        let is_sent_whole = migration.delivery != Delivery::Statements;
        if is_sent_whole && error.sqlstate().is_some_and(|code| code == IN_A_TRANSACTION) {
            return error.with_help(self.migrations.format().unwrap_or_default().outside_a_transaction());
        }
        foreign::advise(error)
    }
}
