//! The one background thread per server and process: it holds our part in the server, the control connection
//! and the lease, and makes, claims and drops databases. It has a runtime of its own, since a test's runtime
//! dies with its test.

use super::drops::Drops;
use super::prepared::Prepared;
use super::task::spawn;
use super::work::Work;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::on_a_thread;
use crate::server::{Backend, Server, ServerConfig};
use crate::wait::{self, Event, Look, Patience};
use once_cell::sync::Lazy;
use sqlx::PgConnection;
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// The hosts of this process, one per server configuration: its only global state.
static HOSTS: Lazy<Mutex<Hosts>> = Lazy::new(Mutex::default);

#[derive(Default)]
struct Hosts {
    active: HashMap<ServerConfig, Arc<Host>>,
    /// Those that made room for others and are about to end.
    leaving: Vec<Arc<Host>>,
}

/// How long a process that exits waits for its drops at most: on a busy machine a drop takes its time.
const FAREWELL: Duration = Duration::from_secs(5);
/// A process that needs one more server waits so long for one of its others to be no longer in use.
const ROOM_DEADLINE: Duration = Duration::from_secs(30);
const SERVERS_MAX: u64 = 4;

/// A handle on the background thread.
#[derive(Debug)]
pub(crate) struct Host {
    requests: mpsc::UnboundedSender<Request>,
    /// Rung at exit: writing to a socket needs nothing that may be torn down already.
    bell: UnixStream,
    ended: Arc<Event>,
    in_use: Arc<()>,
    /// The process that the thread is of: one that was forked from it has the handle, but no thread.
    process: u32,
}

/// A host that is not ended meanwhile.
#[derive(Debug)]
pub(crate) struct Guest {
    host: Arc<Host>,
    _in_use: Arc<()>,
}

pub(super) type Reply<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// What the thread is asked for.
pub(super) enum Request {
    /// A clone of a template for the test `test`; or a copy of `source`, which is such a clone and in which nobody is.
    Get { template: Arc<Prepared>, source: Option<String>, test: String, reply: Reply<Claimed> },
    /// A template, built if need be, but no clone.
    Build { template: Arc<Prepared>, reply: Reply<(Server, String)> },
    /// The server itself.
    Server { reply: Reply<Server> },
    /// A database is no longer in use.
    Return { name: String },
    /// A database is to be kept.
    Keep { name: String, test: String, reply: Reply<()> },
}

/// A database in use. Dropped when this is.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(super) name: String,
    pub(super) server: Server,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) is_kept: bool,
    /// A connection to it that is open already.
    pub(super) connection: Option<PgConnection>,
    pub(super) _permit: Option<OwnedSemaphorePermit>,
    pub(super) _in_use: Arc<()>,
}

impl Claimed {
    /// Keeps the database beyond this handle, and waits until the server knows. Blocks for a moment.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) fn keep(&mut self, test: &str) -> Result<()> {
        self.is_kept = true;
        let (sender, mut receiver) = oneshot::channel();
        let reply: Reply<()> = Box::new(move |result| drop(sender.send(result)));
        let request = Request::Keep { name: self.name.clone(), test: test.to_owned(), reply };
        self.requests.send(request).map_err(|_| thread_ended())?;
        wait::until("the database to be kept", Duration::from_secs(5), || match receiver.try_recv() {
            Ok(result) => Ok(Look::Ready(result)),
            Err(TryRecvError::Empty) => Ok(Look::NotYet("no answer".into())),
            Err(TryRecvError::Closed) => Err(thread_ended()),
        })
        .attempt(ErrorKind::Server, || format!("failed to keep `{}`", self.name))?
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.is_kept {
            // Its session ends before anybody waits for that.
            drop(self.connection.take());
            // The thread ended: then the next process sweeps.
            let _ = self.requests.send(Request::Return { name: std::mem::take(&mut self.name) });
        }
    }
}

pub(super) fn thread_ended() -> Error {
    Error::server("the harness's background thread ended")
}

impl Host {
    /// The host for this configuration; its thread is started when there is none. Waits while all servers that
    /// this process may use are in use.
    ///
    /// # Errors
    /// No thread can be started, or no server came free.
    pub(crate) async fn of(config: &ServerConfig) -> Result<Guest> {
        let patience = Patience::new("another of its servers to be no longer in use", ROOM_DEADLINE);
        loop {
            match Host::look_for(config)? {
                Look::Ready(guest) => return Ok(guest),
                Look::NotYet(status) => patience.not_yet(&status).await.map_err(with_advice)?,
            }
        }
    }

    /// As [`of`](Host::of), blocking the thread.
    ///
    /// # Errors
    /// As [`of`](Host::of).
    pub(crate) fn of_blocking(config: &ServerConfig) -> Result<Guest> {
        wait::until("another of its servers to be no longer in use", ROOM_DEADLINE, || Host::look_for(config))
            .map_err(with_advice)
    }

