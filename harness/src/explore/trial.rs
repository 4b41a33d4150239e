//! One schedule, from its clients' start to their ends.

use super::board::{Board, Remarks};
use super::client::Doing;
use super::deed::{Hindrance, Stance};
use super::lens::Lens;
use super::limits::Limits;
use super::quiet::Pulse;
use super::reduction::Deed;
use super::refrain::Refrain;
use super::search::Choice;
use super::session::{Phase, Session};
use super::trace::{Event, Trace, What};
use super::watch::Watch;
use crate::error::{Error, Result};
use crate::wait::Patience;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A step that takes so long is one that hangs.
pub(super) const STEP_DEADLINE: Duration = Duration::from_secs(60);
/// Nobody could go on for so long: nobody will.
const STUCK: Duration = Duration::from_secs(3);
/// Tasks and sessions that a client leaves behind have so long to end.
const LEAVING: Duration = Duration::from_secs(5);

/// How a schedule came out.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) choices: Vec<Choice>,
    pub(super) trace: Trace,
    /// What each step did, if schedules may be left out; up to where something was uncertain.
    pub(super) deeds: Vec<Deed>,
    pub(super) hindrance: Option<Hindrance>,
    pub(super) remarks: Remarks,
    /// The first step at which the client that was to go could not, and somebody else went.
    pub(super) departed_at: Option<usize>,
    /// Clients that took too many steps in a row.
    pub(super) set_aside: BTreeSet<usize>,
    /// Clients that waited for something other than the database.
    pub(super) idle: BTreeSet<usize>,
    /// It was given up after so many steps.
    pub(super) cut_off_at: Option<usize>,
    /// Nobody could go on: these clients had not ended.
    pub(super) stuck: Vec<usize>,
    /// A step that neither ended nor waited, and what the server said of it: the schedule says nothing.
    pub(super) hung: Option<Error>,
}

/// How a grant ended.
pub(super) enum Reply {
    Answered,
    Blocked(Vec<usize>),
}

/// A schedule that is running.
pub(super) struct Trial<'a, T> {
    pub(super) board: Board,
    pub(super) pulse: &'a Pulse,
    pub(super) watch: &'a mut Watch,
    pub(super) clients: &'a mut [Doing<T>],
    pub(super) programs: &'a [bool],
    pub(super) limits: &'a Limits,
    /// If schedules may be left out.
    pub(super) lens: Option<&'a Lens>,
    pub(super) course: Course,
    /// Sessions that wait in the server, frozen, in the order in which they began to.
    pub(super) waiting: Vec<usize>,
}

