//! The one background thread per server and process: it holds our part in the server, the control connection
//! and the lease, and makes, claims and drops databases. It has a runtime of its own, since a test's runtime
//! dies with its test.

use super::keep::Kept;
use super::stock::{Order, Stock};
use super::sweep;
use super::template::Prepared;
use super::{build, name::DatabaseName};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::quote_ident;
use crate::server::{Backend, Lease, Server, ServerConfig};
use crate::wait::{self, Look};
use once_cell::sync::Lazy;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// The hosts of this process, one per server configuration: its only global state.
static HOSTS: Lazy<Mutex<HashMap<ServerConfig, Arc<Host>>>> = Lazy::new(Mutex::default);

/// How long a process that exits waits for its drops to be sent.
const FAREWELL: Duration = Duration::from_millis(500);
/// A connection of a pool that a test gets; see [`Host::databases_max`].
pub(super) const POOL_CONNECTIONS_MAX: u32 = 5;
/// Connections that are not for tests: control, makers and droppers of several processes.
const OTHER_CONNECTIONS: u32 = 60;

/// A handle on the background thread.
#[derive(Debug)]
pub(crate) struct Host {
    requests: mpsc::UnboundedSender<Request>,
    /// Rung at exit: writing to a socket needs nothing that may be torn down already.
    bell: UnixStream,
    said_farewell: Arc<AtomicBool>,
}

pub(super) type Reply<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// What the thread is asked for.
pub(super) enum Request {
    /// A clone of a template for the test `test`.
    Get { template: Arc<Prepared>, test: String, reply: Reply<Claimed> },
    /// A template, built if need be, but no clone.
    Build { template: Arc<Prepared>, reply: Reply<(Server, String)> },
    /// The server itself.
    Server { reply: Reply<Server> },
    /// A database is no longer in use.
    Drop { name: String },
    /// A database is to be kept.
    Keep { name: String, test: String, reply: Reply<()> },
}

/// A database in use. Dropped when this is.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(super) name: String,
    pub(super) server: Server,
    requests: mpsc::UnboundedSender<Request>,
    is_kept: bool,
    _permit: OwnedSemaphorePermit,
}

impl Claimed {
    /// Keeps the database beyond this handle, and waits until the server knows. Blocks for a moment.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) fn keep(&mut self, test: &str) -> Result<()> {
        self.is_kept = true;
        let (sender, receiver) = std::sync::mpsc::channel();
        let reply: Reply<()> = Box::new(move |result| drop(sender.send(result)));
        let request = Request::Keep { name: self.name.clone(), test: test.to_owned(), reply };
        self.requests.send(request).map_err(|_| thread_ended())?;
        receiver
            .recv_timeout(Duration::from_secs(5))
            .attempt(ErrorKind::Server, || format!("failed to keep `{}`", self.name))?
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.is_kept {
            // The thread ended: then the next process sweeps.
            let _ = self.requests.send(Request::Drop { name: std::mem::take(&mut self.name) });
        }
    }
}

fn thread_ended() -> Error {
    Error::server("the harness's background thread ended")
}

impl Host {
    /// The host for this configuration; its thread is started when there is none.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn of(config: &ServerConfig) -> Result<Arc<Host>> {
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(config) {
            return Ok(host.clone());
        }
        if hosts.is_empty() {
            // SAFETY: the handler neither panics nor unwinds.
            unsafe { nix::libc::atexit(say_farewell) };
        }
        let host = Arc::new(Host::start(config.clone())?);
        hosts.insert(config.clone(), host.clone());
        Ok(host)
    }

    fn start(config: ServerConfig) -> Result<Host> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (bell, rung) = UnixStream::pair()
            .attempt(ErrorKind::Environment, || "failed to make a pair of sockets".into())?;
        let said_farewell = Arc::new(AtomicBool::new(false));
        let (sender, done) = (requests.clone(), said_farewell.clone());
        std::thread::Builder::new()
            .name("pgharness".into())
            .spawn(move || {
                run(&config, sender, inbox, rung);
                done.store(true, Ordering::Release);
            })
            .attempt(ErrorKind::Environment, || "failed to start a thread".into())?;
        Ok(Host { requests, bell, said_farewell })
    }

    /// Sends a request whose answer is awaited in any runtime.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reply: Reply<T> = Box::new(move |result| drop(sender.send(result)));
        self.requests.send(request(reply)).map_err(|_| thread_ended())?;
        receiver.await.map_err(|_| thread_ended())?
    }

    /// As [`ask`](Host::ask), blocking the thread.
    pub(super) fn ask_blocking<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let reply: Reply<T> = Box::new(move |result| drop(sender.send(result)));
        self.requests.send(request(reply)).map_err(|_| thread_ended())?;
        receiver.recv().map_err(|_| thread_ended())?
    }
}