    fn look_for(config: &ServerConfig) -> Result<Look<Guest>> {
        let process = std::process::id();
        let servers_max = env::SERVERS_MAX.number()?.unwrap_or(SERVERS_MAX).max(1);
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        // After a fork these are our parent's.
        hosts.active.retain(|_, host| host.process == process);
        hosts.leaving.retain(|host| host.process == process && !host.ended.has_happened());
        if let Some(host) = hosts.active.get(config) {
            return Ok(Look::Ready(Host::enter(host)));
        }
        if hosts.active.len() as u64 >= servers_max {
            let idle = hosts.active.iter().find(|(_, host)| host.is_idle()).map(|(config, _)| config.clone());
            let Some(idle) = idle else {
                return Ok(Look::NotYet(format!("this process uses {} servers", hosts.active.len())));
            };
            if let Some(host) = hosts.active.remove(&idle) {
                host.ring();
                hosts.leaving.push(host);
            }
        }
        // SAFETY: the handler neither panics nor unwinds.
        HAS_FAREWELL.call_once(|| unsafe {
            libc::atexit(say_farewell);
        });
        let host = Arc::new(Host::start(config.clone())?);
        hosts.active.insert(config.clone(), host.clone());
        Ok(Look::Ready(Host::enter(&host)))
    }

    /// Only with the lock on all hosts: see [`is_idle`](Host::is_idle).
    fn enter(host: &Arc<Host>) -> Guest {
        Guest { host: host.clone(), _in_use: host.in_use.clone() }
    }

    /// Whether nobody has a database of this host or waits for one: then only we and the thread hold the mark.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.in_use) <= 2
    }

    /// Has the thread drop what is to be dropped, and end.
    fn ring(&self) {
        let _ = (&self.bell).write_all(b"!");
    }

    fn start(config: ServerConfig) -> Result<Host> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (bell, rung) = UnixStream::pair()
            .attempt(ErrorKind::Environment, || "failed to make a pair of sockets".into())?;
        let (ended, in_use) = (Arc::new(Event::default()), Arc::new(()));
        let (sender, end, mark) = (requests.clone(), ended.clone(), in_use.clone());
        on_a_thread("pgharness", move || {
            run(&config, sender, inbox, rung, mark);
            end.happen();
        })?;
        Ok(Host { requests, bell, ended, in_use, process: std::process::id() })
    }
}

static HAS_FAREWELL: std::sync::Once = std::sync::Once::new();

fn with_advice(error: Error) -> Error {
    match error.help() {
        Some(_) => error,
        None => error.with_help(format!(
            "every template that creates roles has a server of its own: raise {}, or use fewer of them at a time",
            env::SERVERS_MAX.name
        )),
    }
}

impl Guest {
    /// Sends a request whose answer is awaited in any runtime.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T> {
        self.send(request)?.await.map_err(|_| thread_ended())?
    }

    /// As [`ask`](Host::ask), blocking the thread.
    pub(super) fn ask_blocking<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T> {
        wait::block_on(self.send(request)?).map_err(|_| thread_ended())?
    }

    fn send<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (sender, receiver) = oneshot::channel();
        let reply: Reply<T> = Box::new(move |result| drop(sender.send(result)));
        self.host.requests.send(request(reply)).map_err(|_| thread_ended())?;
        Ok(receiver)
    }
}

/// At the process's end: lets the threads send what is still to be dropped, so that a runner that starts a
/// process per test leaves nothing piling up. Nothing here may touch a thread-local: they are gone by now.
extern "C" fn say_farewell() {
    let Ok(hosts) = HOSTS.try_lock() else { return };
    // A forked process would ring its parent's bell.
    let process = std::process::id();
    let ours = || hosts.active.values().chain(&hosts.leaving).filter(|host| host.process == process);
    ours().for_each(|host| host.ring());
    let since = Instant::now();
    ours().for_each(|host| host.ended.wait(FAREWELL.saturating_sub(since.elapsed())));
}

/// The thread: attaches when it is first asked for something, then works until the process ends.
fn run(
    config: &ServerConfig,
    requests: mpsc::UnboundedSender<Request>,
    mut inbox: mpsc::UnboundedReceiver<Request>,
    rung: UnixStream,
    in_use: Arc<()>,
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
            Ok((backend, server)) => Work::open(backend, server, requests, in_use).await,
            Err(error) => Err(error),
        };
        let mut byte = [0];
        match work {
            Ok(work) => {
                let work = Rc::new(work);
                spawn(Drops::drop_forever(work.clone()));
                let sweep = spawn(work.clone().sweep_once());
                loop {
                    tokio::select! {
                        Some(request) = inbox.recv() => match request {
                            // At once: at the end it counts what was given back before.
                            Request::Return { name } => work.give_back(name),
                            request => drop(spawn(work.clone().answer(request))),
                        },
                        _ = rung.read(&mut byte) => break,
                    }
                }
                // What was asked for before the bell counts.
                while let Ok(request) = inbox.try_recv() {
                    if let Request::Return { name } = request {
                        work.give_back_at_end(name);
                    }
                }
                work.end().await;
                Drops::finish(&work).await;
                // What killed processes left is ours to remove: the next run should find nothing of it.
                let _ = sweep.await;
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
            Request::Return { .. } => {}
        }
    }
}
