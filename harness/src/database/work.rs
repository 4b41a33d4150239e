//! What the background thread does for its process: claiming, keeping and returning databases.

use super::drops::Drops;
use super::host::{Claimed, Request};
use super::keep::Kept;
use super::living::{Introduction, is_lost_connection};
use super::loans::Loans;
use super::look::Looker;
use super::name::DatabaseName;
use super::prepared::Prepared;
use super::put_back::{Loan, put_back};
use super::shelf::Place;
use super::stock::{Handed, Order, Stock};
use super::task::spawn;
use super::{build, sweep};
use crate::error::{Error, Result};
use crate::notice;
use crate::process::on_a_thread;
use crate::server::{Backend, Facts, Lease, Server};
use sqlx::{Connection, PgConnection};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{MappedMutexGuard, MutexGuard, Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// A connection of a pool that a test gets; see [`Work::open`].
pub(super) const POOL_CONNECTIONS_MAX: u32 = 5;
/// Connections that are not for tests: control, makers and droppers of several processes.
const OTHER_CONNECTIONS: u32 = 60;
/// A test waits so long for others to let go of their databases, then goes ahead.
const PERMIT_DEADLINE: Duration = Duration::from_secs(2);

/// What the thread works with. All tasks run on it, so plain cells will do.
pub(super) struct Work {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) server: RefCell<Server>,
    pub(super) lease: Lease,
    pub(super) facts: RefCell<Facts>,
    /// `None`: it was not needed so far.
    pub(super) control: tokio::sync::Mutex<Option<PgConnection>>,
    requests: mpsc::UnboundedSender<Request>,
    pub(super) stocks: RefCell<HashMap<String, Rc<Stock>>>,
    pub(super) drops: Drops,
    pub(super) loans: Loans,
    pub(super) looker: Looker,
    /// Those from the shelf that we have.
    pub(super) places: RefCell<HashMap<String, Place>>,
    /// The only one that this process ever had: it is put back when there is a second, else left to others.
    pub(super) resting: RefCell<Option<(String, Loan)>>,
    handed: Cell<u64>,
    /// How much is being done that is to be done before the process ends.
    pending: Cell<usize>,
    done: Notify,
    numbers: Cell<u64>,
    /// Bounds how many databases this process uses at a time: each may open a pool.
    live: Arc<Semaphore>,
    is_overdrawn: Cell<bool>,
    in_use: Arc<()>,
    pub(super) ends: Cell<bool>,
}

/// Work that is to be done before the process ends.
pub(super) struct Busy(Rc<Work>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Busy(work) = self;
        work.pending.set(work.pending.get() - 1);
        work.done.notify_one();
    }
}

impl Work {
    pub(super) async fn open(
        backend: Arc<dyn Backend>,
        server: Server,
        requests: mpsc::UnboundedSender<Request>,
        in_use: Arc<()>,
    ) -> Result<Work> {
        let Introduction { server, lease, facts, control } = Introduction::to(&backend, server).await?;
        let for_tests = u32::try_from(facts.connections_max).unwrap_or(100).saturating_sub(OTHER_CONNECTIONS);
        let databases_max = (for_tests / POOL_CONNECTIONS_MAX).max(4) as usize;
        let loans = Loans::of(&server, &facts);
        Ok(Work {
            backend,
            server: RefCell::new(server),
            lease,
            facts: RefCell::new(facts),
            control: tokio::sync::Mutex::new(control),
            requests,
            stocks: RefCell::default(),
            drops: Drops::default(),
            loans,
            looker: Looker::default(),
            places: RefCell::default(),
            resting: RefCell::default(),
            handed: Cell::new(0),
            pending: Cell::new(0),
            done: Notify::new(),
            numbers: Cell::new(0),
            live: Arc::new(Semaphore::new(databases_max)),
            is_overdrawn: Cell::new(false),
            in_use,
            ends: Cell::new(false),
        })
    }

    pub(super) fn server(&self) -> Server {
        self.server.borrow().clone()
    }

    /// A connection of one's own to the maintenance database, for long statements.
    pub(super) async fn connect(&self) -> Result<PgConnection> {
        self.server().control().await
    }

