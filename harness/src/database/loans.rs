//! The databases that tests have and that may be put back, and the journals that tell whether.

use super::journal::{Journal, Written};
use super::put_back::Loan;
use crate::error::{Error, Result};
use crate::postgres::Lsn;
use crate::server::{Facts, Server};
use std::cell::RefCell;
use std::collections::HashMap;

/// What this process has lent on one server.
#[derive(Default)]
pub(super) struct Loans {
    /// `None`: the server's files are out of reach, and nothing is ever put back.
    journal: RefCell<Option<Journal>>,
    /// Those of databases of which more is to be read than of others, by their object ids.
    own: RefCell<HashMap<u32, Journal>>,
    /// By the names of databases.
    lent: RefCell<HashMap<String, Loan>>,
}

impl Loans {
    pub(super) fn of(server: &Server, facts: &Facts) -> Loans {
        Loans { journal: RefCell::new(Journal::open(server, facts)), ..Loans::default() }
    }

    /// Begins again, on another server.
    pub(super) fn renew(&self, server: &Server, facts: &Facts) {
        let Loans { journal, own, lent } = Loans::of(server, facts);
        self.journal.swap(&journal);
        self.own.swap(&own);
        self.lent.swap(&lent);
    }

    /// Watches a database that is new at the place `since`, from there on. Says whether that can be done.
    pub(super) fn watch(&self, database: u32, since: Lsn) -> bool {
        let mut journal = self.journal.borrow_mut();
        journal.as_mut().map(|journal| journal.watch(database, since)).is_some()
    }

    /// Watches a database from the shelf, of which nothing is known from the place `since` on. It has a journal of its
    /// own until it is put back: the common one may be beyond that place, and what is missing there is of no concern
    /// to others. Says whether that can be done.
    pub(super) fn watch_from(&self, server: &Server, facts: &Facts, database: u32, since: Lsn) -> bool {
        let Some(mut journal) = Journal::open(server, facts) else { return false };
        journal.watch(database, since);
        self.own.borrow_mut().insert(database, journal);
        true
    }

    /// As [`watch_from`](Loans::watch_from), of a database that is ready, and so was nobody's since. Gives the place from
    /// which on it is watched.
    pub(super) fn watch_ready(
        &self,
        server: &Server,
        facts: &Facts,
        database: u32,
        since: Lsn,
    ) -> Option<Lsn> {
        let since = Journal::open(server, facts)?.beginning(server, since);
        self.watch_from(server, facts, database, since).then_some(since)
    }

    /// Watches it no longer.
    pub(super) fn watch_no_longer(&self, database: u32) {
        if self.own.borrow_mut().remove(&database).is_none()
            && let Some(journal) = self.journal.borrow_mut().as_mut()
        {
            journal.forget(database);
        }
    }

    /// A test gets the database `name`.
    pub(super) fn lend(&self, name: &str, loan: Loan) {
        self.lent.borrow_mut().insert(name.to_owned(), loan);
    }

    /// A test is done with it; `None`: it was not lent for being put back.
    pub(super) fn take(&self, name: &str) -> Option<Loan> {
        self.lent.borrow_mut().remove(name)
    }

    /// What was written to a database since it was lent, and before `end`.
    ///
    /// # Errors
    /// The log was not readable all the time.
    pub(super) fn written(&self, database: u32, end: Lsn) -> Result<Written> {
        self.with_journal(database, |journal| journal.written(database, end))
    }

    /// As if nothing had been written to it before `end`: it was put back.
    ///
    /// # Errors
    /// As [`written`](Loans::written).
    pub(super) fn clear(&self, database: u32, end: Lsn) -> Result<()> {
        self.with_journal(database, |journal| journal.clear(database, end))?;
        self.join(database, end);
        Ok(())
    }

    /// Has the common journal watch a database that was put back before `end`, so that the log is read once for all.
    fn join(&self, database: u32, end: Lsn) {
        let place = self.own.borrow().get(&database).map(Journal::position);
        let mut journal = self.journal.borrow_mut();
        let (Some(place), Some(journal)) = (place, journal.as_mut()) else { return };
        // Behind that place nothing was read of this database.
        let is_level = journal.is_idle()
            || journal.position() <= place && journal.read_until(end).is_ok() && journal.position() == place;
        if is_level {
            journal.watch(database, place);
            self.own.borrow_mut().remove(&database);
        }
    }

    /// A place in the log before which nothing is of interest of a database that was put back, if that is so.
    pub(super) fn clean_until(&self, database: u32) -> Option<Lsn> {
        self.with_journal(database, |journal| Ok(journal.clean_until(database))).ok().flatten()
    }

    fn with_journal<T>(&self, database: u32, work: impl FnOnce(&mut Journal) -> Result<T>) -> Result<T> {
        if let Some(journal) = self.own.borrow_mut().get_mut(&database) {
            return work(journal);
        }
        match self.journal.borrow_mut().as_mut() {
            Some(journal) => work(journal),
            None => Err(Error::server("the server's log is out of reach")),
        }
    }
}
