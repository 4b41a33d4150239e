//! A proxy between any client and a server.

use super::address::{Address, Stream};
use super::connection::{Arrival, Connection, forward_cancel, greet_with, serve};
use super::message::Head;
use super::relay::Leg;
use super::tap::Tap;
use super::tls::Tls;
use crate::error::{Attempt, ErrorKind, Result};
use crate::wait::pass;
use sqlx::postgres::PgConnectOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

/// The port in the name of a proxy's socket: nobody else's sockets lie in its directory.
const PORT: u16 = 5432;

/// The pause after a client that could not be let in.
const BREATH: Duration = Duration::from_millis(10);

/// A proxy that listens on a socket of its own. It runs on the runtime in which it was started, and ends, with all its
/// connections, when it is dropped.
///
/// ```
/// use pgharness::wire::{Address, PassAll, Proxy};
/// use pgharness::{Template, sqlx, template};
/// use sqlx::ConnectOptions;
///
/// static APP: Template = template! {};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgharness::Result<()> {
/// let db = APP.get().await?;
/// let proxy = Proxy::start(Address::of(&db.options()), |_| PassAll).await?;
/// let mut client = proxy.options(&db.options()).connect().await?;
/// let one: i32 = sqlx::query_scalar("select 1").fetch_one(&mut client).await?;
/// assert_eq!(one, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: Address,
    task: JoinHandle<()>,
    _dir: Option<TempDir>,
}

impl Proxy {
    /// Listens on a unix socket in a directory of its own that only this user can enter. `tap` makes what looks on at
    /// each session.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub async fn start<T: Tap>(
        server: Address,
        tap: impl Fn(&Connection) -> T + Send + Sync + 'static,
    ) -> Result<Proxy> {
        let (listener, address, dir) = Listener::private_socket()?;
        Ok(Proxy { address, task: serve_all(listener, Tls::Refused, server, tap), _dir: Some(dir) })
    }

    /// Listens on a port of the loopback interface. Whoever finds it comes as far as at the server itself: let it lead to
    /// one that asks for a password, as an embedded server's TCP does and its socket does not.
    ///
    /// # Errors
    /// The loopback interface cannot be used.
    pub async fn start_tcp<T: Tap>(
        server: Address,
        tap: impl Fn(&Connection) -> T + Send + Sync + 'static,
    ) -> Result<Proxy> {
        let (listener, address) = Listener::tcp().await?;
        Ok(Proxy { address, task: serve_all(listener, Tls::Refused, server, tap), _dir: None })
    }

    /// The same with TLS for clients that ask for it, at once or first in the clear. It ends here: taps see what is within,
    /// and the server is spoken to in the clear. So the server has nothing to bind a password's exchange to, and a client
    /// that requires channel binding is refused by itself, with its own words for it.
    ///
    /// # Errors
    /// The loopback interface cannot be used.
    #[cfg(feature = "tls")]
    pub async fn start_tls<T: Tap>(
        server: Address,
        authority: &super::Authority,
        tap: impl Fn(&Connection) -> T + Send + Sync + 'static,
    ) -> Result<Proxy> {
        let (listener, address) = Listener::tcp().await?;
        let tls = Tls::Terminated(authority.clone());
        Ok(Proxy { address, task: serve_all(listener, tls, server, tap), _dir: None })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The same options, leading through the proxy.
    pub fn options(&self, direct: &PgConnectOptions) -> PgConnectOptions {
        self.address.lead(direct)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn serve_all<T: Tap>(
    listener: Listener,
    tls: Tls,
    server: Address,
    tap: impl Fn(&Connection) -> T + Send + Sync + 'static,
) -> JoinHandle<()> {
    let (tls, server, tap) = (Arc::new(tls), Arc::new(server), Arc::new(tap));
    tokio::spawn(async move {
        // They end with this task.
        let mut sessions = JoinSet::new();
        let mut number = 0;
        loop {
            let stream = listener.client().await;
            let (tls, server, tap, this) = (tls.clone(), server.clone(), tap.clone(), number);
            number += 1;
            sessions.spawn(async move {
                match greet_with(stream, &tls).await {
                    Arrival::Session(startup, client) => session(&server, this, startup, client, &*tap).await,
                    Arrival::Cancel(request) => forward_cancel(&server, &request).await,
                    Arrival::Nothing => {}
                }
            });
            while sessions.try_join_next().is_some() {}
        }
    })
}

async fn session<T: Tap>(
    server: &Address,
    number: u64,
    startup: Head,
    client: Leg,
    tap: &(impl Fn(&Connection) -> T + Sync),
) {
    let connection = Connection { number, startup };
    let tap = tap(&connection);
    serve(server, &connection.startup, client, &tap).await;
}

/// Where clients come in.
#[derive(Debug)]
pub(crate) enum Listener {
    Socket(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// A unix socket in a directory of its own that only this user can enter.
    pub(super) fn private_socket() -> Result<(Listener, Address, TempDir)> {
        let dir = tempfile::Builder::new()
            .prefix("pgharness-wire-")
            .tempdir()
            .attempt(ErrorKind::Environment, || "failed to create a directory for a socket".into())?;
        let (listener, address) = Listener::socket(dir.path(), PORT)?;
        Ok((listener, address, dir))
    }

    /// A unix socket in `dir` with `port` in its name.
    pub(crate) fn socket(dir: &Path, port: u16) -> Result<(Listener, Address)> {
        let path = dir.join(format!(".s.PGSQL.{port}"));
        let listener = UnixListener::bind(&path)
            .attempt(ErrorKind::Environment, || format!("failed to listen on `{}`", path.display()))?;
        Ok((Listener::Socket(listener), Address::Socket { dir: dir.to_owned(), port }))
    }

    /// A free port of the loopback interface.
    pub(super) async fn tcp() -> Result<(Listener, Address)> {
        const HOST: &str = "127.0.0.1";
        let failed = || "failed to listen on the loopback interface".to_owned();
        let listener = TcpListener::bind((HOST, 0)).await.attempt(ErrorKind::Environment, failed)?;
        let port = listener.local_addr().attempt(ErrorKind::Environment, failed)?.port();
        Ok((Listener::Tcp(listener), Address::Tcp { host: HOST.into(), port }))
    }

    /// The next client that can be let in: one may be gone already, or too many files be open.
    pub(super) async fn client(&self) -> Stream {
        loop {
            match self.accept().await {
                Ok(stream) => return stream,
                Err(_) => pass(BREATH).await,
            }
        }
    }

    /// The next client.
    pub(crate) async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Listener::Socket(listener) => Ok(Box::new(listener.accept().await?.0)),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}
