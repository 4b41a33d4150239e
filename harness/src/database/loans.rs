//! The databases that tests have and that may be put back, and the journal that tells whether.

use super::journal::{Journal, Written};
use super::put_back::Loan;
use crate::error::{Error, Result};
use crate::postgres::Lsn;
use crate::server::Server;
use sqlx::PgConnection;
use std::cell::RefCell;
use std::collections::HashMap;

/// What this process has lent on one server.
pub(super) struct Loans {
    /// `None`: the server's files are out of reach, and nothing is ever put back.
    journal: RefCell<Option<Journal>>,
    /// By the names of databases.
    lent: RefCell<HashMap<String, Loan>>,
}

impl Loans {
    pub(super) async fn of(server: &Server, control: &mut PgConnection) -> Result<Loans> {
        let journal = RefCell::new(Journal::open(server, control).await?);
        Ok(Loans { journal, lent: RefCell::default() })
    }

    /// Begins again, on another server.
    pub(super) async fn renew(&self, server: &Server, control: &mut PgConnection) -> Result<()> {
        let journal = Journal::open(server, control).await?;
        self.journal.replace(journal);
        self.lent.take();
        Ok(())
    }

    /// Watches a database from the place `since` on. Says whether that can be done.
    pub(super) fn watch(&self, database: u32, since: Lsn) -> bool {
        let mut journal = self.journal.borrow_mut();
        journal.as_mut().map(|journal| journal.watch(database, since)).is_some()
    }

    /// Watches it no longer.
    pub(super) fn watch_no_longer(&self, database: u32) {
        if let Some(journal) = self.journal.borrow_mut().as_mut() {
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
        self.with_journal(|journal| journal.written(database, end))
    }

    /// As if nothing had been written to it before `end`: it was put back.
    ///
    /// # Errors
    /// As [`written`](Loans::written).
    pub(super) fn clear(&self, database: u32, end: Lsn) -> Result<()> {
        self.with_journal(|journal| journal.clear(database, end))
    }

    fn with_journal<T>(&self, work: impl FnOnce(&mut Journal) -> Result<T>) -> Result<T> {
        match self.journal.borrow_mut().as_mut() {
            Some(journal) => work(journal),
            None => Err(Error::server("the server's log is out of reach")),
        }
    }
}
