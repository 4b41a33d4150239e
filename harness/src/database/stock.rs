//! The clones of one template: those that are ready, those that were put back, and the tests that wait for one.

use super::build::{self, Built};
use super::name::DatabaseName;
use super::original::Original;
use super::prepared::Prepared;
use super::put_back::{Loan, Spare, put_back};
use super::shelf::{Label, Place, Shelf, State};
use super::work::Work;
use crate::env;
use crate::error::{Error, Result};
use crate::ident::quote_ident;
use crate::postgres::Lsn;
use crate::server::Server;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// On two cores a third maker gains nothing.
const MAKERS: i32 = 2;
/// So many databases that were put back wait for their next test; each has a connection open.
const SPARES_MAX: usize = 8;

/// More than are made ahead are left on the shelf only as long as they are no larger than this together: the server's
/// data would not be parked else. In MiB.
const SHELF_MIB_MAX: u64 = 256;

/// See [`Stock::is_about_to_return`].
const RETURNING_MIN: usize = 2;

/// For whom a clone is wanted.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) test: String,
    /// Whether a database that was put back will do, and this one may be put back in turn.
    pub(super) is_recycled: bool,
}

type Waiter = (Order, oneshot::Sender<Result<Handed>>);

/// A database that is handed out, with a connection to it if there is one already.
pub(super) struct Handed {
    pub(super) name: String,
    pub(super) connection: Option<PgConnection>,
}

/// The clones of one template.
pub(super) struct Stock {
    pub(super) digest: String,
    template: Arc<Prepared>,
    built: tokio::sync::OnceCell<Rc<Built>>,
    pub(super) ahead: usize,
    /// Names that were there at the last look; somebody else may have claimed them since.
    pub(super) ready: RefCell<VecDeque<String>>,
    waiting: RefCell<VecDeque<Waiter>>,
    pub(super) wake: Notify,
    makers_run: Cell<bool>,
    spares: RefCell<Vec<Spare>>,
    /// How many are being put back.
    returning: Cell<usize>,
    original: OnceCell<Rc<Original>>,
    /// The template's size, as far as it is known.
    pub(super) mib: Cell<u64>,
}

impl Stock {
    /// # Errors
    /// What the environment asks for is no number.
    pub(super) fn of(template: Arc<Prepared>, digest: String) -> Result<Stock> {
        let ahead = env::AHEAD.number()?.unwrap_or(4);
        Ok(Stock {
            digest,
            template,
            built: tokio::sync::OnceCell::new(),
            ahead: usize::try_from(ahead).unwrap_or(usize::MAX),
            ready: RefCell::default(),
            waiting: RefCell::default(),
            wake: Notify::new(),
            makers_run: Cell::new(false),
            spares: RefCell::default(),
            returning: Cell::new(0),
            original: OnceCell::new(),
            mib: Cell::new(0),
        })
    }

    pub(super) fn template_name(&self) -> String {
        DatabaseName::Template { digest: self.digest.clone() }.to_string()
    }

    /// The template on the server, which is built when it is not there yet. Who gets a clone that is there need not ask.
    ///
    /// # Errors
    /// It cannot be built.
    pub(super) async fn built(&self, work: &Work) -> Result<Rc<Built>> {
        let built = self.built.get_or_try_init(async || {
            let built = build::find_or_build(work, &self.template, &self.digest).await?;
            self.mib.set(built.size_mib);
            Ok::<_, Error>(Rc::new(built))
        });
        Ok(built.await?.clone())
    }

    /// What the template is like at first.
    ///
    /// # Errors
    /// Nothing was recorded of it.
    pub(super) fn original(&self, server: &Server) -> Result<Rc<Original>> {
        if let Some(original) = self.original.get() {
            return Ok(original.clone());
        }
        let read = Rc::new(Original::read(server, &self.digest)?);
        Ok(self.original.get_or_init(|| read).clone())
    }

