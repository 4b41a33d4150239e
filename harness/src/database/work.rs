//! What the background thread does for its process: claiming, keeping and returning databases.

use super::drops::Drops;
use super::host::{Claimed, Request};
use super::keep::Kept;
use super::living::{LOST_MAX, introduce, is_lost_connection, open_control};
use super::loans::Loans;
use super::look::Looker;
use super::name::DatabaseName;
use super::prepared::Prepared;
use super::put_back::put_back;
use super::stock::{Handed, Order, Stock};
use super::{build, sweep};
use crate::error::{Error, Result};
use crate::server::{Backend, Lease, Server};
use sqlx::{Connection, PgConnection};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

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
    pub(super) server_version: String,
    pub(super) control: tokio::sync::Mutex<PgConnection>,
    requests: mpsc::UnboundedSender<Request>,
    pub(super) stocks: RefCell<HashMap<String, Rc<tokio::sync::OnceCell<Rc<Stock>>>>>,
    pub(super) drops: Drops,
    pub(super) loans: Loans,
    pub(super) looker: Looker,
    /// How many databases are being put back.
    returning: Cell<usize>,
    returned: Notify,
    numbers: Cell<u64>,
    /// Bounds how many databases this process uses at a time: each may open a pool.
    live: Arc<Semaphore>,
    is_overdrawn: Cell<bool>,
    in_use: Arc<()>,
    pub(super) ends: Cell<bool>,
}

impl Work {
    pub(super) async fn open(
        backend: Arc<dyn Backend>,
        server: Server,
        requests: mpsc::UnboundedSender<Request>,
        in_use: Arc<()>,
    ) -> Result<Work> {
        let mut server = server;
        let mut lost = 0;
        let (mut control, lease, (connections, server_version)) = loop {
            let (living, mut control) = open_control(&backend, server).await?;
            server = living;
            match introduce(&server, &mut control).await {
                Ok((lease, facts)) => break (control, lease, facts),
                Err(error) if lost < LOST_MAX && is_lost_connection(&error) => lost += 1,
                Err(error) => return Err(error),
            }
        };
        let for_tests = u32::try_from(connections).unwrap_or(100).saturating_sub(OTHER_CONNECTIONS);
        let databases_max = (for_tests / POOL_CONNECTIONS_MAX).max(4) as usize;
        let loans = Loans::of(&server, &mut control).await?;
        Ok(Work {
            backend,
            server: RefCell::new(server),
            lease,
            server_version,
            control: tokio::sync::Mutex::new(control),
            requests,
            stocks: RefCell::default(),
            drops: Drops::default(),
            loans,
            looker: Looker::default(),
            returning: Cell::new(0),
            returned: Notify::new(),
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
        let server = self.server();
        server.connect(server.endpoint().maintenance_database()).await
    }

    /// The control connection, for short statements.
    pub(super) async fn control(&self) -> tokio::sync::MutexGuard<'_, PgConnection> {
        self.control.lock().await
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

    /// The server was asked for the database and gave this error: if that is its own answer, there is none.
    pub(super) fn is_refused(&self, name: &str, error: &Error) {
        if error.sqlstate().is_some() {
            self.drops.disown(name);
        }
    }

    /// A test no longer needs the database: it is put back if it was lent for that, else dropped. Nobody waits.
    pub(super) fn give_back(self: &Rc<Self>, name: String) {
        let Some(loan) = self.loans.take(&name).filter(|_| !self.ends.get()) else {
            return self.drops.drop_later(name);
        };
        loan.stock.expect_return();
        self.returning.set(self.returning.get() + 1);
        let work = self.clone();
        tokio::task::spawn_local(async move {
            let (mut name, stock, oid) = (name, loan.stock.clone(), loan.oid);
            let spare = put_back(&work, &mut name, loan).await.ok();
            if spare.is_none() {
                work.loans.watch_no_longer(oid);
                work.drops.drop_later(name);
            }
            stock.returned(&work, spare);
            work.returning.set(work.returning.get() - 1);
            work.returned.notify_one();
        });
    }

    /// Ends putting databases back, and the connections to those that were.
    pub(super) async fn end(&self) {
        self.ends.set(true);
        while self.returning.get() > 0 {
            self.returned.notified().await;
        }
        let stocks: Vec<_> = self.stocks.take().into_values().collect();
        for stock in stocks.iter().filter_map(|stock| stock.get()) {
            stock.close_spares().await;
        }
    }

    pub(super) async fn answer(self: Rc<Self>, request: Request) {
        match request {
            Request::Get { template, test, reply } => reply(self.get(&template, &test).await),
            Request::Build { template, reply } => reply(self.build(&template).await),
            Request::Server { reply } => reply(self.living_server().await),
            Request::Return { name } => self.give_back(name),
            Request::Keep { name, test, reply } => {
                let mut control = self.control().await;
                let marked = Kept::mark(&self.server(), &mut control, &name, &test).await;
                if marked.is_ok() {
                    self.drops.disown(&name);
                    if let Some(loan) = self.loans.take(&name) {
                        self.loans.watch_no_longer(loan.oid);
                    }
                }
                reply(marked);
            }
        }
    }

    async fn build(self: &Rc<Self>, template: &Arc<Prepared>) -> Result<(Server, String)> {
        self.on_a_living_server(async || {
            let stock = self.stock(template).await?;
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

    async fn get(self: &Rc<Self>, template: &Arc<Prepared>, test: &str) -> Result<Claimed> {
        let permit = self.permit().await;
        let (server, handed) = self
            .on_a_living_server(async || {
                let server = self.server();
                Ok((server, self.claim(template, test).await?))
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
        let stock = self.stock(template).await?;
        stock.claim(self, Order { test: test.to_owned(), is_recycled: template.is_recycled }).await
    }

    /// The stock of a template, which is built when it is not there yet.
    async fn stock(self: &Rc<Self>, template: &Arc<Prepared>) -> Result<Rc<Stock>> {
        let cell = self.stocks.borrow_mut().entry(template.source_digest().to_string()).or_default().clone();
        let stock = cell
            .get_or_try_init(|| async {
                let built = build::find_or_build(self, template).await?;
                Ok::<_, Error>(Rc::new(Stock::of(built)?))
            })
            .await?;
        Ok(stock.clone())
    }

    pub(super) async fn sweep_once(self: Rc<Self>) {
        if !sweep::is_due(&self.server()) {
            return;
        }
        let (backend, (sender, tidied)) = (self.backend.clone(), tokio::sync::oneshot::channel::<()>());
        // On a plain thread: it blocks. Without a thread somebody else does it.
        let _ = std::thread::Builder::new().name("pgharness-tidy".into()).spawn(move || {
            backend.tidy();
            drop(sender);
        });
        // A sweep that fails is done by the next process.
        if let Ok(mut connection) = self.connect().await {
            let _ = sweep::sweep(&self.server(), &mut connection).await;
            let _ = connection.close().await;
        }
        let _ = tidied.await;
    }
}
