//! Rows in every table, as users of each release might have left them.

use crate::check::migrator::Migrator;
use crate::error::Result;
use crate::fixture::rows::{Like, Rows, Step, Wish};
use crate::ident::QualifiedName;
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};

/// What was sown in a database, and why some of it did not grow.
#[derive(Debug, Default)]
pub(super) struct Crop {
    /// The statements that added rows, in order.
    steps: Vec<Step>,
    /// The tables that were seen to, and why one has no row.
    tables: BTreeMap<QualifiedName, Option<String>>,
}

impl Crop {
    /// Gives rows to each table that has none of these so far: one with as little in it as can be, one that is full, and
    /// copies of both, which differ in nothing but what must be unique.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn sow(&mut self, connection: &mut PgConnection, migrator: &Migrator) -> Result<()> {
        let mut rows = Rows::read(connection).await?;
        // One that took no row may take one now: a partitioned table may have got partitions.
        let is_bare = |table: &QualifiedName| self.tables.get(table).is_none_or(Option::is_some);
        let new: Vec<QualifiedName> =
            rows.tables().filter(|table| is_bare(table) && !migrator.is_history(table)).cloned().collect();
        for table in new {
            let like = Some(Like::of(&table, "true"));
            let wishes = [
                Wish::default(),
                Wish { is_whole: true, ..Wish::default() },
                Wish { like: like.clone(), ..Wish::default() },
                Wish { like, ..Wish::default() },
            ];
            let mut reason = None;
            let mut grown = 0;
            for wish in wishes {
                match rows.add(connection, &table, &wish).await? {
                    Ok(steps) => {
                        grown += 1;
                        self.steps.extend(steps);
                    }
                    Err(why) => reason = reason.or(Some(why)),
                }
            }
            self.tables.insert(table, reason.filter(|_| grown == 0));
        }
        Ok(())
    }

    /// The one of two that has seen to more tables.
    #[must_use]
    pub(super) fn longer(self, other: Crop) -> Crop {
        if other.tables.len() > self.tables.len() { other } else { self }
    }

    /// The tables that were seen to.
    pub(super) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Those that have no row, and why.
    pub(super) fn bare(&self) -> impl Iterator<Item = (&QualifiedName, &str)> {
        self.tables.iter().filter_map(|(table, reason)| Some((table, reason.as_deref()?)))
    }

    /// Their names.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.tables.keys().map(QualifiedName::to_string).collect()
    }

    /// The statements that gave rows to these tables and to those that they refer to.
    pub(super) fn statements(&self, tables: &BTreeSet<String>) -> Vec<&str> {
        let mut wanted: BTreeSet<QualifiedName> =
            self.tables.keys().filter(|table| tables.contains(&table.to_string())).cloned().collect();
        loop {
            let more: BTreeSet<QualifiedName> = self
                .steps
                .iter()
                .filter(|step| wanted.contains(&step.table))
                .flat_map(|step| step.reads.iter().cloned())
                .filter(|table| !wanted.contains(table))
                .collect();
            if more.is_empty() {
                break;
            }
            wanted.extend(more);
        }
        let chosen = self.steps.iter().filter(|step| wanted.contains(&step.table));
        chosen.map(|step| step.sql.as_str()).collect()
    }
}