/// At the process's end: lets the threads send what is still to be dropped, so that a runner that starts a
/// process per test leaves nothing piling up. Nothing here may touch a thread-local: they are gone by now.
extern "C" fn say_farewell() {
    let Ok(hosts) = HOSTS.try_lock() else { return };
    for host in hosts.values() {
        let _ = (&host.bell).write_all(b"!");
    }
    let step = Duration::from_micros(200);
    let mut waited = Duration::ZERO;
    while waited < FAREWELL && !hosts.values().all(|host| host.said_farewell.load(Ordering::Acquire)) {
        wait::block(step);
        waited += step;
    }
}

/// The thread: attaches when it is first asked for something, then works until the process ends.
fn run(
    config: &ServerConfig,
    requests: mpsc::UnboundedSender<Request>,
    mut inbox: mpsc::UnboundedReceiver<Request>,
    rung: UnixStream,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return,
    };
    let attached = config.backend().and_then(|backend| {
        let server = backend.attach()?;
        Ok((Arc::<dyn Backend>::from(backend), server))
    });
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        if rung.set_nonblocking(true).is_err() {
            return;
        }
        let Ok(mut rung) = tokio::net::UnixStream::from_std(rung) else { return };
        let work = match attached {
            Ok((backend, server)) => Work::open(backend, server, requests).await,
            Err(error) => Err(error),
        };
        let mut byte = [0];
        match work {
            Ok(work) => {
                let work = Rc::new(work);
                tokio::task::spawn_local(work.clone().drop_forever());
                tokio::task::spawn_local(work.clone().sweep_once());
                loop {
                    tokio::select! {
                        Some(request) = inbox.recv() => {
                            tokio::task::spawn_local(work.clone().answer(request));
                        }
                        _ = rung.read(&mut byte) => break,
                    }
                }
                // What was asked for before the bell counts.
                while let Ok(request) = inbox.try_recv() {
                    if let Request::Drop { name } = request {
                        work.drops.borrow_mut().push_back(name);
                    }
                }
                work.finish().await;
            }
            Err(error) => loop {
                tokio::select! {
                    Some(request) = inbox.recv() => request.refuse(&error),
                    _ = rung.read(&mut byte) => break,
                }
            },
        }
    });
}

impl Request {
    /// Answers with a copy of an error that holds for everybody.
    fn refuse(self, error: &Error) {
        match self {
            Request::Get { reply, .. } => reply(Err(error.copy())),
            Request::Build { reply, .. } => reply(Err(error.copy())),
            Request::Server { reply } => reply(Err(error.copy())),
            Request::Keep { reply, .. } => reply(Err(error.copy())),
            Request::Drop { .. } => {}
        }
    }
}

/// What the thread works with. All tasks run on it, so plain cells will do.
pub(super) struct Work {
    backend: Arc<dyn Backend>,
    server: RefCell<Server>,
    pub(super) lease: Lease,
    control: tokio::sync::Mutex<PgConnection>,
    requests: mpsc::UnboundedSender<Request>,
    stocks: RefCell<HashMap<String, Rc<tokio::sync::OnceCell<Rc<Stock>>>>>,
    drops: RefCell<VecDeque<String>>,
    drop_asked: Notify,
    pub(super) dropped: Notify,
    numbers: Cell<u64>,
    /// Bounds how many databases this process uses at a time: each may open a pool.
    live: Arc<Semaphore>,
    pub(super) ends: Cell<bool>,
}