impl<T> Trial<'_, T> {
    /// Runs it: first the turns that are `given`, then on without a preemption.
    pub(super) async fn run(mut self, given: &[usize]) -> Result<Course> {
        let outcome = self.take_turns(given).await;
        // Whatever happened: nobody stays behind.
        self.watch.thaw_all();
        if self.course.hung.is_none() {
            outcome?;
        }
        self.clear().await?;
        self.course.remarks = self.board.remarks();
        Ok(self.course)
    }

    async fn take_turns(&mut self, given: &[usize]) -> Result<()> {
        self.quiet().await?;
        let mut current = None;
        let (mut in_a_row, mut refrain) = (0, Refrain::default());
        let mut stood_still = None;
        loop {
            let pending = self.pending();
            let enabled: Vec<usize> = (0..self.clients.len())
                .filter(|client| pending.iter().any(|(other, _)| other == client))
                .collect();
            if enabled.is_empty() {
                if self.is_everybody_done()? {
                    return Ok(());
                }
                // Before the first step they may still be starting.
                let patience = if self.course.choices.is_empty() { STEP_DEADLINE } else { STUCK };
                if stood_still.get_or_insert_with(Instant::now).elapsed() >= patience {
                    self.course.stuck = self.unfinished()?;
                    return Ok(());
                }
                // Somebody waits for something else, and may come back from that.
                self.quiet().await?;
                continue;
            }
            stood_still = None;
            let step = self.course.choices.len();
            if step >= self.limits.steps_max {
                self.course.cut_off_at = Some(step);
                return Ok(());
            }
            let has_had_enough = in_a_row >= self.limits.steps_in_a_row_max || refrain.goes_round();
            let choice = self.choose(given.get(step).copied(), current, enabled, has_had_enough, step);
            if current == Some(choice.taken) {
                in_a_row += 1;
            } else {
                in_a_row = 1;
                refrain.end();
            }
            current = Some(choice.taken);
            let Some((_, place)) = pending.into_iter().find(|(client, _)| *client == choice.taken) else {
                return Err(Error::server("a client was chosen that has nothing to run"));
            };
            self.course.choices.push(choice);
            let first = self.course.trace.events.len();
            self.step(place).await?;
            refrain.hear(&self.course.trace.events[first..]);
        }
    }

    fn choose(
        &mut self,
        given: Option<usize>,
        current: Option<usize>,
        enabled: Vec<usize>,
        has_had_enough: bool,
        step: usize,
    ) -> Choice {
        let going = current.filter(|current| enabled.contains(current));
        // Somebody who asks for the same again and again may be waiting for what another has to do first.
        let set_aside = going.filter(|_| has_had_enough && enabled.len() > 1);
        let next =
            set_aside.map(|aside| enabled.iter().copied().find(|other| *other > aside).unwrap_or(enabled[0]));
        let default = next.or(going).unwrap_or(enabled[0]);
        let taken = given.filter(|given| enabled.contains(given)).unwrap_or(default);
        if given.is_some_and(|given| given != taken) {
            self.course.departed_at.get_or_insert(step);
        }
        let is_forced = next == Some(taken);
        if is_forced {
            self.course.set_aside.extend(set_aside);
        }
        Choice { current, enabled, taken, is_forced }
    }

    /// The clients that have something to run, each with the session that has waited longest.
    fn pending(&self) -> Vec<(usize, usize)> {
        let mut pending: Vec<(usize, usize)> = Vec::new();
        for place in self.board.in_phase(Phase::Pending) {
            let client = self.board.look(place, |session| session.client);
            if pending.iter().all(|(other, _)| *other != client) {
                pending.push((client, place));
            }
        }
        pending
    }

    fn unfinished(&mut self) -> Result<Vec<usize>> {
        let mut unfinished = Vec::new();
        for (client, doing) in self.clients.iter_mut().enumerate() {
            if !doing.has_ended()? {
                unfinished.push(client);
            }
        }
        Ok(unfinished)
    }

    /// The clients that may do something on their own: those that wait neither for us nor for the server, and those
    /// that ended while the end of a session of theirs is still to be seen.
    pub(super) fn at_large(&mut self) -> Result<Vec<usize>> {
        let mut at_large = Vec::new();
        for (client, doing) in self.clients.iter_mut().enumerate() {
            let is_loose = match doing.has_ended()? {
                true => self.board.has_idle_session(client),
                false => !self.board.is_waiting(client),
            };
            if is_loose {
                at_large.push(client);
            }
        }
        Ok(at_large)
    }

    fn is_everybody_done(&mut self) -> Result<bool> {
        Ok(self.unfinished()?.is_empty() && self.waiting.is_empty())
    }

    /// One step: the server's part, that of those who waited for it, then the clients hear of it one by one.
    async fn step(&mut self, place: usize) -> Result<()> {
        let (before, first) = (self.board.look(place, Stance::of), self.course.trace.events.len());
        let mut places = vec![place];
        self.board.change(place, Session::grant);
        let mut answered = Vec::new();
        match self.serve(place).await? {
            Reply::Answered => {
                self.note(place, false);
                answered.push(place);
            }
            Reply::Blocked(whom) => self.set_waiting(place, whom).await?,
        }
        while let Some(place) = self.first_free().await? {
            places.push(place);
            self.watch.thaw(self.pid(place)?)?;
            self.board.change(place, |session| session.phase = Phase::Running);
            match self.serve(place).await? {
                Reply::Answered => {
                    self.note(place, true);
                    answered.push(place);
                }
                // It got what it waited for and waits for something else: no event of its own.
                Reply::Blocked(_) => self.freeze(place).await?,
            }
        }
        self.take_down(&places, before, first).await?;
        for place in answered {
            if self.board.look(place, |session| session.phase == Phase::Answered) {
                self.board.change(place, Session::deliver);
            }
            self.quiet().await?;
        }
        Ok(())
    }

    fn note(&mut self, place: usize, had_waited: bool) {
        let event = self.board.change(place, |session| {
            let (asked, answer) = (session.take_asked(), session.take_answer());
            let what = if had_waited { What::Resumed(answer) } else { What::Answered(asked, answer) };
            Event { client: session.client, session: session.ordinal, what }
        });
        self.course.trace.events.push(event);
    }

    async fn set_waiting(&mut self, place: usize, whom: Vec<usize>) -> Result<()> {
        let event = self.board.change(place, |session| Event {
            client: session.client,
            session: session.ordinal,
            what: What::Waits(session.take_asked(), whom),
        });
        self.course.trace.events.push(event);
        self.freeze(place).await
    }

    async fn freeze(&mut self, place: usize) -> Result<()> {
        self.board.change(place, |session| session.phase = Phase::Blocked);
        self.waiting.push(place);
        self.watch.freeze(self.pid(place)?).await
    }

    pub(super) fn pid(&self, place: usize) -> Result<i32> {
        let pid = self.board.look(place, |session| session.pid);
        pid.ok_or_else(|| Error::server("a session of the server has no process"))
    }

    /// Takes the first of those who wait that waits no longer.
    async fn first_free(&mut self) -> Result<Option<usize>> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let pids = self.waiting.iter().map(|place| self.pid(*place)).collect::<Result<Vec<_>>>()?;
        let waits = self.watch.waits(&pids).await?;
        Ok(waits.iter().position(Vec::is_empty).map(|at| self.waiting.remove(at)))
    }

    /// Waits until all sessions and all tasks of the clients are gone; ends those of clients that never will.
    async fn clear(&mut self) -> Result<()> {
        let Course { stuck, cut_off_at, hung, .. } = &self.course;
        let is_stopped = !stuck.is_empty() || cut_off_at.is_some() || hung.is_some();
        if is_stopped {
            for doing in &mut *self.clients {
                doing.stop();
            }
        }
        let patience = Patience::new("a schedule's sessions and tasks to end", LEAVING);
        loop {
            self.pulse.lull().await;
            // Whoever is left leaves now, in whatever order: all clients have ended.
            for place in self.board.alive() {
                self.board.change(place, |session| match session.phase {
                    Phase::Pending => session.grant(),
                    Phase::Answered => session.deliver(),
                    Phase::Blocked => session.phase = Phase::Running,
                    _ => {}
                });
                if is_stopped && let Some(pid) = self.board.look(place, |session| session.pid) {
                    sqlx::query("select pg_terminate_backend($1)")
                        .bind(pid)
                        .execute(self.watch.control())
                        .await?;
                }
            }
            let sessions = self.board.alive().len();
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            if sessions == 0 && tasks == 0 {
                return Ok(());
            }
            patience.not_yet(&format!("{sessions} sessions and {tasks} tasks are left")).await.map_err(
                |error| {
                    error.with_help(
                        "a client must not outlive itself: end what it spawns, and close its pools",
                    )
                },
            )?;
        }
    }
}
