//! The sessions of one schedule, and the taps that hold them.

use super::quiet::Pulse;
use super::session::{Phase, Session};
use crate::wire::{Event, Head, Kind, Side, Tap, Verdict};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// All sessions of a schedule, by the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    pulse: Pulse,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<(Session, Arc<Notify>)>,
    /// Orders what is held.
    clock: u64,
    remarks: Remarks,
}

/// What went on outside the schedule's reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Remarks {
    /// A notification came, at a moment of the server's choosing.
    pub(super) notifications: bool,
    /// A client read an answer while the server was still sending it.
    pub(super) streams: bool,
    /// A client sent a cancel request.
    pub(super) cancels: bool,
}

impl Board {
    pub(super) fn new(pulse: Pulse) -> Board {
        Board(Arc::new(Inner { state: Mutex::default(), pulse }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session of `client`.
    pub(super) fn enter(&self, client: usize, is_warm: bool) -> Seat {
        let mut state = self.state();
        let ordinal = state.sessions.iter().filter(|(session, _)| session.client == client).count();
        let changed = Arc::new(Notify::new());
        state.sessions.push((Session::new(client, ordinal, is_warm), changed.clone()));
        self.0.pulse.beat();
        Seat { board: self.clone(), place: state.sessions.len() - 1, changed, greeting: Mutex::default() }
    }

    /// Looks at a session.
    pub(super) fn look<T>(&self, place: usize, look: impl FnOnce(&Session) -> T) -> T {
        look(&self.state().sessions[place].0)
    }

    /// Changes a session, and has what is held asked again.
    pub(super) fn change<T>(&self, place: usize, change: impl FnOnce(&mut Session) -> T) -> T {
        let mut state = self.state();
        let (session, changed) = &mut state.sessions[place];
        let result = change(session);
        changed.notify_waiters();
        self.0.pulse.beat();
        result
    }

    /// The places of all sessions in this phase, those held longest first.
    pub(super) fn in_phase(&self, phase: Phase) -> Vec<usize> {
        let state = self.state();
        let mut found: Vec<usize> =
            (0..state.sessions.len()).filter(|place| state.sessions[*place].0.phase == phase).collect();
        found.sort_by_key(|place| state.sessions[*place].0.pending_since);
        found
    }

    /// Whether the server is at something that is no step: a start, or closing statements.
    pub(super) fn is_server_busy(&self) -> bool {
        let busy = |(session, _): &(Session, _)| matches!(session.phase, Phase::Starting | Phase::Closing);
        self.state().sessions.iter().any(busy)
    }

    /// Whether `client` waits for the scheduler or for the server.
    pub(super) fn is_waiting(&self, client: usize) -> bool {
        let waits = |(session, _): &(Session, _)| {
            session.client == client
                && matches!(session.phase, Phase::Pending | Phase::Blocked | Phase::Answered)
        };
        self.state().sessions.iter().any(waits)
    }

    /// Whether a session of `client` is open and at nothing: when the client has ended, its end is on the way.
    pub(super) fn has_idle_session(&self, client: usize) -> bool {
        let is_idle = |(session, _): &(Session, _)| session.client == client && session.phase == Phase::Idle;
        self.state().sessions.iter().any(is_idle)
    }

    /// The places of sessions that are not over.
    pub(super) fn alive(&self) -> Vec<usize> {
        let state = self.state();
        (0..state.sessions.len()).filter(|place| state.sessions[*place].0.phase != Phase::Gone).collect()
    }

    /// The place of the session whose process this is.
    pub(super) fn of_pid(&self, pid: i32) -> Option<usize> {
        let of_pid = |(session, _): &(Session, _)| session.pid == Some(pid) && session.phase != Phase::Gone;
        self.state().sessions.iter().position(of_pid)
    }

    pub(super) fn remarks(&self) -> Remarks {
        self.state().remarks
    }

    /// A client sent a cancel request.
    pub(super) fn note_cancel(&self) {
        self.state().remarks.cancels = true;
    }
}

/// The tap at one session.
#[derive(Debug)]
pub(super) struct Seat {
    board: Board,
    place: usize,
    changed: Arc<Notify>,
    /// What the server said at the start, for the next client of a session that is kept warm.
    greeting: Mutex<Vec<Head>>,
}

impl Seat {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Session) -> T) -> T {
        self.board.change(self.place, change)
    }

    /// Whether the session can be handed to another client when it was tidied up, and where it stands.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Session) -> T) -> T {
        self.board.look(self.place, look)
    }

    /// What the server said at the start.
    pub(super) fn into_greeting(self) -> Vec<Head> {
        self.greeting.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Seat {
    fn arrived(&self, from: Side, head: &Head) {
        let is_starting = self.look(|session| session.phase == Phase::Starting);
        if is_starting && from == Side::Backend {
            self.greeting.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
        }
        if head.kind() == Kind::Notification {
            self.board.state().remarks.notifications = true;
        }
        self.change(|session| session.arrived(from, head));
    }

    fn crowded(&self, from: Side) {
        if from == Side::Backend {
            self.board.state().remarks.streams = true;
        }
        self.change(|session| session.crowded(from));
    }

    fn ended(&self, from: Side) {
        self.change(|session| session.ended(from));
    }

    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        loop {
            // Before the look: a change that comes in between is not missed.
            let changed = self.changed.notified();
            {
                let mut state = self.board.state();
                state.clock += 1;
                let now = state.clock;
                let (session, _) = &mut state.sessions[self.place];
                if session.may_pass(from, event, now) {
                    return verdict(session, from, event);
                }
            }
            changed.await;
        }
    }

    fn passed(&self, from: Side, event: Event<'_>) {
        self.change(|session| session.passed(from, event));
    }
}

/// A session that is kept warm goes back to the proxy where its client leaves.
fn verdict(session: &Session, from: Side, event: Event<'_>) -> Verdict {
    let is_kept = session.is_warm && session.is_ending && session.is_settled();
    match (from, event) {
        (Side::Frontend, Event::Message(head)) if is_kept && head.kind() == Kind::Terminate => Verdict::Drop,
        (Side::Frontend, Event::End) if is_kept => Verdict::Cut,
        _ => Verdict::Pass,
    }
}
