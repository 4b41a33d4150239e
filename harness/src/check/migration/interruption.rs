//! A migrator that is cut off at one place, and run again.

use super::landmarks::{Landmark, Landmarks};
use crate::catalog::diff;
use crate::check::context::Context;
use crate::check::first_run::State;
use crate::check::migrator::Migrator;
use crate::database::{Replay, TestDb};
use crate::error::{Error, Result};
use crate::ident::quote_ident;
use crate::wire::{Address, Cut, Landing, Moment, Proxy};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::collections::BTreeMap;

/// A database before a run, of which there are as many as are wanted.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    context: &'a Context,
    /// What is run.
    migrator: Migrator,
    /// What has been applied before.
    before: Migrator,
    /// Whose server it all happens on.
    base: &'a TestDb,
    /// The database of that server in that state; copies are made of it.
    name: String,
    /// What the copies lose.
    replay: Replay,
    /// Whether the run changes what all databases of a server share, so that each needs a server of its own.
    needs_server: bool,
}

/// Where the run is to be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The step, counted from 0.
    pub(super) step: u64,
    /// Whether the server has done it, which the migrator does not know.
    pub(super) is_done: bool,
}

/// What came of a run that was cut off and run again.
#[derive(Debug)]
pub(super) struct Aftermath {
    /// Where the first was cut off.
    pub(super) landing: Landing,
    /// What the second brought about otherwise than an undisturbed one.
    pub(super) fault: Option<Fault>,
}

/// What is wrong after a second run.
#[derive(Debug)]
pub(super) enum Fault {
    /// It fails.
    Fails(Error),
    /// It leaves another schema.
    Schema(String),
    /// It leaves other rows.
    Rows(String),
    /// It leaves another history.
    History(String),
}

/// A database to run in; the server lives as long as this does.
#[derive(Debug)]
pub(super) struct Stage {
    options: PgConnectOptions,
    own: Option<TestDb>,
    name: Option<String>,
}