    /// Hands out a clone: one that was put back or is about to be, one that is ready, else the next that is made.
    pub(super) async fn claim(self: Rc<Self>, work: &Rc<Work>, order: Order) -> Result<Handed> {
        let spare = if order.is_recycled { self.spares.borrow_mut().pop() } else { None };
        if let Some(spare) = spare {
            return Ok(self.hand_out_again(work, spare));
        }
        if !(order.is_recycled && self.is_about_to_return()) {
            let claimed = match work.shelf() {
                Some(shelf) => self.claim_shelved(work, &shelf, &order).await,
                None => self.claim_ready(work, &order).await?,
            };
            // Before anybody waits: whether it can be built is told to whoever asks first.
            if claimed.is_none() {
                self.built(work).await?;
            }
            if claimed.is_none() || !self.has_enough(work) {
                self.start_makers(work);
            }
            if let Some(handed) = claimed {
                self.wake.notify_waiters();
                return Ok(handed);
            }
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back((order, sender));
        self.wake.notify_waiters();
        receiver.await.map_err(|_| Error::server("the maker of databases ended"))?
    }

    /// Whether it is better to wait for a database that is being put back than to take another clone. So many are in
    /// turn then that a single thread of tests seldom has to wait.
    fn is_about_to_return(&self) -> bool {
        let waiting = self.waiting.borrow();
        let waiting = waiting.iter().filter(|(order, _)| order.is_recycled).count();
        self.returning.get() >= waiting + RETURNING_MIN
    }

    /// Who waits for a clone: of those who would take one that is put back, only as many as get none.
    pub(super) fn next_order(&self) -> Option<Waiter> {
        let mut waiting = self.waiting.borrow_mut();
        let mut returning = self.returning.get();
        let place = waiting.iter().position(|(order, _)| {
            let is_served = order.is_recycled && returning > 0;
            returning -= usize::from(is_served);
            !is_served
        })?;
        waiting.remove(place)
    }

    fn hand_out_again(self: &Rc<Self>, work: &Rc<Work>, spare: Spare) -> Handed {
        let Spare { name, oid, mark, uses, connection } = spare;
        let since = work.loans.clean_until(oid).unwrap_or_default();
        work.loans.lend(&name, Loan { stock: self.clone(), oid, mark, since, uses });
        Handed { name, connection }
    }

    /// A database is about to be put back.
    pub(super) fn expect_return(&self) {
        self.returning.set(self.returning.get() + 1);
    }

    /// A database was put back, or was not: then whoever waited for it needs another one.
    pub(super) fn returned(self: &Rc<Self>, work: &Rc<Work>, spare: Option<Spare>) {
        self.returning.set(self.returning.get().saturating_sub(1));
        let Some(spare) = spare else {
            self.wake.notify_waiters();
            return;
        };
        let waiter = {
            let mut waiting = self.waiting.borrow_mut();
            let place = waiting.iter().position(|(order, _)| order.is_recycled);
            place.and_then(|place| waiting.remove(place))
        };
        match waiter {
            Some((_, sender)) => {
                if let Err(Ok(unwanted)) = sender.send(Ok(self.hand_out_again(work, spare))) {
                    work.give_back(unwanted.name);
                }
            }
            None if self.spares.borrow().len() < SPARES_MAX => self.spares.borrow_mut().push(spare),
            None => {
                work.loans.watch_no_longer(spare.oid);
                work.drops.drop_later(spare.name);
            }
        }
    }

    /// Ends the connections to databases that were put back, and puts them on the shelf.
    pub(super) async fn shelve_spares(&self, work: &Work) {
        let spares = self.spares.take();
        for spare in spares {
            self.shelve(work, spare).await;
        }
    }

    /// Puts a database that was put back on the shelf, if there is room; else it is dropped.
    pub(super) async fn shelve(&self, work: &Work, spare: Spare) {
        let Spare { name, oid, mark, uses, connection } = spare;
        if let Some(connection) = connection {
            // The server ends it too when the socket goes.
            let _ = connection.close().await;
        }
        let since = work.loans.clean_until(oid);
        work.loans.watch_no_longer(oid);
        if let (Some(shelf), Some(since)) = (work.shelf().filter(|shelf| self.has_room(shelf)), since) {
            let label = self.new_label(oid, mark, since, uses);
            if shelf.put(&name, State::Ready, &label).is_ok() {
                return work.drops.disown(&name);
            }
        }
        work.drops.drop_later(name);
    }

    /// Whether the shelf has fewer databases of this template than we leave behind at most.
    pub(super) fn has_room(&self, shelf: &Shelf) -> bool {
        let count = shelf.count(&self.digest);
        let there = count.ready + count.returned;
        let mib = (there as u64 + 1) * self.mib.get();
        there < self.ahead || there < self.ahead + SPARES_MAX && mib <= SHELF_MIB_MAX
    }

    pub(super) fn new_label(&self, oid: u32, mark: u32, since: Lsn, uses: u32) -> Label {
        Label { digest: self.digest.clone(), oid, mark, since, uses, mib: self.mib.get() }
    }

    /// Takes a database from the shelf: one that is ready, or one that is put back now.
    async fn claim_shelved(self: &Rc<Self>, work: &Rc<Work>, shelf: &Shelf, order: &Order) -> Option<Handed> {
        // Who wants a fresh clone gets none that was put back.
        let fits = |label: &Label| order.is_recycled || label.uses == 0;
        if work.server().seems_up()
            && let Some(place) = shelf.take_ready(&self.digest, fits)
        {
            let Label { oid, mark, since, uses, mib, .. } = place.label;
            self.mib.set(mib);
            let name = place.name.clone();
            work.drops.own(&name);
            work.hold(place);
            if order.is_recycled && work.loans.watch_from(&work.server(), &work.facts.borrow(), oid, since) {
                work.loans.lend(&name, Loan { stock: self.clone(), oid, mark, since, uses });
            }
            return Some(Handed { name, connection: None });
        }
        if !order.is_recycled {
            return None;
        }
        let place = shelf.take_returned(&self.digest)?;
        let spare = self.put_back(work, place, true).await?;
        Some(self.hand_out_again(work, spare))
    }

    /// Puts a database from the shelf back; `None`: it is dropped.
    async fn put_back(self: &Rc<Self>, work: &Work, place: Place, is_connected: bool) -> Option<Spare> {
        let Label { oid, mark, since, uses, mib, .. } = place.label;
        self.mib.set(mib);
        let mut name = place.name.clone();
        let old = name.clone();
        work.drops.own(&name);
        work.hold(place);
        let loan = Loan { stock: self.clone(), oid, mark, since, uses };
        let spare = match work.loans.watch_from(&work.server(), &work.facts.borrow(), oid, since) {
            true => put_back(work, &mut name, loan, is_connected).await.ok(),
            false => None,
        };
        if spare.is_none() {
            work.loans.watch_no_longer(oid);
            work.drops.drop_later(name.clone());
        }
        if name != old {
            work.clear_shelf(&old);
        }
        spare
    }

    /// Puts back what others returned, when nothing is ready any more: for all who come after us, while our test runs.
    pub(super) async fn keep_shelf(self: Rc<Self>, work: Rc<Work>) {
        let Some(shelf) = work.shelf() else { return };
        let count = shelf.count(&self.digest);
        if work.ends.get() || count.returned == 0 || count.ready > 0 {
            return;
        }
        let Some(_keeping) = shelf.try_keep() else { return };
        let _busy = work.busy();
        // No more than there are now, since we are not to be kept from ending.
        for _ in 0..count.returned {
            let Some(place) = shelf.take_returned(&self.digest) else { return };
            if let Some(spare) = self.put_back(&work, place, false).await {
                self.shelve(&work, spare).await;
            }
        }
    }

    async fn claim_ready(self: &Rc<Self>, work: &Rc<Work>, order: &Order) -> Result<Option<Handed>> {
        let built = self.built(work).await?;
        let mut control = work.control().await?;
        let mut looked = false;
        loop {
            let candidate = self.ready.borrow_mut().pop_front();
            let Some(candidate) = candidate else {
                if looked {
                    return Ok(None);
                }
                looked = true;
                *self.ready.borrow_mut() = self.list_ready(&mut control).await?;
                continue;
            };
            let name = work.claimed_name();
            // One message, one transaction: the clone is ours, named, and equal to its template, or untouched.
            let rename =
                format!("alter database {} rename to {}", quote_ident(&candidate), quote_ident(&name));
            let sql = format!("{rename}; {}", built.finishing_touches(&name, &order.test));
            // All rows, since the first comes before the commit.
            match sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *control).await {
                Ok(facts) => {
                    work.drops.own(&name);
                    self.lend(work, order, &name, &facts);
                    return Ok(Some(Handed { name, connection: None }));
                }
                Err(error) => {
                    let error = Error::from(error);
                    work.is_refused(&name, &error);
                    match error.sqlstate().as_deref() {
                        // Somebody was quicker; or somebody looks into it, which one should not.
                        Some("3D000" | "55006" | "XX000") => {}
                        _ => return Err(error),
                    }
                }
            }
        }
    }

