//! The start of a connection: what comes before the session.

use super::address::{Address, Stream};
use super::framing::{Framer, Malformed, Piece};
use super::message::{Head, Kind, Side};
use super::refusal::{PROTOCOL, refuse, refuse_unreachable};
use super::relay::{Leg, relay};
use super::tap::Tap;
use super::tls::Tls;
use crate::error::{Attempt, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};

/// A session that begins.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Counted from 0, in the order in which they came.
    pub number: u64,
    /// Its start-up packet: who, which database, which settings.
    pub startup: Head,
}

/// What came first on a new connection.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A session, with its start-up packet.
    Session(Head, Leg),
    /// A cancel request.
    Cancel(Head),
    /// Nothing that could be served; a client that said something wrong was told so.
    Nothing,
}

/// Reads what comes before a session. TLS and GSS are refused: a client that insists says so to its user.
pub(crate) async fn greet(stream: Stream) -> Arrival {
    greet_with(stream, &Tls::Refused).await
}

/// Reads what comes before a session, within TLS if the client asks for that and it is offered.
pub(super) async fn greet_with(mut stream: Stream, tls: &Tls) -> Arrival {
    let mut framer = Framer::new(Side::Frontend);
    let mut is_within = false;
    loop {
        let came = first(&mut stream, &mut framer).await;
        let is_offered = tls.is_offered() && !is_within;
        match came {
            Ok(Some(head)) => match head.kind() {
                Kind::SslRequest | Kind::GssRequest if is_within => {
                    refuse(&mut stream, PROTOCOL, "the connection is encrypted already").await;
                    return Arrival::Nothing;
                }
                Kind::SslRequest if is_offered => {
                    if stream.write_all(b"S").await.is_err() {
                        return Arrival::Nothing;
                    }
                    // Not a byte behind the request was read: what somebody put there is no part of what is encrypted.
                    let Some(accepted) = tls.accept(stream, &[]).await else { return Arrival::Nothing };
                    (stream, is_within) = (accepted, true);
                }
                Kind::SslRequest | Kind::GssRequest => {
                    if stream.write_all(b"N").await.is_err() {
                        return Arrival::Nothing;
                    }
                }
                Kind::CancelRequest => return Arrival::Cancel(head),
                _ => return Arrival::Session(head, Leg { stream, framer }),
            },
            Ok(None) => return Arrival::Nothing,
            Err(Malformed::Tls) if is_offered => {
                let began = framer.into_unread();
                let Some(accepted) = tls.accept(stream, &began).await else { return Arrival::Nothing };
                (stream, is_within) = (accepted, true);
                framer = Framer::new(Side::Frontend);
            }
            Err(malformed) => {
                refuse(&mut stream, PROTOCOL, &malformed.to_string()).await;
                return Arrival::Nothing;
            }
        }
    }
}

/// The first packet, and not a byte more. `None`: the client went away.
async fn first(stream: &mut Stream, framer: &mut Framer) -> Result<Option<Head>, Malformed> {
    loop {
        let wanted = framer.wanted()?.min(super::HEAD_MAX);
        let mut bytes = vec![0; wanted];
        let length = match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(length) => length,
        };
        let mut found = None;
        framer.feed(&bytes[..length], |piece| {
            if let Piece::Head(head) = piece {
                found = Some(head);
            }
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
}

/// Hands a cancel request to the server. The server says nothing and closes; so do we, when it did: a client may rely
/// on the request having been seen by then.
pub(crate) async fn forward_cancel(server: &Address, request: &Head) {
    if let Ok(mut stream) = server.connect().await
        && stream.write_all(request.bytes()).await.is_ok()
    {
        let _ = copy(&mut stream, &mut sink()).await;
    }
}

/// Begins a session with the server.
pub(crate) async fn begin(server: &Address, startup: &Head) -> Result<Leg> {
    let mut stream = server.connect().await?;
    stream
        .write_all(startup.bytes())
        .await
        .attempt(ErrorKind::Server, || format!("failed to write to {server}"))?;
    Ok(Leg { stream, framer: Framer::new(Side::Backend) })
}

/// Serves one session from its start to its end.
pub(super) async fn serve<T: Tap>(server: &Address, startup: &Head, mut client: Leg, tap: &T) {
    let server = match begin(server, startup).await {
        Ok(server) => server,
        Err(error) => return refuse_unreachable(&mut client.stream, &error).await,
    };
    let mut ended = relay(client, server, tap).await;
    if let Some((side, malformed)) = ended.malformed {
        let who = if side == Side::Frontend { "the client" } else { "the server" };
        refuse(&mut ended.client.stream, PROTOCOL, &format!("{who} sent what is no message: {malformed}"))
            .await;
    }
}