impl<'a> Scene<'a> {
    /// `migrator` is run in copies of the database `name` on the server of `base`, where `before` has been run.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn of(
        context: &'a Context,
        base: &'a TestDb,
        name: String,
        before: Migrator,
        migrator: Migrator,
        needs_server: bool,
    ) -> Result<Scene<'a>> {
        let mut control = control(base).await?;
        let replay = Replay::read(&mut control, &name).await?;
        let _ = control.close().await;
        Ok(Scene { context, migrator, before, base, name, replay, needs_server })
    }

    /// How far an undisturbed run is before each of its steps, and at its end; and where it took place.
    ///
    /// # Errors
    /// It fails, or the server is lost.
    pub(super) async fn landmarks(&self) -> Result<(Vec<Landmark>, Stage)> {
        let stage = self.stage(&format!("whole_{}", self.migrator.migrations().len())).await?;
        let landmarks = Landmarks::by(control(self.server_of(&stage)).await?);
        let proxy = Proxy::start(Address::of(&stage.options), landmarks.taps()).await?;
        self.migrator.apply_by(&proxy.options(&stage.options), self.server_of(&stage)).await?;
        drop(proxy);
        Ok((landmarks.taken().await, stage))
    }

    /// The database in which the migrator has been run, for the next scene; `whole` is where it was undisturbed.
    ///
    /// # Errors
    /// It fails, or the server is lost.
    pub(super) async fn into_next(self, whole: Stage) -> Result<String> {
        match whole.name {
            Some(next) => {
                if self.name != self.base.name() {
                    self.drop_database(&self.name).await?;
                }
                Ok(next)
            }
            None => {
                let options = self.migrator.options(self.base).database(&self.name);
                self.migrator.apply_by(&options, self.base).await?;
                Ok(self.name)
            }
        }
    }

    /// Cuts a run off at `place`, runs again, and compares what came of it with `expected`. `None`: the run has no such
    /// place, or does not mind.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn interrupt(&self, place: Place, expected: &State) -> Result<Option<Aftermath>> {
        let moment = if place.is_done { Moment::Unheard } else { Moment::Before };
        let stage = self.stage(&format!("{}_{}", place.step, u8::from(place.is_done))).await?;
        let cut = Cut::at(place.step, moment);
        let proxy = Proxy::start(Address::of(&stage.options), cut.taps()).await?;
        // What the migrator makes of it is its own affair.
        let _ = self.migrator.apply_by(&proxy.options(&stage.options), self.server_of(&stage)).await;
        drop(proxy);
        let Some(landing) = cut.landing()? else {
            self.clear(stage).await?;
            return Ok(None);
        };
        let fault = self.run_again(&stage, expected).await?;
        self.clear(stage).await?;
        Ok(Some(Aftermath { landing, fault }))
    }

    async fn run_again(&self, stage: &Stage, expected: &State) -> Result<Option<Fault>> {
        if let Err(error) = self.migrator.apply_by(&stage.options, self.server_of(stage)).await {
            return Ok(Some(Fault::Fails(error)));
        }
        let state = State::read_by(&self.all_rights(stage), &self.migrator).await?;
        let changes = diff(&expected.catalog, &state.catalog);
        if !changes.is_empty() {
            let seen: Vec<String> = changes.iter().map(ToString::to_string).collect();
            return Ok(Some(Fault::Schema(seen.join("\n"))));
        }
        if let Some(rows) = other_rows(&expected.rows, &state.rows) {
            return Ok(Some(Fault::Rows(rows)));
        }
        let mut applied = self.migrator.applied_by(&stage.options).await?;
        let mut wanted: Vec<String> =
            self.migrator.migrations().iter().map(|migration| migration.name().to_owned()).collect();
        applied.sort();
        wanted.sort();
        Ok((applied != wanted).then(|| Fault::History(format!("applied: {}", applied.join(", ")))))
    }

    fn server_of<'s>(&'s self, stage: &'s Stage) -> &'s TestDb {
        stage.own.as_ref().unwrap_or(self.base)
    }

    /// The stage's database as the harness, not as the migrator's role.
    fn all_rights(&self, stage: &Stage) -> PgConnectOptions {
        let options = self.server_of(stage).options();
        match &stage.name {
            Some(name) => options.database(name),
            None => options,
        }
    }

    async fn stage(&self, place: &str) -> Result<Stage> {
        if self.needs_server {
            let db = self.context.vacant().await?;
            if !self.before.migrations().is_empty() {
                self.before.apply(&db).await?;
            }
            return Ok(Stage { options: self.migrator.options(&db), own: Some(db), name: None });
        }
        let name = format!("{}_{place}", self.base.name());
        let sql = format!(
            "create database {} template {} strategy file_copy",
            quote_ident(&name),
            quote_ident(&self.name)
        );
        self.on_server(std::iter::once(sql).chain(self.replay.sql(&name))).await?;
        let options = self.migrator.options(self.base).database(&name);
        Ok(Stage { options, own: None, name: Some(name) })
    }

    async fn clear(&self, stage: Stage) -> Result<()> {
        match stage.name {
            Some(name) => self.drop_database(&name).await,
            None => Ok(()),
        }
    }

    async fn drop_database(&self, name: &str) -> Result<()> {
        let sql = format!("drop database {} with (force)", quote_ident(name));
        self.on_server(std::iter::once(sql)).await
    }

    async fn on_server(&self, statements: impl Iterator<Item = String>) -> Result<()> {
        let mut control = control(self.base).await?;
        for sql in statements {
            control.execute(AssertSqlSafe(sql)).await?;
        }
        let _ = control.close().await;
        Ok(())
    }
}

/// A connection to the server of `db` that keeps nobody from copying it.
async fn control(db: &TestDb) -> Result<PgConnection> {
    let server = db.server();
    server.connect(server.endpoint().maintenance_database()).await
}

/// The tables that have other numbers of rows than expected.
fn other_rows(expected: &BTreeMap<String, i64>, found: &BTreeMap<String, i64>) -> Option<String> {
    let differs = |(table, rows): (&String, &i64)| {
        let other = found.get(table)?;
        (rows != other).then(|| format!("{table}: {rows} rows undisturbed, {other} after the second run"))
    };
    let lines: Vec<String> = expected.iter().filter_map(differs).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