impl Work {
    async fn open(
        backend: Arc<dyn Backend>,
        server: Server,
        requests: mpsc::UnboundedSender<Request>,
    ) -> Result<Work> {
        let (server, mut control) = open_control(&backend, server).await?;
        let lease = server.leases().take(&mut control).await?;
        let connections: String = sqlx::query_scalar("show max_connections").fetch_one(&mut control).await?;
        let for_tests = connections.parse::<u32>().unwrap_or(100).saturating_sub(OTHER_CONNECTIONS);
        let databases_max = (for_tests / POOL_CONNECTIONS_MAX).max(4) as usize;
        Ok(Work {
            backend,
            server: RefCell::new(server),
            lease,
            control: tokio::sync::Mutex::new(control),
            requests,
            stocks: RefCell::default(),
            drops: RefCell::default(),
            drop_asked: Notify::new(),
            dropped: Notify::new(),
            numbers: Cell::new(0),
            live: Arc::new(Semaphore::new(databases_max)),
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

    /// A name for a database that we use.
    pub(super) fn claimed_name(&self) -> String {
        DatabaseName::Claimed { owner: self.lease.owner().clone(), number: self.next_number() }.to_string()
    }

    /// A name for a template that we build.
    pub(super) fn building_name(&self) -> String {
        DatabaseName::Building { owner: self.lease.owner().clone(), number: self.next_number() }.to_string()
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

    async fn answer(self: Rc<Self>, request: Request) {
        match request {
            Request::Get { template, test, reply } => reply(self.get(&template, &test).await),
            Request::Build { template, reply } => reply(self.build(&template).await),
            Request::Server { reply } => reply(Ok(self.server())),
            Request::Drop { name } => self.drop_later(name),
            Request::Keep { name, test, reply } => {
                let mut control = self.control().await;
                reply(Kept::mark(&mut control, &name, &test).await);
            }
        }
    }

    async fn build(self: &Rc<Self>, template: &Arc<Prepared>) -> Result<(Server, String)> {
        let stock = self.stock(template).await?;
        Ok((self.server(), stock.template_name()))
    }

    async fn get(self: &Rc<Self>, template: &Arc<Prepared>, test: &str) -> Result<Claimed> {
        let permit = self
            .live
            .clone()
            .acquire_owned()
            .await
            .attempt(ErrorKind::Server, || "the harness is ending".into())?;
        let name = match self.claim(template, test).await {
            Err(error) if is_lost_connection(&error) => {
                self.recover().await?;
                self.claim(template, test).await?
            }
            other => other?,
        };
        Ok(Claimed {
            name,
            server: self.server(),
            requests: self.requests.clone(),
            is_kept: false,
            _permit: permit,
        })
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
                Ok::<_, Error>(Rc::new(Stock::of(built)))
            })
            .await?;
        Ok(stock.clone())
    }

    /// After the loss of the control connection: another one, to another server if this one is dead.
    async fn recover(&self) -> Result<()> {
        let mut control = self.control.lock().await;
        if control.ping().await.is_ok() {
            // Another task was here before us.
            return Ok(());
        }
        let dead = self.server();
        let (server, mut fresh) = open_control(&self.backend, dead.clone()).await?;
        server.leases().renew(&self.lease, &mut fresh).await?;
        if server.base() != dead.base() {
            self.drops.borrow_mut().clear();
        }
        self.stocks.borrow_mut().clear();
        *self.server.borrow_mut() = server;
        *control = fresh;
        Ok(())
    }

    /// Drops what is no longer in use, as long as the process lives.
    async fn drop_forever(self: Rc<Self>) {
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
        Ok(())
    }

    async fn sweep_once(self: Rc<Self>) {
        // A sweep that fails is done by the next process.
        if let Ok(mut connection) = self.connect().await {
            let _ = sweep::sweep_if_due(&self.server(), &mut connection).await;
            let _ = connection.close().await;
        }
    }

    /// Sends all pending drops, at the process's end.
    async fn finish(&self) {
        self.ends.set(true);
        let names: Vec<String> = self.drops.borrow_mut().drain(..).collect();
        if names.is_empty() {
            return;
        }
        let Ok(mut connection) = self.connect().await else { return };
        for name in names {
            if drop_database(&mut connection, &name).await.is_err() {
                return;
            }
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

/// Connects to `server`, or to its successor if it is dead.
async fn open_control(backend: &Arc<dyn Backend>, server: Server) -> Result<(Server, PgConnection)> {
    let first = connect_patiently(&server).await;
    match first {
        Ok(control) => Ok((server, control)),
        Err(error) if server.base().is_none() => Err(error),
        Err(_) => {
            let (backend, dead) = (backend.clone(), server.clone());
            let (sender, receiver) = tokio::sync::oneshot::channel();
            // On a plain thread: starting a server blocks, and has a runtime of its own.
            std::thread::Builder::new()
                .name("pgharness-start".into())
                .spawn(move || drop(sender.send(backend.replace(&dead))))
                .attempt(ErrorKind::Environment, || "failed to start a thread".into())?;
            let server = receiver.await.map_err(|_| thread_ended())??;
            let control = connect_patiently(&server).await?;
            Ok((server, control))
        }
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