    /// The control connection, for short statements.
    ///
    /// # Errors
    /// It is not open yet, and the server does not answer.
    pub(super) async fn control(&self) -> Result<MappedMutexGuard<'_, PgConnection>> {
        let mut slot = self.control.lock().await;
        if slot.is_none() {
            *slot = Some(self.connect().await?);
        }
        MutexGuard::try_map(slot, Option::as_mut).map_err(|_| Error::server("failed to keep a connection"))
    }

    /// Something that is to be done before the process ends, as long as this is held.
    pub(super) fn busy(self: &Rc<Self>) -> Busy {
        self.pending.set(self.pending.get() + 1);
        Busy(self.clone())
    }

    pub(super) fn next_number(&self) -> u64 {
        self.numbers.replace(self.numbers.get() + 1)
    }

    /// A name for a database that we are about to use.
    pub(super) fn claimed_name(&self) -> String {
        let name = DatabaseName::Claimed { owner: self.lease.owner().clone(), number: self.next_number() };
        self.announced(name.to_string())
    }

    /// A name for a template that we are about to build.
    pub(super) fn building_name(&self) -> String {
        let name = DatabaseName::Building { owner: self.lease.owner().clone(), number: self.next_number() };
        self.announced(name.to_string())
    }

    fn announced(&self, name: String) -> String {
        self.drops.announce(&name);
        name
    }

    /// The server was asked for the database and gave this error: if that is its own answer, there is none. A session that
    /// is ended may have done it before.
    pub(super) fn is_refused(&self, name: &str, error: &Error) {
        if error.sqlstate().is_some() && !is_lost_connection(error) {
            self.drops.disown(name);
        }
    }

    /// A test no longer needs the database: it is put back if it was lent for that, else dropped. Nobody waits.
    pub(super) fn give_back(self: &Rc<Self>, name: String) {
        if self.ends.get() {
            return self.give_back_at_end(name);
        }
        let Some(loan) = self.loans.take(&name) else {
            return self.drops.drop_later(name);
        };
        // A runner that starts a process per test is about to end this one: whoever comes next does it then.
        if self.handed.get() == 1 && self.shelf().is_some() {
            self.resting.replace(Some((name, loan)));
            return;
        }
        loan.stock.expect_return();
        let (work, busy) = (self.clone(), self.busy());
        spawn(async move {
            let (old, stock, oid) = (name.clone(), loan.stock.clone(), loan.oid);
            let mut name = name;
            let spare = put_back(&work, &mut name, loan, true).await;
            let spare = spare.inspect_err(|why| notice::dropped(&name, why)).ok();
            if name != old {
                work.clear_shelf(&old);
            }
            if spare.is_none() {
                work.discard(oid, name);
            }
            stock.returned(&work, spare);
            drop(busy);
        });
    }

    /// As [`give_back`](Work::give_back), of a process that has no time for it.
    pub(super) fn give_back_at_end(&self, name: String) {
        let loan = self.loans.take(&name);
        if !loan.is_some_and(|loan| self.leave(&name, &loan)) {
            self.drops.drop_later(name);
        }
    }

    /// Ends what goes on, and leaves to others what is or may be of use to them.
    pub(super) async fn end(&self) {
        self.ends.set(true);
        while self.pending.get() > 0 {
            self.done.notified().await;
        }
        let resting = self.resting.take();
        if let Some((name, loan)) = resting {
            self.leave(&name, &loan);
        }
        let stocks: Vec<_> = self.stocks.take().into_values().collect();
        for stock in stocks {
            stock.shelve_spares(self).await;
        }
    }

    /// Drops a database that is not put back, or no longer wanted.
    pub(super) fn discard(&self, oid: u32, name: String) {
        self.loans.watch_no_longer(oid);
        self.drops.drop_later(name);
    }

    /// Drops what was put back of other templates than `digest`. Says whether there was any.
    pub(super) fn drop_spares_but(&self, digest: &str) -> bool {
        let stocks = self.stocks.borrow();
        let others = stocks.values().filter(|stock| stock.digest != digest);
        let spares: Vec<_> = others.flat_map(|stock| stock.spares.take()).collect();
        let is_any = !spares.is_empty();
        for spare in spares {
            self.discard(spare.oid, spare.name);
        }
        is_any
    }

    /// Drops the templates that nobody in this process can ask for any more, unless others use them. Says whether there
    /// were any. `connection` is not the control connection, whose own marks would not keep it from anything.
    pub(super) async fn drop_forgotten(&self, connection: &mut PgConnection) -> bool {
        let forgotten: Vec<Rc<Stock>> = self
            .stocks
            .borrow_mut()
            .extract_if(|_, stock| !stock.is_held())
            .map(|(_, stock)| stock)
            .collect();
        if forgotten.is_empty() {
            return false;
        }
        for spare in forgotten.iter().flat_map(|stock| stock.spares.take()) {
            self.discard(spare.oid, spare.name);
        }
        let digests: Vec<&str> = forgotten.iter().map(|stock| stock.digest.as_str()).collect();
        // What stays is only in the way, as it was.
        let disuse = async { sweep::disuse_templates(&mut *self.control().await?, &digests).await };
        disuse.await.is_ok() && sweep::drop_unused(&self.server(), connection).await.is_ok()
    }

    pub(super) async fn answer(self: Rc<Self>, request: Request) {
        match request {
            Request::Get { template, source, test, reply } => {
                reply(self.get(&template, source.as_deref(), &test).await);
            }
            Request::Build { template, reply } => reply(self.build(&template).await),
            Request::Server { reply } => reply(self.living_server().await),
            Request::Return { name } => self.give_back(name),
            Request::Keep { name, test, reply } => reply(self.keep(&name, &test).await),
        }
    }

    async fn keep(&self, name: &str, test: &str) -> Result<()> {
        Kept::mark(&self.server(), &mut *self.control().await?, name, test).await?;
        self.drops.disown(name);
        self.clear_shelf(name);
        if let Some(loan) = self.loans.take(name) {
            self.loans.watch_no_longer(loan.oid);
        }
        Ok(())
    }

    async fn build(self: &Rc<Self>, template: &Arc<Prepared>) -> Result<(Server, String)> {
        self.on_a_living_server(async || {
            let stock = self.stock(template)?;
            stock.built(self).await?;
            Ok((self.server(), stock.template_name()))
        })
        .await
    }

    async fn living_server(&self) -> Result<Server> {
        self.on_a_living_server(async || {
            let server = self.server();
            match server.obituary() {
                Some(error) => Err(error),
                None => Ok(server),
            }
        })
        .await
    }

    async fn get(
        self: &Rc<Self>,
        template: &Arc<Prepared>,
        source: Option<&str>,
        test: &str,
    ) -> Result<Claimed> {
        let permit = self.permit().await;
        self.handed.set(self.handed.get() + 1);
        let resting = self.resting.take();
        if let Some((name, loan)) = resting.filter(|_| self.handed.get() > 1) {
            self.loans.lend(&name, loan);
            self.give_back(name);
        }
        let (server, handed) = self
            .on_a_living_server(async || {
                let server = self.server();
                let handed = match source {
                    Some(source) => self.stock(template)?.copy(self, source, test).await?,
                    None => self.claim(template, test).await?,
                };
                Ok((server, handed))
            })
            .await?;
        Ok(Claimed {
            name: handed.name,
            server,
            connection: handed.connection,
            requests: self.requests.clone(),
            is_kept: false,
            _permit: permit,
            _in_use: self.in_use.clone(),
        })
    }

    /// The bound is there so that pools of many tests do not take all connections. A single test that holds more
    /// databases than that must not wait for itself: whoever waited in vain goes ahead, and so do those after it
    /// until one comes free.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let deadline = if self.is_overdrawn.get() { Duration::ZERO } else { PERMIT_DEADLINE };
        let permit = tokio::time::timeout(deadline, self.live.clone().acquire_owned()).await;
        let permit = permit.ok().and_then(|permit| permit.ok());
        self.is_overdrawn.set(permit.is_none());
        permit
    }

    async fn claim(self: &Rc<Self>, template: &Arc<Prepared>, test: &str) -> Result<Handed> {
        let stock = self.stock(template)?;
        let order = Order { test: test.to_owned(), is_recycled: template.is_recycled };
        let handed = stock.clone().claim(self, order).await?;
        spawn(stock.keep_shelf(self.clone()));
        Ok(handed)
    }

    /// The stock of a template.
    fn stock(&self, template: &Arc<Prepared>) -> Result<Rc<Stock>> {
        let source = template.source_digest().to_string();
        if let Some(stock) = self.stocks.borrow().get(&source) {
            return Ok(stock.clone());
        }
        let stock = Rc::new(Stock::of(template.clone(), build::digest(self, template)?)?);
        self.stocks.borrow_mut().insert(source, stock.clone());
        Ok(stock)
    }

    pub(super) async fn sweep_once(self: Rc<Self>) {
        if !sweep::is_due(&self.server()) {
            return;
        }
        let backend = self.backend.clone();
        // On a plain thread: it blocks. Without a thread somebody else does it.
        let tidied = on_a_thread("pgharness-tidy", move || backend.tidy());
        let swept = async {
            let mut connection = self.connect().await?;
            let swept = sweep::sweep(&self.server(), &mut connection).await;
            let _ = connection.close().await;
            swept
        };
        if swept.await.is_err() {
            sweep::want_sweep(&self.server());
        }
        if let Ok(tidied) = tidied {
            let _ = tidied.await;
        }
    }
}
