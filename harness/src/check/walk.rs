//! The migrations applied one at a time, from zero: what each of them brings about.

use super::context::Context;
use super::first_run::State;
use super::migrator::Migrator;
use crate::catalog::{Catalog, Change, diff};
use crate::database::TestDb;
use crate::error::Result;
use crate::migration::Migration;
use crate::server::Capability;
use futures_util::future::join;
use sqlx::Connection;

/// Why checks that look at each migration say nothing of a command.
pub(super) const NO_STEPS: &str = "a command applies its migrations in one go: there is no step to look at";

/// The migrations applied one at a time, from zero, on a server of their own.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) migrator: Migrator,
    /// Where they were applied.
    pub(super) db: TestDb,
    /// What the database held before the first.
    start: State,
    /// What it held after each.
    after: Vec<State>,
}

/// One migration, and what it brought about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    /// Its place, counted from 0.
    pub(super) number: usize,
    pub(super) migration: &'a Migration,
    pub(super) before: &'a State,
    pub(super) after: &'a State,
}

impl Walk {
    /// Applies them; `None` of a command.
    ///
    /// # Errors
    /// They cannot be read or applied, or there is no database.
    pub(super) async fn of(context: &Context) -> Result<Option<Walk>> {
        // What cannot be applied at all is told once, in the words of the first run.
        if context.capabilities().await?.has(Capability::PrivateCluster) {
            let (first, walk) = join(context.first_run(), Walk::from_zero(context)).await;
            first?.state()?;
            return walk;
        }
        context.first_run().await?.state()?;
        Walk::from_zero(context).await
    }

    async fn from_zero(context: &Context) -> Result<Option<Walk>> {
        let migrator = Migrator::of(context.project())?;
        if migrator.migrations().command_line().is_some() {
            return Ok(None);
        }
        let db = context.vacant().await?;
        // One for all: a session that knows the catalogs reads them faster. Whoever ends it has a look alone.
        let mut connection = db.connection().await?;
        let start = State::read_on(&mut connection, &migrator).await?;
        let mut after = Vec::with_capacity(migrator.migrations().len());
        for count in 1..=migrator.migrations().len() {
            migrator.first(count).apply(&db).await?;
            after.push(match State::read_on(&mut connection, &migrator).await {
                Ok(state) => state,
                Err(_) => State::read(&db, &migrator).await?,
            });
        }
        let _ = connection.close().await;
        Ok(Some(Walk { migrator, db, start, after }))
    }

    /// Each migration, in order.
    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = Step<'_>> + ExactSizeIterator {
        self.migrator.migrations().iter().enumerate().map(|(number, migration)| Step {
            number,
            migration,
            before: number.checked_sub(1).and_then(|before| self.after.get(before)).unwrap_or(&self.start),
            after: self.after.get(number).unwrap_or(&self.start),
        })
    }
}

impl<'a> Step<'a> {
    /// What it changed in the schema.
    pub(super) fn changes(&self) -> Vec<Change> {
        diff(self.before_catalog(), self.after_catalog())
    }

    pub(super) fn before_catalog(&self) -> &'a Catalog {
        &self.before.catalog
    }

    pub(super) fn after_catalog(&self) -> &'a Catalog {
        &self.after.catalog
    }
}
