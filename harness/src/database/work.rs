//! What the background thread does for its process: claiming, keeping and dropping databases, and moving to
//! another server when one dies.

use super::host::{Claimed, Request, thread_ended};
use super::keep::Kept;
use super::name::DatabaseName;
use super::stock::{Order, Stock};
use super::template::Prepared;
use super::{build, sweep};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::quote_ident;
use crate::server::{Backend, Lease, Server};
use crate::wait::{self, Look};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
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
/// A request that meets so many dying servers in a row is refused.
const LOST_MAX: u64 = 4;

/// What the thread works with. All tasks run on it, so plain cells will do.
pub(super) struct Work {
    backend: Arc<dyn Backend>,
    server: RefCell<Server>,
    pub(super) lease: Lease,
    pub(super) server_version: String,
    control: tokio::sync::Mutex<PgConnection>,
    requests: mpsc::UnboundedSender<Request>,
    stocks: RefCell<HashMap<String, Rc<tokio::sync::OnceCell<Rc<Stock>>>>>,
    drops: RefCell<VecDeque<String>>,
    /// The databases that this process has to drop before it ends, and whether each exists for certain.
    owned: RefCell<BTreeMap<String, bool>>,
    drop_asked: Notify,
    pub(super) dropped: Notify,
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
        let (control, lease, (connections, server_version)) = loop {
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
        Ok(Work {
            backend,
            server: RefCell::new(server),
            lease,
            server_version,
            control: tokio::sync::Mutex::new(control),
            requests,
            stocks: RefCell::default(),
            drops: RefCell::default(),
            owned: RefCell::default(),
            drop_asked: Notify::new(),
            dropped: Notify::new(),
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
        self.owned.borrow_mut().insert(name.clone(), false);
        name
    }

    /// The database is there.
    pub(super) fn owns(&self, name: &str) {
        self.owned.borrow_mut().insert(name.to_owned(), true);
    }

    /// The server was asked for the database and gave this error: if that is its own answer, there is none.
    pub(super) fn is_refused(&self, name: &str, error: &Error) {
        if error.sqlstate().is_some() {
            self.disowns(name);
        }
    }

    /// The database is not there, or no longer ours to drop.
    pub(super) fn disowns(&self, name: &str) {
        self.owned.borrow_mut().remove(name);
    }

    /// How many databases wait for being dropped.
    pub(super) fn drops_pending(&self) -> usize {
        self.drops.borrow().len()
    }

    /// Has a database dropped; nobody waits for it.
    pub(super) fn drop_later(&self, name: String) {
        self.drops.borrow_mut().push_back(name);
        self.drop_asked.notify_one();
    }

    pub(super) async fn answer(self: Rc<Self>, request: Request) {
        match request {
            Request::Get { template, test, reply } => reply(self.get(&template, &test).await),
            Request::Build { template, reply } => reply(self.build(&template).await),
            Request::Server { reply } => reply(self.living_server().await),
            Request::Drop { name } => self.drop_later(name),
            Request::Keep { name, test, reply } => {
                let mut control = self.control().await;
                let marked = Kept::mark(&self.server(), &mut control, &name, &test).await;
                if marked.is_ok() {
                    self.disowns(&name);
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
        let (server, name) = self
            .on_a_living_server(async || {
                let server = self.server();
                Ok((server, self.claim(template, test).await?))
            })
            .await?;
        Ok(Claimed {
            name,
            server,
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

    /// Does it, and again on another server if this one dies meanwhile.
    async fn on_a_living_server<T>(&self, mut work: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut lost = 0;
        loop {
            let server = self.server();
            match work().await {
                Err(error)
                    if lost < LOST_MAX && (is_lost_connection(&error) || server.obituary().is_some()) =>
                {
                    // A dying server may answer one connection for a moment after it lost another.
                    wait::pass(Duration::from_millis(10 * lost)).await;
                    lost += 1;
                    self.recover().await?;
                }
                other => return other,
            }
        }
    }

    async fn claim(self: &Rc<Self>, template: &Arc<Prepared>, test: &str) -> Result<String> {
        let stock = self.stock(template).await?;
        stock.claim(self, Order { test: test.to_owned() }).await
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

    /// After the loss of the control connection: another one, to another server if this one is dead.
    async fn recover(&self) -> Result<()> {
        let mut control = self.control.lock().await;
        if self.server().obituary().is_none() && control.ping().await.is_ok() {
            // Another task was here before us, or only one connection was lost.
            return Ok(());
        }
        let dead = self.server();
        let (server, mut fresh) = open_control(&self.backend, dead.clone()).await?;
        server.leases().renew(&self.lease, &mut fresh).await?;
        if server.base() != dead.base() {
            // They went with the server's data.
            self.drops.borrow_mut().clear();
            self.owned.borrow_mut().clear();
        }
        self.stocks.borrow_mut().clear();
        *self.server.borrow_mut() = server;
        *control = fresh;
        Ok(())
    }

    /// Drops what is no longer in use, as long as the process lives.
    pub(super) async fn drop_forever(self: Rc<Self>) {
        let mut connection = None;
        loop {
            if self.drops.borrow().is_empty() {
                self.drop_asked.notified().await;
            }
            if self.ends.get() {
                return;
            }
            if let Err(_lost) = self.drop_next(&mut connection).await {
                // The server went away, and the databases with it or to the next sweep.
                connection = None;
                self.drops.borrow_mut().pop_front();
            }
            self.dropped.notify_waiters();
        }
    }

    async fn drop_next(&self, connection: &mut Option<PgConnection>) -> Result<()> {
        let Some(name) = self.drops.borrow().front().cloned() else { return Ok(()) };
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connect().await?),
        };
        // A forced drop waits 100 ms when it meets a session on its way out: look first, but not for long.
        let mut looks = 0;
        let left =
            wait::until_async("the sessions of a database to leave", Duration::from_millis(50), async || {
                looks += 1;
                let busy: bool =
                    sqlx::query_scalar("select exists (select from pg_stat_activity where datname = $1)")
                        .bind(&name)
                        .fetch_one(&mut *connection)
                        .await?;
                Ok(if busy { Look::NotYet("busy".into()) } else { Look::Ready(()) })
            })
            .await;
        let _ = left;
        drop_database(connection, &name).await?;
        self.drops.borrow_mut().retain(|pending| *pending != name);
        self.disowns(&name);
        Ok(())
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

    /// Drops whatever is ours still, at the process's end, and closes the lease if nothing can be left.
    pub(super) async fn finish(&self) {
        self.ends.set(true);
        let owned = self.owned.replace(BTreeMap::new());
        let mut is_clean = owned.values().all(|exists| *exists);
        if !owned.is_empty() {
            let Ok(mut connection) = self.connect().await else { return };
            for name in owned.keys() {
                is_clean &= drop_database(&mut connection, name).await.is_ok();
            }
        }
        if is_clean {
            self.lease.close();
        }
    }
}

/// Drops a database of ours, whoever is connected to it.
pub(super) async fn drop_database(connection: &mut PgConnection, name: &str) -> Result<()> {
    connection
        .execute(AssertSqlSafe(format!("drop database if exists {} with (force)", quote_ident(name))))
        .await?;
    Ok(())
}

/// Takes a lease on the server; gives how many connections the server takes, and its version.
async fn introduce(server: &Server, control: &mut PgConnection) -> Result<(Lease, (i32, String))> {
    let lease = server.leases().take(control).await?;
    let facts = sqlx::query_as(
        "select current_setting('max_connections')::int, current_setting('server_version_num')",
    );
    Ok((lease, facts.fetch_one(control).await?))
}

/// Connects to `server`, or to its successor if it is dead.
async fn open_control(backend: &Arc<dyn Backend>, mut server: Server) -> Result<(Server, PgConnection)> {
    let mut lost = 0;
    loop {
        match connect_patiently(&server).await {
            Ok(control) => return Ok((server, control)),
            Err(error) if server.base().is_none() || lost == LOST_MAX => return Err(error),
            Err(_) => {}
        }
        lost += 1;
        let (backend, dead) = (backend.clone(), server);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // On a plain thread: starting a server blocks, and has a runtime of its own.
        std::thread::Builder::new()
            .name("pgharness-start".into())
            .spawn(move || drop(sender.send(backend.replace(&dead))))
            .attempt(ErrorKind::Environment, || "failed to start a thread".into())?;
        server = receiver.await.map_err(|_| thread_ended())??;
    }
}

/// Connects, with patience for a server that recovers or has no connection left at the moment.
async fn connect_patiently(server: &Server) -> Result<PgConnection> {
    wait::until_async("a connection to the server", Duration::from_secs(20), async || {
        match server.connect(server.endpoint().maintenance_database()).await {
            Ok(connection) => Ok(Look::Ready(connection)),
            Err(error) => match error.sqlstate().as_deref() {
                Some("57P03" | "53300") => Ok(Look::NotYet(error.to_string())),
                _ => Err(error),
            },
        }
    })
    .await
}

/// Whether the connection, not the statement, is what failed.
fn is_lost_connection(error: &Error) -> bool {
    use std::error::Error as _;
    if matches!(error.sqlstate().as_deref(), Some("57P01" | "57P02" | "57P03")) {
        return true;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<sqlx::Error>() {
            return matches!(
                error,
                sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed
            );
        }
        cause = error.source();
    }
    false
}
