//! Where a server listens, and the streams that lead there.

use crate::error::{Attempt, ErrorKind, Result};
use crate::script::socket;
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A stream of bytes both ways: a unix socket, TCP, or what speaks TLS on top of one.
pub type Stream = Box<dyn Duplex>;

/// What can be read and written.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has it end with a reset when it is dropped, where there is such a thing.
    fn reset_at_end(&self) {}
}

impl Duplex for UnixStream {}

impl Duplex for TcpStream {
    fn reset_at_end(&self) {
        // It fails of a connection that is gone already.
        let _ = self.set_zero_linger();
    }
}

#[cfg(feature = "tls")]
impl Duplex for tokio_rustls::server::TlsStream<Stream> {
    fn reset_at_end(&self) {
        self.get_ref().0.reset_at_end();
    }
}

impl fmt::Debug for dyn Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stream")
    }
}

/// Where a server, or a proxy, listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket: its directory and the port in its name.
    Socket {
        /// The directory.
        dir: PathBuf,
        /// The port.
        port: u16,
    },
    /// TCP.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// Where these options lead.
    pub fn of(options: &PgConnectOptions) -> Address {
        let port = options.get_port();
        match socket(options) {
            Some(dir) => Address::Socket { dir: dir.into(), port },
            None => Address::Tcp { host: options.get_host().to_owned(), port },
        }
    }

    /// The same options, leading here.
    pub fn lead(&self, options: &PgConnectOptions) -> PgConnectOptions {
        match self {
            Address::Socket { dir, port } => options.clone().socket(dir).port(*port),
            Address::Tcp { host, port } => without_socket(options).host(host).port(*port),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(&self) -> Result<Stream> {
        let stream: std::io::Result<Stream> = match self {
            Address::Socket { dir, port } => UnixStream::connect(dir.join(format!(".s.PGSQL.{port}")))
                .await
                .map(|stream| Box::new(stream) as Stream),
            Address::Tcp { host, port } => {
                TcpStream::connect((host.as_str(), *port)).await.and_then(|stream| {
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as Stream)
                })
            }
        };
        stream.attempt(ErrorKind::Server, || format!("failed to connect to {self}"))
    }
}

/// sqlx prefers a socket once one is set, and has no way to take it back.
fn without_socket(options: &PgConnectOptions) -> PgConnectOptions {
    if options.get_socket().is_none() {
        return options.clone();
    }
    let mut fresh = PgConnectOptions::new_without_pgpass()
        .username(options.get_username())
        .ssl_mode(options.get_ssl_mode());
    if let Some(database) = options.get_database() {
        fresh = fresh.database(database);
    }
    fresh
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket { dir, port } => write!(f, "`{}/.s.PGSQL.{port}`", dir.display()),
            Address::Tcp { host, port } => write!(f, "`{host}:{port}`"),
        }
    }
}
