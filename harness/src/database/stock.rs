//! The clones of one template: those that are ready, those that were put back, and the tests that wait for one.

use super::build::{self, Built};
use super::handover::SHELF_MIB_MAX;
use super::name::DatabaseName;
use super::original::Original;
use super::prepared::Prepared;
use super::put_back::{Loan, Spare};
use super::shelf::Label;
use super::task::spawn;
use super::work::Work;
use crate::env;
use crate::error::{Error, Result};
use crate::ident::quote_ident;
use crate::postgres::Lsn;
use crate::server::Server;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// On two cores a third maker gains nothing.
const MAKERS: i32 = 2;
/// So many databases that were put back wait for their next test; each has a connection open.
pub(super) const SPARES_MAX: usize = 8;

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
    /// How many tests of this process asked for one.
    orders: Cell<usize>,
    /// Whether other processes ask for them, too, one after another.
    pub(super) is_shared: Cell<bool>,
    /// Names that were there at the last look; somebody else may have claimed them since.
    pub(super) ready: RefCell<VecDeque<String>>,
    waiting: RefCell<VecDeque<Waiter>>,
    pub(super) wake: Notify,
    makers_run: Cell<bool>,
    pub(super) spares: RefCell<Vec<Spare>>,
    /// How many are being put back.
    returning: Cell<usize>,
    original: OnceCell<Rc<Original>>,
    /// The template's size, as far as it is known.
    pub(super) mib: Cell<u64>,
    /// Whether it was told that tests wait for room.
    pub(super) is_told: Cell<bool>,
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
            orders: Cell::new(0),
            is_shared: Cell::new(false),
            ready: RefCell::default(),
            waiting: RefCell::default(),
            wake: Notify::new(),
            makers_run: Cell::new(false),
            spares: RefCell::default(),
            returning: Cell::new(0),
            original: OnceCell::new(),
            mib: Cell::new(0),
            is_told: Cell::new(false),
        })
    }

    pub(super) fn template_name(&self) -> String {
        DatabaseName::Template { digest: self.digest.clone() }.to_string()
    }

    /// Whether anybody in this process can still ask for a clone: who has the template, or waits.
    pub(super) fn is_held(&self) -> bool {
        Arc::strong_count(&self.template) > 1 || !self.waiting.borrow().is_empty()
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
        self.orders.set(self.orders.get() + 1);
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

    /// How many clones should be ready: none for a template that a single test uses, as each has its own where tests
    /// name their fixtures.
    pub(super) fn wanted(&self) -> usize {
        if self.is_shared.get() {
            // Who has more than one test puts its own databases back.
            return if self.orders.get() > 1 { self.ahead } else { self.in_turn() };
        }
        self.ahead.min(self.orders.get().saturating_sub(1))
    }

    /// How many go round where processes take turns: the more there are, the fewer processes have to put some back.
    fn in_turn(&self) -> usize {
        let twice = 2 * self.ahead;
        if twice as u64 * self.mib.get() <= SHELF_MIB_MAX { twice } else { self.ahead }
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

    pub(super) fn hand_out_again(self: &Rc<Self>, work: &Rc<Work>, spare: Spare) -> Handed {
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
            // Who waited for it may have found enough that were ready, so that nobody makes any yet.
            if !self.waiting.borrow().is_empty() {
                self.start_makers(work);
            }
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
            None => work.discard(spare.oid, spare.name),
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
                spawn(self.clone().make_forever(work.clone(), place));
            }
        }
    }
}