    /// Has a database put back when it is returned, if that can be.
    pub(super) fn lend(self: &Rc<Self>, work: &Rc<Work>, order: &Order, name: &str, facts: &[PgRow]) {
        if let (true, Some(label)) = (order.is_recycled, self.label(facts))
            && work.loans.watch(label.oid, label.since)
        {
            let Label { oid, mark, since, uses, .. } = label;
            work.loans.lend(name, Loan { stock: self.clone(), oid, mark, since, uses });
        }
    }

    /// What is to be known of a new clone, by the answer to its [`finishing_touches`](Built::finishing_touches).
    pub(super) fn label(&self, facts: &[PgRow]) -> Option<Label> {
        let facts = facts.last()?;
        let number = |place: usize| facts.try_get::<i64, _>(place).ok().and_then(|id| u32::try_from(id).ok());
        let since = Lsn::parse(facts.try_get(2).ok()?).ok()?;
        Some(self.new_label(number(0)?, number(1)?, since, 0))
    }

    pub(super) async fn list_ready(&self, control: &mut PgConnection) -> Result<VecDeque<String>> {
        let names: Vec<String> =
            sqlx::query_scalar("select datname::text from pg_database where starts_with(datname::text, $1) and datconnlimit <> -2")
                .bind(DatabaseName::ready_prefix(&self.digest))
                .fetch_all(control)
                .await?;
        Ok(names.into())
    }

    fn start_makers(self: &Rc<Self>, work: &Rc<Work>) {
        if !self.makers_run.replace(true) {
            for place in 0..MAKERS {
                tokio::task::spawn_local(self.clone().make_forever(work.clone(), place));
            }
        }
    }
}
