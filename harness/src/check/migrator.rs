//! What applies the migrations of a project under check, and as whom.

use super::databases::absolute;
use super::project::Project;
use crate::database::TestDb;
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::migration::{Applied, Entry, Migrations, Runner};
use crate::postgres::command_path;
use crate::process::Program;
use crate::script::environment;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::path::{Path, PathBuf};

/// What applies the migrations of a project, and as whom.
#[derive(Debug)]
pub(super) struct Migrator {
    migrations: Migrations,
    history: Option<String>,
    role: Option<String>,
}

impl Migrator {
    /// # Errors
    /// The migrations cannot be read.
    pub(super) fn of(project: &Project) -> Result<Migrator> {
        let declared = &project.migrations;
        let migrations = match &declared.command {
            Some(line) => Migrations::command(line, absolute(&project.dir)?),
            None => Migrations::load(absolute(&declared.dir)?, declared.format.unwrap_or_default())?,
        };
        Ok(Migrator { migrations, history: declared.history.clone(), role: declared.migrator_role.clone() })
    }

    /// The same with the first `count` migrations only.
    pub(super) fn first(&self, count: usize) -> Migrator {
        Migrator {
            migrations: self.migrations.first(count),
            history: self.history.clone(),
            role: self.role.clone(),
        }
    }

    pub(super) fn migrations(&self) -> &Migrations {
        &self.migrations
    }

