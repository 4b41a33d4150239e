//! Where clients come in: a socket for each, so that a connection names its client.

use super::board::Board;
use super::session::Phase;
use crate::error::Result;
use crate::wire::{
    Address, Arrival, Head, Kind, Leg, Listener, Piece, Side, Status, begin, forward_cancel, greet,
    refuse_unreachable, relay,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, spawn_local};

/// The doors of all clients.
#[derive(Debug)]
pub(super) struct Porch {
    shared: Rc<Shared>,
    addresses: Vec<Address>,
    listeners: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: Address,
    /// The sessions of the schedule that is running.
    board: RefCell<Board>,
    /// The sessions of nobody's: those that reset the database and look at it in the end.
    service: Board,
    clients: usize,
    kept: Kept,
    /// Sessions kept for the next schedule.
    warm: RefCell<Stash>,
}

/// Whose sessions are kept for the next schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// None: the database is another one then.
    Nobodys,
    /// Those of whoever is no client.
    Services,
    /// All.
    Everybodys,
}

/// Sessions without a client, by the client that they are kept for and its start-up packet.
type Stash = HashMap<(usize, Vec<u8>), Vec<Warm>>;

/// A session without a client.
#[derive(Debug)]
struct Warm {
    leg: Leg,
    greeting: Vec<Head>,
}

impl Porch {
    /// Opens a door for each client: a socket in `dir`, told apart by the port in its name.
    pub(super) fn open(
        dir: &Path,
        server: Address,
        clients: usize,
        board: Board,
        kept: Kept,
    ) -> Result<Porch> {
        let service = board.clone();
        let (board, warm) = (RefCell::new(board), RefCell::default());
        let shared = Rc::new(Shared { server, board, service, clients, kept, warm });
        let mut porch = Porch { shared, addresses: Vec::new(), listeners: Vec::new() };
        // No server listens on ports so low. Sockets, not folders: whoever cleans up may be another user, who could remove
        // the sockets of ours from a folder of theirs, but nothing from a folder of ours.
        for (client, port) in (0..=clients).zip(1..) {
            let (listener, address) = Listener::socket(dir, port)?;
            porch.addresses.push(address);
            porch.listeners.push(spawn_local(listen(porch.shared.clone(), listener, client)));
        }
        Ok(porch)
    }

    /// Where this client comes in.
    pub(super) fn address(&self, client: usize) -> &Address {
        &self.addresses[client]
    }

    /// The door at which nothing is held: for whoever is no client.
    pub(super) fn service(&self) -> &Address {
        &self.addresses[self.shared.clients]
    }

    /// From now on sessions are of another schedule.
    pub(super) fn turn_to(&self, board: Board) {
        *self.shared.board.borrow_mut() = board;
    }
}

impl Drop for Porch {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

async fn listen(shared: Rc<Shared>, listener: Listener, client: usize) {
    while let Ok(stream) = listener.accept().await {
        let shared = shared.clone();
        let is_free = client == shared.clients;
        let board = if is_free { shared.service.clone() } else { shared.board.borrow().clone() };
        drop(spawn_local(async move {
            match greet(stream).await {
                Arrival::Session(startup, leg) => shared.serve(&board, client, startup, leg).await,
                Arrival::Cancel(request) => {
                    board.note_cancel();
                    forward_cancel(&shared.server, &request).await;
                }
                Arrival::Nothing => {}
            }
        }));
    }
}

impl Shared {
    async fn serve(&self, board: &Board, client: usize, startup: Head, mut leg: Leg) {
        let is_free = client == self.clients;
        let is_warm = match self.kept {
            Kept::Nobodys => false,
            Kept::Services => is_free,
            Kept::Everybodys => true,
        };
        let seat = board.enter(client, is_warm);
        seat.change(|session| session.is_free = is_free);
        let key = (client, startup.bytes().to_vec());
        let kept = self.warm.borrow_mut().get_mut(&key).and_then(Vec::pop);
        let (server, greeting) = match kept {
            Some(Warm { leg: server, greeting }) => {
                for head in &greeting {
                    seat.change(|session| session.arrived(Side::Backend, head));
                    if leg.stream.write_all(head.bytes()).await.is_err() {
                        break;
                    }
                }
                (server, Some(greeting))
            }
            None => match begin(&self.server, &startup).await {
                Ok(server) => (server, None),
                Err(error) => {
                    refuse_unreachable(&mut leg.stream, &error).await;
                    return seat.change(|session| session.over());
                }
            },
        };
        let ended = relay(leg, server, &seat).await;
        let (is_over, is_settled, status) =
            seat.look(|session| (session.phase == Phase::Gone, session.is_settled(), session.status));
        if let (false, true, true) = (is_over, is_settled, is_warm)
            && ended.malformed.is_none()
        {
            let mut server = ended.server;
            // What the session held is let go within this step, as by its end.
            let is_tidy = tidy(&mut server, status).await;
            seat.change(|session| session.over());
            let greeting = greeting.unwrap_or_else(|| seat.into_greeting());
            if is_tidy && can_be_repeated(&greeting) {
                self.warm.borrow_mut().entry(key).or_default().push(Warm { leg: server, greeting });
            }
            return;
        }
        if !is_over {
            let mut stream = ended.server.stream;
            // The server's process lets go of its locks before its end is seen.
            let _ = stream.shutdown().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            seat.change(|session| session.over());
        }
    }
}

/// Whether a start went without questions, so that its answers can be given again.
fn can_be_repeated(greeting: &[Head]) -> bool {
    greeting.iter().filter(|head| head.kind() == Kind::Authentication).count() == 1
        && greeting.last().is_some_and(|head| head.kind() == Kind::Ready)
        && greeting.iter().all(Head::is_whole)
}

/// Takes a session back to its start.
async fn tidy(leg: &mut Leg, status: Status) -> bool {
    // `DISCARD ALL` does not run inside a transaction.
    let rollback = (status != Status::Idle).then_some("ROLLBACK");
    for sql in rollback.into_iter().chain(["DISCARD ALL"]) {
        if !run(leg, sql).await {
            return false;
        }
    }
    true
}

/// Runs a statement without a result.
async fn run(leg: &mut Leg, sql: &str) -> bool {
    let query = Head::new(Side::Frontend, b'Q', &[sql.as_bytes(), b"\0"].concat());
    if leg.stream.write_all(query.bytes()).await.is_err() {
        return false;
    }
    let mut is_well = true;
    let mut is_ready = false;
    let mut buffer = [0; 4096];
    while !is_ready {
        let length = match leg.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(length) => length,
        };
        let fed = leg.framer.feed(&buffer[..length], |piece| {
            if let Piece::Head(head) = piece {
                is_well &= head.kind() != Kind::Error;
                is_ready |= head.kind() == Kind::Ready;
            }
        });
        if fed.is_err() {
            return false;
        }
    }
    is_well
}
