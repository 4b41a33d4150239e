//! Carrying a session: two lanes between a client and its server, and a tap that decides.

use super::address::{Duplex, Stream};
use super::framing::{Framer, Malformed, Piece};
use super::lane::{Item, Lane};
use super::message::Side;
use super::tap::{Event, Tap, Verdict};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

/// So much is read or written at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// One end of a session: a stream, and where within its messages it stands.
#[derive(Debug)]
pub(crate) struct Leg {
    /// The stream.
    pub(crate) stream: Stream,
    /// Finds the messages in what comes from it.
    pub(crate) framer: Framer,
}

/// How a session ended, with what is left of it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The client's end.
    pub(crate) client: Leg,
    /// The server's end. It is of further use if a tap cut the session between two batches.
    pub(crate) server: Leg,
    /// A side that sent what are no messages.
    pub(crate) malformed: Option<(Side, Malformed)>,
}

/// Why carrying stops.
enum Stop {
    /// The server's end was handed on, or a tap cut the session.
    Over,
    /// A tap wants a reset.
    Reset,
    Malformed(Side, Malformed),
}

/// Carries messages both ways until the server's end was handed on or `tap` cuts the session. The start-up packet is
/// none of its business: it begins behind that.
pub(crate) async fn relay<T: Tap>(client: Leg, server: Leg, tap: &T) -> Ended {
    let Leg { stream, framer: mut client_framer } = client;
    client_framer.keep(tap.head_max());
    let (mut client_reader, mut client_writer) = split(stream);
    let Leg { stream, framer: mut server_framer } = server;
    let (mut server_reader, mut server_writer) = split(stream);
    let (up, down) = (Lane::default(), Lane::default());
    // Each reader before its writer: what was read goes on without another turn of the runtime.
    let stop = tokio::try_join!(
        read(Side::Frontend, &mut client_reader, &mut client_framer, &up, tap),
        write(Side::Frontend, &mut server_writer, &up, tap),
        read(Side::Backend, &mut server_reader, &mut server_framer, &down, tap),
        write(Side::Backend, &mut client_writer, &down, tap),
    );
    let client = Leg { stream: client_reader.unsplit(client_writer), framer: client_framer };
    let server = Leg { stream: server_reader.unsplit(server_writer), framer: server_framer };
    let malformed = match stop {
        Err(Stop::Malformed(side, malformed)) => Some((side, malformed)),
        Err(Stop::Reset) => {
            client.stream.reset_at_end();
            server.stream.reset_at_end();
            None
        }
        Ok(_) | Err(Stop::Over) => None,
    };
    Ended { client, server, malformed }
}

async fn read<T: Tap>(
    from: Side,
    reader: &mut ReadHalf<Box<dyn Duplex>>,
    framer: &mut Framer,
    lane: &Lane,
    tap: &T,
) -> Result<(), Stop> {
    let mut buffer = vec![0; CHUNK];
    loop {
        while lane.is_full() {
            tap.crowded(from);
            lane.drained().await;
        }
        let length = match reader.read(&mut buffer).await {
            // A reset is an end too: whoever is on the other side learns no more than that.
            Ok(0) | Err(_) => {
                tap.ended(from);
                lane.push(Item::End);
                return Ok(());
            }
            Ok(length) => length,
        };
        framer
            .feed(&buffer[..length], |piece| {
                if let Piece::Head(head) = &piece {
                    tap.arrived(from, head);
                }
                lane.push(Item::Piece(piece));
            })
            .map_err(|malformed| Stop::Malformed(from, malformed))?;
    }
}

async fn write<T: Tap>(
    from: Side,
    writer: &mut WriteHalf<Box<dyn Duplex>>,
    lane: &Lane,
    tap: &T,
) -> Result<(), Stop> {
    let mut out = Out { bytes: Vec::new(), writer, is_deaf: false };
    // What becomes of the rest of a long message.
    let mut drops_rest = false;
    loop {
        let Some(item) = lane.try_pop() else {
            out.flush().await;
            lane.filled().await;
            continue;
        };
        let event = match &item {
            Item::Piece(Piece::Head(head)) => Event::Message(head),
            Item::End => Event::End,
            Item::Piece(Piece::Body(bytes)) => {
                if !drops_rest {
                    out.write(bytes).await;
                }
                continue;
            }
        };
        let verdict = {
            let mut pass = pin!(tap.pass(from, event));
            match poll_fn(|context| Poll::Ready(pass.as_mut().poll(context))).await {
                Poll::Ready(verdict) => verdict,
                // What may go on does not wait for what is held.
                Poll::Pending => {
                    out.flush().await;
                    pass.await
                }
            }
        };
        drops_rest = matches!(verdict, Verdict::Drop | Verdict::Replace(_));
        let event = match &verdict {
            Verdict::Drop => continue,
            Verdict::Replace(head) => Event::Message(head),
            Verdict::Cut => {
                out.flush().await;
                return Err(Stop::Over);
            }
            Verdict::Reset => return Err(Stop::Reset),
            Verdict::Pass | Verdict::Last => event,
        };
        match event {
            Event::Message(head) => out.write(head.bytes()).await,
            Event::End => {
                out.flush().await;
                // It may be closed already.
                let _ = out.writer.shutdown().await;
            }
        }
        tap.passed(from, event);
        if verdict == Verdict::Last {
            out.flush().await;
            return Err(Stop::Over);
        }
        match (event, from) {
            (Event::End, Side::Frontend) => return Ok(()),
            (Event::End, Side::Backend) => return Err(Stop::Over),
            (Event::Message(_), _) => {}
        }
    }
}

/// Collects small messages into few writes.
struct Out<'a> {
    bytes: Vec<u8>,
    writer: &'a mut WriteHalf<Box<dyn Duplex>>,
    /// Nobody listens any more. What comes is thrown away; that the session ends is for the other lane to learn.
    is_deaf: bool,
}

impl Out<'_> {
    async fn write(&mut self, bytes: &[u8]) {
        let is_large = bytes.len() > CHUNK / 2;
        if is_large || self.bytes.len() + bytes.len() > CHUNK {
            self.flush().await;
        }
        if is_large {
            self.send(bytes).await;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    async fn flush(&mut self) {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            self.send(&bytes).await;
            self.bytes = bytes;
            self.bytes.clear();
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        if !self.is_deaf {
            // TLS keeps what it was given until it is told to let go.
            let is_sent = self.writer.write_all(bytes).await.is_ok() && self.writer.flush().await.is_ok();
            self.is_deaf = !is_sent;
        }
    }
}
