//! The server's part of a step: until it answered, or waits for somebody who does not run; and the clients' part after it.

use super::session::{Phase, Session};
use super::trial::{Reply, STEP_DEADLINE, Trial};
use crate::error::Result;
use crate::wait::{Patience, pass};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The pause between looks at a client that neither asks for anything nor ends.
const IDLE_LOOK: Duration = Duration::from_millis(1);

/// Who is idle is so at this many looks at least: on a busy machine a single pause may take as long as many.
const IDLE_LOOKS_MIN: u32 = 30;

/// What the server does takes less than a pause would, most of the time: so long there is none.
const SHORT: Duration = Duration::from_millis(20);

/// How long nothing has happened.
struct Idleness {
    since: Instant,
    looks: u32,
}

impl Idleness {
    fn start() -> Idleness {
        Idleness { since: Instant::now(), looks: 0 }
    }

    /// Waits for the next look.
    async fn pass(&mut self) {
        self.looks += 1;
        pass(IDLE_LOOK).await;
    }

    fn is_over(&self, idle_max: Duration) -> bool {
        self.looks >= IDLE_LOOKS_MIN && self.since.elapsed() >= idle_max
    }
}

impl<T> Trial<'_, T> {
    /// Looks at a session that was granted until the server answered or waits for somebody who does not run.
    pub(super) async fn serve(&mut self, place: usize) -> Result<Reply> {
        let patience = Patience::new("the server to answer or to wait", STEP_DEADLINE);
        let started = Instant::now();
        loop {
            let (phase, pid, is_lull) =
                self.board.look(place, |session| (session.phase, session.pid, session.is_lull()));
            if phase != Phase::Running {
                return Ok(Reply::Answered);
            }
            if is_lull {
                self.wait_for_more(place).await?;
                continue;
            }
            if let Some(pid) = pid
                && let Some(whom) = self.blockers(pid).await?
                // It may have been answered while we looked.
                && self.board.look(place, |session| session.phase == Phase::Running)
            {
                return Ok(Reply::Blocked(whom));
            }
            if started.elapsed() > SHORT {
                if let Err(error) = patience.not_yet("it runs").await {
                    let seen = self.watch.activity().await;
                    self.course.hung = Some(error.copy().with_help(format!("the server says: {seen}")));
                    return Err(error);
                }
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The client heard of a batch that ran nothing: its step goes on if it has more to say.
    async fn wait_for_more(&mut self, place: usize) -> Result<()> {
        let client = self.board.look(place, |session| session.client);
        let mut idleness = Idleness::start();
        loop {
            self.pulse.lull().await;
            if !self.board.look(place, Session::is_lull) {
                return Ok(());
            }
            let has_more = !self.clients[client].has_ended()? && !self.board.is_waiting(client);
            if !has_more || idleness.is_over(self.idle_max(client)) {
                self.board.change(place, Session::finish_step);
                return Ok(());
            }
            idleness.pass().await;
        }
    }

    /// How long a client is waited for that neither asks for anything nor ends.
    fn idle_max(&self, client: usize) -> Duration {
        if self.programs[client] { self.limits.program_idle } else { self.limits.task_idle }
    }

    /// The clients that the process waits for, if what it waits for cannot come by itself: the chain ends at somebody
    /// who does not run. A chain that leads back to the process is a deadlock, which the server breaks.
    async fn blockers(&mut self, pid: i32) -> Result<Option<Vec<usize>>> {
        let mut known = vec![pid];
        known.extend(self.waiting.iter().map(|place| self.pid(*place)).collect::<Result<Vec<_>>>()?);
        let waits = self.watch.waits(&known).await?;
        let Some(first) = waits.first().filter(|first| !first.is_empty()) else { return Ok(None) };
        let (mut open, mut seen) = (first.clone(), BTreeSet::new());
        let mut is_held = false;
        while let Some(next) = open.pop() {
            if next == pid {
                return Ok(None);
            }
            if !seen.insert(next) {
                continue;
            }
            match known.iter().position(|other| *other == next) {
                Some(at) if !waits[at].is_empty() => open.extend(&waits[at]),
                // One of ours that does not run, or a prepared transaction. Somebody else's process ends by itself.
                _ => is_held |= next == 0 || self.board.of_pid(next).is_some(),
            }
        }
        let mut whom: Vec<usize> = first
            .iter()
            .filter_map(|pid| self.board.of_pid(*pid))
            .map(|place| self.board.look(place, |session| session.client))
            .collect();
        whom.sort_unstable();
        whom.dedup();
        Ok(is_held.then_some(whom))
    }

    /// Waits until every client has ended or waits for us or the server, and nothing is under way.
    pub(super) async fn quiet(&mut self) -> Result<()> {
        let mut idleness = Idleness::start();
        let mut seen = self.pulse.activity();
        let patience = Patience::new("the clients to do something", STEP_DEADLINE);
        loop {
            self.pulse.lull().await;
            let activity = self.pulse.activity();
            if activity != seen {
                (idleness, seen) = (Idleness::start(), activity);
            }
            if self.board.is_server_busy() {
                if idleness.since.elapsed() > SHORT {
                    patience.not_yet("the server logs somebody in").await?;
                }
                continue;
            }
            let at_large = self.at_large()?;
            let Some(idle_max) = at_large.iter().map(|client| self.idle_max(*client)).max() else {
                return Ok(());
            };
            if idleness.is_over(idle_max) {
                self.course.idle.extend(at_large);
                return Ok(());
            }
            idleness.pass().await;
        }
    }
}
