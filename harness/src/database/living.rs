//! Moving to another server when one dies.

use super::host::thread_ended;
use super::work::Work;
use crate::error::{Error, Result};
use crate::process::on_a_thread;
use crate::server::{Backend, Facts, Lease, Server};
use crate::wait::{self, Look};
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use std::time::Duration;

/// A request that meets so many dying servers in a row is refused.
const LOST_MAX: u64 = 4;

impl Work {
    /// Does it, and again on another server if this one dies meanwhile.
    pub(super) async fn on_a_living_server<T>(&self, mut work: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut lost = 0;
        loop {
            let server = self.server();
            let error = match work().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if lost == LOST_MAX || !(is_lost_connection(&error) || server.obituary().is_some()) {
                return Err(error);
            }
            // A dying server may answer one connection for a moment after it lost another.
            wait::pass(Duration::from_millis(10 * lost)).await;
            lost += 1;
            match self.recover().await {
                Err(error) if lost == LOST_MAX || !is_lost_connection(&error) => return Err(error),
                _ => {}
            }
        }
    }

    /// After the loss of the control connection: another one, to another server if this one is dead.
    async fn recover(&self) -> Result<()> {
        let mut slot = self.control.lock().await;
        // Another task was here before us, or only one connection was lost. Without this one nobody would know whether
        // the server lost all of them.
        if self.server().obituary().is_none()
            && let Some(control) = slot.as_mut()
            && control.ping().await.is_ok()
        {
            return Ok(());
        }
        let dead = self.server();
        let (server, mut fresh) = open_control(&self.backend, dead.clone()).await?;
        server.leases().renew(&self.lease, &mut fresh).await?;
        if server.base() != dead.base() {
            // They went with the server's data.
            self.drops.disown_all();
            self.forget_shelf();
        }
        self.stocks.borrow_mut().clear();
        let facts = Facts::ask(server.base(), &mut fresh).await?;
        self.loans.renew(&server, &facts);
        self.looker.forget_server().await;
        *self.facts.borrow_mut() = facts;
        *self.server.borrow_mut() = server;
        *slot = Some(fresh);
        Ok(())
    }
}

/// Who we are on a server, and what we know of it.
pub(super) struct Introduction {
    pub(super) server: Server,
    pub(super) lease: Lease,
    pub(super) facts: Facts,
    /// `None`: it was not needed so far.
    pub(super) control: Option<PgConnection>,
}

impl Introduction {
    /// Takes a lease on `server`, or on its successor if it is dead. Where others noted what is to be known, nobody
    /// connects to it for that.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(super) async fn to(backend: &Arc<dyn Backend>, mut server: Server) -> Result<Introduction> {
        if server.seems_up()
            && let Some(facts) = Facts::noted(&server)
            && let Some(lease) = server.leases().take_without_session()?
        {
            return Ok(Introduction { server, lease, facts, control: None });
        }
        let mut lost = 0;
        loop {
            let (living, mut control) = open_control(backend, server).await?;
            server = living;
            let introduced = async {
                let lease = server.leases().take(&mut control).await?;
                Ok((lease, Facts::ask(server.base(), &mut control).await?))
            };
            match introduced.await {
                Ok((lease, facts)) => {
                    return Ok(Introduction { server, lease, facts, control: Some(control) });
                }
                Err(error) if lost < LOST_MAX && is_lost_connection(&error) => lost += 1,
                Err(error) => return Err(error),
            }
        }
    }
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
        // On a plain thread: starting a server blocks, and has a runtime of its own.
        let replaced = on_a_thread("pgharness-start", move || backend.replace(&dead))?;
        server = replaced.await.map_err(|_| thread_ended())??;
    }
}

/// Connects, with patience for a server that recovers or has no connection left at the moment.
async fn connect_patiently(server: &Server) -> Result<PgConnection> {
    wait::until_async("a connection to the server", Duration::from_secs(20), async || {
        match server.control().await {
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
pub(super) fn is_lost_connection(error: &Error) -> bool {
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
