//! A server that is none: it answers what a script says.

use super::address::{Address, Stream};
use super::connection::{Arrival, greet_with};
use super::framing::{Framer, Piece};
use super::message::{Head, Kind, Side};
use super::proxy::Listener;
use super::relay::Leg;
use super::tls::Tls;
use crate::error::{Attempt, ErrorKind, Result};
use sqlx::postgres::PgConnectOptions;
use std::collections::VecDeque;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, JoinSet};

/// So much is read at a time, in bytes.
const CHUNK: usize = 16 << 10;

/// Stands where a server would, and does to every client what a script says: any answer, at any time, or none. It ends,
/// with all its connections, when it is dropped.
///
/// ```
/// use pgharness::sqlx::{ConnectOptions, Executor, postgres::PgConnectOptions};
/// use pgharness::wire::{FakeServer, Guest, Reply};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgharness::Result<()> {
/// let server = FakeServer::start(async |mut guest: Guest| {
///     guest.welcome().await?;
///     guest.serve(|_| Reply::error("40001", "could not serialize access").with(b'H', "retry")).await
/// })?;
/// let mut client = server.options(&PgConnectOptions::new_without_pgpass().username("me")).connect().await?;
/// let error = client.execute("update t set n = 1").await.unwrap_err();
/// assert_eq!(error.as_database_error().unwrap().code().unwrap(), "40001");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FakeServer {
    address: Address,
    task: JoinHandle<()>,
    _dir: Option<TempDir>,
}

impl FakeServer {
    /// Listens on a unix socket in a directory of its own. `script` is played for every client that sent its start-up
    /// packet; its connection ends with the script, also with one that fails because the client went away.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start<F>(script: impl Fn(Guest) -> F + Send + Sync + 'static) -> Result<FakeServer>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (listener, address, dir) = Listener::private_socket()?;
        Ok(FakeServer { address, task: play(listener, Tls::Refused, script), _dir: Some(dir) })
    }

    /// The same on a port of the loopback interface, with TLS for clients that ask for it.
    ///
    /// # Errors
    /// The loopback interface cannot be used.
    #[cfg(feature = "tls")]
    pub async fn start_tls<F>(
        authority: &super::Authority,
        script: impl Fn(Guest) -> F + Send + Sync + 'static,
    ) -> Result<FakeServer>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (listener, address) = Listener::tcp().await?;
        let tls = Tls::Terminated(authority.clone());
        Ok(FakeServer { address, task: play(listener, tls, script), _dir: None })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The same options, leading here.
    pub fn options(&self, options: &PgConnectOptions) -> PgConnectOptions {
        self.address.lead(options)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn play<F>(
    listener: Listener,
    tls: Tls,
    script: impl Fn(Guest) -> F + Send + Sync + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        let (script, tls) = (Arc::new(script), Arc::new(tls));
        let mut guests = JoinSet::new();
        loop {
            let stream = listener.client().await;
            let (script, tls) = (script.clone(), tls.clone());
            guests.spawn(async move {
                if let Arrival::Session(startup, Leg { stream, framer }) = greet_with(stream, &tls).await {
                    // What it fails of is that the client went away, which no one is left to be told of.
                    let _ = script(Guest { startup, stream, framer, heard: VecDeque::new() }).await;
                }
            });
            while guests.try_join_next().is_some() {}
        }
    })
}

/// What a [`Guest`] is answered to a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done: `INSERT 0 1`.
    Done(String),
    /// It failed, with these fields by their letters.
    Error(Vec<(u8, String)>),
}

impl Reply {
    /// It was done.
    pub fn done(tag: impl Into<String>) -> Reply {
        Reply::Done(tag.into())
    }

    /// It failed.
    pub fn error(sqlstate: impl Into<String>, message: impl Into<String>) -> Reply {
        Reply::Error(vec![
            (b'S', "ERROR".into()),
            (b'V', "ERROR".into()),
            (b'C', sqlstate.into()),
            (b'M', message.into()),
        ])
    }

    /// With one more field of an error: `D` is the detail, `n` a constraint's name. Of what was done, nothing changes.
    #[must_use]
    pub fn with(mut self, letter: u8, text: impl Into<String>) -> Reply {
        if let Reply::Error(fields) = &mut self {
            fields.push((letter, text.into()));
        }
        self
    }

    fn message(&self) -> Head {
        match self {
            Reply::Done(tag) => Head::new(Side::Backend, b'C', format!("{tag}\0").as_bytes()),
            Reply::Error(fields) => {
                let mut body = Vec::new();
                for (letter, text) in fields {
                    body.push(*letter);
                    body.extend(text.as_bytes());
                    body.push(0);
                }
                body.push(0);
                Head::new(Side::Backend, b'E', &body)
            }
        }
    }
}