    fn runner(&self) -> Runner<'_> {
        let runner = Runner::new(&self.migrations);
        match &self.history {
            Some(table) => runner.with_history(table),
            None => runner,
        }
    }

    /// The way to `db` as who applies them.
    pub(super) fn options(&self, db: &TestDb) -> PgConnectOptions {
        match &self.role {
            Some(role) => db.options_as(role),
            None => db.options(),
        }
    }

    /// How many migrations would be applied.
    ///
    /// # Errors
    /// As [`Runner::pending`].
    pub(super) async fn pending(&self, db: &TestDb) -> Result<usize> {
        self.pending_by(&self.options(db)).await
    }

    /// As [`pending`](Migrator::pending), in the database that `options` lead to.
    ///
    /// # Errors
    /// As [`Runner::pending`].
    pub(super) async fn pending_by(&self, options: &PgConnectOptions) -> Result<usize> {
        Ok(self.runner().pending(options).await?.len())
    }

    /// What is applied in the database that `options` lead to.
    ///
    /// # Errors
    /// As [`Runner::history`].
    pub(super) async fn history_by(&self, options: &PgConnectOptions) -> Result<Vec<Entry>> {
        self.runner().history(options).await
    }

    /// A session as its role, for statements of the migrations outside of a run.
    ///
    /// # Errors
    /// There is no server.
    pub(super) async fn session(&self, db: &TestDb) -> Result<PgConnection> {
        Ok(self.options(db).statement_cache_capacity(0).disable_statement_logging().connect().await?)
    }

    /// Creates the table of the history, and applies nothing.
    ///
    /// # Errors
    /// There is no server, or the history is that of a command.
    pub(super) async fn create_history(&self, db: &TestDb) -> Result<()> {
        self.runner().create_history(&self.options(db)).await
    }

    /// Applies what is pending.
    ///
    /// # Errors
    /// As [`Runner::apply`].
    pub(super) async fn apply(&self, db: &TestDb) -> Result<Applied> {
        self.apply_by(&self.options(db), db).await
    }

    /// Applies what is pending in the database that `options` lead to, which is on the server of `db`.
    ///
    /// # Errors
    /// As [`Runner::apply`].
    pub(super) async fn apply_by(&self, options: &PgConnectOptions, db: &TestDb) -> Result<Applied> {
        self.runner().with_tools(db.server().installation()).apply(options).await
    }

    /// The role that applies them, where one is declared.
    pub(super) fn declared_role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// Applies what is pending of files, in the database that `options` lead to.
    ///
    /// # Errors
    /// As [`Runner::apply`].
    pub(super) async fn apply_files(&self, options: &PgConnectOptions) -> Result<Applied> {
        self.runner().apply(options).await
    }

    /// A program that applies what is pending by the command `line`, where `options` lead, with the tools at `path`.
    pub(super) fn command_at(
        &self,
        line: &str,
        options: &PgConnectOptions,
        path: Option<std::ffi::OsString>,
    ) -> Program {
        let program = Program::shell(line).current_dir(self.migrations.dir());
        environment(options, path)
            .into_iter()
            .fold(program, |program, (name, value)| program.env(name, value))
    }

    /// The names of the applied files, in order; nothing of a command.
    ///
    /// # Errors
    /// As [`Runner::history`].
    pub(super) async fn applied(&self, db: &TestDb) -> Result<Vec<String>> {
        self.applied_by(&self.options(db)).await
    }

    /// As [`applied`](Migrator::applied), in the database that `options` lead to.
    ///
    /// # Errors
    /// As [`Runner::history`].
    pub(super) async fn applied_by(&self, options: &PgConnectOptions) -> Result<Vec<String>> {
        if self.migrations.command_line().is_some() {
            return Ok(Vec::new());
        }
        let history = self.history_by(options).await?;
        Ok(history.into_iter().map(|entry| entry.name).collect())
    }

    /// What the history has where `options` lead instead of each file once; a command's is its own affair.
    ///
    /// # Errors
    /// As [`Runner::history`].
    pub(super) async fn applied_otherwise(&self, options: &PgConnectOptions) -> Result<Option<String>> {
        if self.migrations.command_line().is_some() {
            return Ok(None);
        }
        let mut expected: Vec<String> = self.migrations.iter().map(|one| one.name().to_owned()).collect();
        let mut applied = self.applied_by(options).await?;
        expected.sort();
        applied.sort();
        Ok((applied != expected).then(|| format!("applied: {}", applied.join(", "))))
    }

    /// A process that applies what is pending when `gate`, a named pipe, is opened for writing; it creates the file
    /// `ready` before it waits. The built-in runner runs in `program`.
    pub(super) async fn process(&self, db: &TestDb, program: &Path, gate: &Path, ready: &Path) -> Program {
        let wait = ": > \"$PGHARNESS_READY\"; : < \"$PGHARNESS_GATE\"";
        let mut path = None;
        let mut process = match self.migrations.command_line() {
            // The command may be several.
            Some(line) => {
                path = command_path(db.server().installation()).await;
                Program::shell(&format!("{wait}; {line}")).current_dir(self.migrations.dir())
            }
            None => {
                let format = self.migrations.format().unwrap_or_default();
                let history = self.history.iter().flat_map(|table| ["--history", table]);
                Program::shell(&format!("{wait}; exec \"$PGHARNESS_PROGRAM\" migrate \"$@\""))
                    .args(["sh", "--format", format.name()])
                    .args(history)
                    .arg("--dir")
                    .arg(self.migrations.dir())
                    .env("PGHARNESS_PROGRAM", program)
            }
        };
        for (name, value) in environment(&self.options(db), path) {
            process = process.env(name, value);
        }
        process.env("PGHARNESS_READY", ready).env("PGHARNESS_GATE", gate).ends_with_us()
    }

    /// The role that applies them on the server of `db`.
    pub(super) fn role<'a>(&'a self, db: &'a TestDb) -> &'a str {
        self.role.as_deref().unwrap_or_else(|| db.server().endpoint().role())
    }

    /// As whom, for people: "`app_migrator`", or the superuser and why.
    pub(super) fn whom(&self, db: &TestDb) -> String {
        match &self.role {
            Some(role) => format!("`{role}`"),
            None => format!("`{}` (`migrations.migrator_role` names nobody)", self.role(db)),
        }
    }

    /// What people call the whole: the command, or the folder.
    pub(super) fn shown(&self, project: &Project) -> String {
        match self.migrations.command_line() {
            Some(line) => line.to_owned(),
            None => shown_path(project, self.migrations.dir()),
        }
    }

    /// Whether `table` is one that a runner keeps its history in.
    pub(super) fn is_history(&self, table: &QualifiedName) -> bool {
        self.runner().keeps_history_in(table)
    }
}

/// `path` as people write it who work in the project's folder.
pub(super) fn shown_path(project: &Project, path: &Path) -> String {
    let root = absolute(&project.dir).unwrap_or_else(|_| PathBuf::new());
    path.strip_prefix(&root).unwrap_or(path).display().to_string()
}