/// A client of a [`FakeServer`]. Its connection ends when this is dropped.
#[derive(Debug)]
pub struct Guest {
    startup: Head,
    stream: Stream,
    framer: Framer,
    heard: VecDeque<Head>,
}

impl Guest {
    /// The client's start-up packet.
    pub fn startup(&self) -> &Head {
        &self.startup
    }

    /// The client's next message; `None` when it went away.
    ///
    /// # Errors
    /// The client sent what is no message, or the connection broke.
    pub async fn hear(&mut self) -> Result<Option<Head>> {
        let mut bytes = vec![0; CHUNK];
        loop {
            if let Some(head) = self.heard.pop_front() {
                return Ok(Some(head));
            }
            let failed = || "failed to read from a client".to_owned();
            let length = self.stream.read(&mut bytes).await.attempt(ErrorKind::Server, failed)?;
            if length == 0 {
                return Ok(None);
            }
            let heard = &mut self.heard;
            self.framer
                .feed(&bytes[..length], |piece| {
                    if let Piece::Head(head) = piece {
                        heard.push_back(head);
                    }
                })
                .attempt(ErrorKind::Server, failed)?;
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The client went away.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = || "failed to write to a client".to_owned();
        self.stream.write_all(bytes).await.attempt(ErrorKind::Server, failed)?;
        self.stream.flush().await.attempt(ErrorKind::Server, failed)
    }

    /// Sends a message of this type.
    ///
    /// # Errors
    /// The client went away.
    pub async fn message(&mut self, byte: u8, body: &[u8]) -> Result<()> {
        self.say(Head::new(Side::Backend, byte, body).bytes()).await
    }

    /// Sends an answer, with nothing behind it.
    ///
    /// # Errors
    /// The client went away.
    pub async fn reply(&mut self, reply: &Reply) -> Result<()> {
        self.say(reply.message().bytes()).await
    }

    /// Asks for something of the authentication: `code` 3 for a password in clear, 10 for SCRAM with its `data`.
    ///
    /// # Errors
    /// The client went away.
    pub async fn authentication(&mut self, code: u32, data: &[u8]) -> Result<()> {
        self.message(b'R', &[&code.to_be_bytes(), data].concat()).await
    }

    /// Lets the client in, as a server does that asks for no password.
    ///
    /// # Errors
    /// The client went away.
    pub async fn welcome(&mut self) -> Result<()> {
        self.authentication(0, &[]).await?;
        for (name, value) in
            [("server_version", "18.0"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")]
        {
            self.message(b'S', format!("{name}\0{value}\0").as_bytes()).await?;
        }
        self.message(b'K', &[0, 0, 0, 1, 0, 0, 0, 1]).await?;
        self.ready().await
    }

    /// Says that the session is idle and listens.
    ///
    /// # Errors
    /// The client went away.
    pub async fn ready(&mut self) -> Result<()> {
        self.message(b'Z', b"I").await
    }

    /// Answers statements, in either protocol, with what `answer` makes of their SQL, until the client goes. It gives no
    /// rows.
    ///
    /// # Errors
    /// The connection broke, or the client sent what is no message.
    pub async fn serve(&mut self, mut answer: impl FnMut(&str) -> Reply + Send) -> Result<()> {
        let mut prepared = super::prepared::Prepared::default();
        let mut types = Vec::new();
        let mut is_skipping = false;
        while let Some(head) = self.hear().await? {
            let sql = prepared.frontend(&head);
            match head.kind() {
                Kind::Terminate => return Ok(()),
                Kind::Sync => {
                    is_skipping = false;
                    self.ready().await?;
                }
                _ if is_skipping => {}
                Kind::Query | Kind::Execute => {
                    let reply = answer(sql.as_deref().unwrap_or_default());
                    self.reply(&reply).await?;
                    if head.kind() == Kind::Query {
                        self.ready().await?;
                    } else {
                        is_skipping = matches!(reply, Reply::Error(_));
                    }
                }
                Kind::Parse => {
                    types = parameter_types(&head);
                    self.message(b'1', b"").await?;
                }
                Kind::Bind => self.message(b'2', b"").await?,
                Kind::Close => self.message(b'3', b"").await?,
                Kind::Describe => {
                    if head.target().is_some_and(|(what, _)| what == b'S') {
                        self.message(b't', &types).await?;
                    }
                    self.message(b'n', b"").await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Says nothing for ever.
    pub async fn hang(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// The types that a `Parse` declares, as they stand in it: their number, and an oid for each.
fn parameter_types(parse: &Head) -> Vec<u8> {
    let mut zeros = parse.body().iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
    let declared = zeros.nth(1).and_then(|at| parse.body().get(at + 1..)).unwrap_or_default();
    if declared.is_empty() { vec![0, 0] } else { declared.to_vec() }
}
