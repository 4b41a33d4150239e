//! An exploration under way: schedule after schedule on one server.

use super::access::Access;
use super::board::{Board, Remarks};
use super::client::{Doing, Work, panic_text};
use super::deed::Hindrance;
use super::explorer::Plan;
use super::ground::Ground;
use super::lens::Lens;
use super::limits::Limits;
use super::outcome::Outcomes;
use super::porch::{Kept, Porch};
use super::quiet::Pulse;
use super::report::{Coverage, Exploration, Violation};
use super::schedule::{Schedule, letter};
use super::search::{Search, preemptions};
use super::transcript;
use super::trial::{Course, Trial};
use super::watch::Watch;
use crate::TestDb;
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::wire::Address;
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Instant;

/// A schedule that was run, and what was wrong with its end.
struct Tried {
    course: Course,
    schedule: Schedule,
    outcomes: String,
    broken: Option<String>,
}

/// What happened outside the schedules' reach, and where.
#[derive(Default)]
struct Gaps {
    remarks: Remarks,
    departed: usize,
    cut_off: usize,
    set_aside: BTreeSet<usize>,
    idle: BTreeSet<usize>,
}

pub(super) struct Expedition<'a, T> {
    plan: Plan<T>,
    db: &'a TestDb,
    pulse: Pulse,
    watch: Watch,
    ground: Ground,
    porch: Porch,
    /// If schedules may be left out.
    lens: Option<Lens>,
    /// Why none may be.
    hindrance: Option<String>,
}

impl<'a, T: 'static> Expedition<'a, T> {
    pub(super) async fn set_out(plan: Plan<T>, db: &'a TestDb, pulse: Pulse) -> Result<Self> {
        let server = db.server();
        let base =
            server.base().ok_or_else(|| Error::environment("exploring needs a server on this machine"))?;
        let control = server.connect(server.endpoint().maintenance_database()).await?;
        let mut watch = Watch::new(control);
        let ground = Ground::take(plan.reset.clone(), db.name(), &mut watch).await?;
        let kept = match (ground.is_cloned(), plan.is_warm) {
            (true, _) => Kept::Nobodys,
            (false, false) => Kept::Services,
            (false, true) => Kept::Everybodys,
        };
        // Within the server's own directory: it goes with the server, even if we are killed.
        let porch =
            Porch::open(base, Address::of(&db.options()), plan.works.len(), Board::new(pulse.clone()), kept)?;
        let lens = (plan.is_reduced && plan.replay.is_none()).then(|| Lens::new(ground.is_cloned()));
        Ok(Expedition { plan, db, pulse, watch, ground, porch, lens, hindrance: None })
    }

    /// Explores, or replays, until there is nothing more to try or nobody wants to know.
    pub(super) async fn go(mut self, is_unwanted: impl Fn() -> bool) -> Result<Exploration> {
        match self.plan.replay.take() {
            Some(schedule) => self.replay(&schedule).await,
            None => self.search(is_unwanted).await,
        }
    }

    async fn replay(&mut self, schedule: &Schedule) -> Result<Exploration> {
        let tried = self.run(schedule.turns()).await?;
        if let Some(step) = tried.course.departed_at {
            let client = letter(schedule.turns()[step]);
            return Err(Error::usage(format!(
                "the schedule `{schedule}` cannot be followed: at step {} `{client}` had nothing to run",
                step + 1
            ))
            .with_help("the clients, the schema or the data are not those that it was found with"));
        }
        let mut gaps = Gaps::default();
        gaps.add(&tried.course);
        let coverage = Coverage {
            schedules: 1,
            left_out: 0,
            not_reduced: None,
            not_tried: 0,
            steps: tried.schedule.len(),
            preemptions: preemptions(&tried.course.choices),
            is_complete: false,
            not_covered: gaps.words(&self.plan.names),
        };
        let digest = Hasher::new("replay").field("trace", tried.course.trace.digest().bytes()).finish();
        let violating = tried.broken.iter().map(|_| tried.schedule.clone()).collect();
        Ok(Exploration { coverage, violation: self.violation(tried), violating, digest })
    }

    async fn search(&mut self, is_unwanted: impl Fn() -> bool) -> Result<Exploration> {
        let bound = self.plan.limits.preemptions;
        let mut search = if self.lens.is_some() { Search::reduced(bound) } else { Search::new(bound) };
        let mut coverage = Coverage { preemptions: bound, ..Coverage::default() };
        let mut gaps = Gaps::default();
        let mut hasher = Hasher::new("exploration");
        let mut first = None;
        let mut violating = Vec::new();
        let started = Instant::now();
        let is_in_time = |limits: &Limits| limits.time_max.is_none_or(|max| started.elapsed() < max);
        while coverage.schedules < self.plan.limits.schedules_max
            && (coverage.schedules == 0 || is_in_time(&self.plan.limits))
            && (violating.is_empty() || self.plan.finds_all)
            && !is_unwanted()
        {
            let Some(given) = search.next() else { break };
            let tried = self.run(&given).await?;
            let learnt = search.learn(given.len(), &tried.course.choices, &tried.course.deeds);
            if self.lens.is_some()
                && let Some(hindrance) = self.hindrance(&tried.course).or(learnt.err())
            {
                search.leave_nothing_out();
                self.lens = None;
                coverage.not_reduced = Some(hindrance);
            }
            coverage.schedules += 1;
            coverage.steps += tried.schedule.len();
            gaps.add(&tried.course);
            hasher.add("schedule", tried.schedule.to_string());
            hasher.add("trace", tried.course.trace.digest().bytes());
            hasher.add("broken", tried.broken.as_deref().unwrap_or_default());
            if tried.broken.is_some() {
                violating.push(tried.schedule.clone());
                if first.is_none() {
                    first = Some(tried);
                }
            }
        }
        self.lens = None;
        coverage.left_out = search.spared(coverage.schedules);
        coverage.not_covered = gaps.words(&self.plan.names);
        coverage.not_tried = search.left();
        if coverage.not_tried > 0 {
            let why = match violating.is_empty() || self.plan.finds_all {
                false => "the first violation",
                true if coverage.schedules >= self.plan.limits.schedules_max => "the limit on schedules",
                true => "the limit on time",
            };
            coverage.not_covered.push(format!("at least {} schedules behind {why}", coverage.not_tried));
        }
        coverage.is_complete = coverage.not_covered.is_empty();
        let violation = match first {
            Some(tried) => {
                let simplest = self.simplify(tried).await?;
                self.violation(simplest)
            }
            None => None,
        };
        Ok(Exploration { coverage, violation, violating, digest: hasher.finish() })
    }

    /// Why schedules cannot be told to be the same from what this one did.
    fn hindrance(&mut self, course: &Course) -> Option<String> {
        if let Some(hindrance) = self.hindrance.take() {
            return Some(hindrance);
        }
        let names = &self.plan.names;
        let who = |clients: &BTreeSet<usize>| clients.iter().next().map(|client| names[*client].clone());
        let steps = |client: usize| course.choices.iter().filter(|choice| choice.taken == client).count();
        if let Some(hindrance) = &course.hindrance {
            return Some(match hindrance {
                Hindrance::Statement(client, sql) => {
                    format!("`{}` ran what may do more than it says: {sql}", names[*client])
                }
                Hindrance::Lock(client) => {
                    format!("`{}` read a catalog or took a lock of its own", names[*client])
                }
            });
        }
        if course.departed_at.is_some() {
            return Some("a client does not always do the same".into());
        }
        if let Some(client) = who(&course.idle) {
            return Some(format!("`{client}` waits for something other than the database"));
        }
        if !course.stuck.is_empty() || course.remarks != Remarks::default() {
            return Some("clients met outside the reach of schedules".into());
        }
        // Whoever is set aside is so for the number of steps in a row, which are others in another order.
        let in_a_row_max = self.plan.limits.steps_in_a_row_max;
        let is_long =
            course.cut_off_at.is_some() || (0..names.len()).any(|client| steps(client) >= in_a_row_max);
        is_long.then(|| "a client takes so many steps that it is set aside".into())
    }

    /// Looks for a schedule with fewer turns of hand that is broken too.
    async fn simplify(&mut self, mut tried: Tried) -> Result<Tried> {
        'better: loop {
            for candidate in tried.schedule.simpler() {
                let other = self.run(candidate.turns()).await?;
                if other.broken.is_some() && other.schedule.blocks().len() < tried.schedule.blocks().len() {
                    tried = other;
                    continue 'better;
                }
            }
            return Ok(tried);
        }
    }

    fn violation(&self, tried: Tried) -> Option<Violation> {
        let message = tried.broken?;
        Some(Violation {
            schedule: tried.schedule,
            message,
            outcomes: tried.outcomes,
            transcript: transcript::columns(&tried.course.trace, &self.plan.names),
            evidence: transcript::evidence(&tried.course.trace, &self.plan.names),
        })
    }

    /// The way to the database for whoever is no client.
    fn direct(&self) -> Access {
        let options = self.db.options();
        Access::new(if self.ground.is_cloned() { options } else { self.porch.service().lead(&options) })
    }

    /// Runs one schedule from a fresh start to its judgement. A step that hung says nothing of the schedule: it is run
    /// once more.
    async fn run(&mut self, given: &[usize]) -> Result<Tried> {
        let mut tried = self.try_once(given).await?;
        if tried.course.hung.is_some() {
            tried = self.try_once(given).await?;
        }
        match tried.course.hung.take() {
            Some(hung) => Err(hung),
            None => Ok(tried),
        }
    }

    async fn try_once(&mut self, given: &[usize]) -> Result<Tried> {
        self.ground.level(self.direct(), &mut self.watch).await?;
        if let Some(lens) = &mut self.lens
            && let Some(hindrance) = lens.focus(&self.db.options()).await?
        {
            self.hindrance = Some(hindrance);
        }
        let board = Board::new(self.pulse.clone());
        self.porch.turn_to(board.clone());
        let mut clients: Vec<Doing<T>> = Vec::new();
        for (place, work) in self.plan.works.iter().enumerate() {
            let access = Access::new(self.porch.address(place).lead(&self.db.options()));
            clients.push(work.start(access)?);
        }
        let programs: Vec<bool> = self.plan.works.iter().map(Work::is_program).collect();
        let trial = Trial {
            board,
            pulse: &self.pulse,
            watch: &mut self.watch,
            clients: &mut clients,
            programs: &programs,
            limits: &self.plan.limits,
            lens: self.lens.as_ref(),
            course: Course::default(),
            waiting: Vec::new(),
        };
        let course = trial.run(given).await?;
        let names = self.plan.names.iter().cloned();
        let outcomes = Rc::new(Outcomes {
            clients: names.zip(clients.into_iter().map(Doing::finish)).collect(),
            sqlstates: (0..self.plan.names.len()).map(|client| course.trace.sqlstates(client)).collect(),
        });
        let broken = match (course.stuck.as_slice(), course.cut_off_at) {
            _ if course.hung.is_some() => None,
            ([], None) => self.judge(&outcomes).await,
            // Its end is none that clients could come to: there is nothing to judge.
            ([], Some(_)) => None,
            (stuck, _) => {
                let names: Vec<String> =
                    stuck.iter().map(|client| format!("`{}`", self.plan.names[*client])).collect();
                Some(format!("nobody can go on: {} wait for ever", names.join(" and ")))
            }
        };
        let schedule = Schedule::new(course.choices.iter().map(|choice| choice.taken).collect());
        Ok(Tried { schedule, outcomes: outcomes.summary(), broken, course })
    }

    /// What is wrong, by the first invariant that does not hold.
    async fn judge(&self, outcomes: &Rc<Outcomes<T>>) -> Option<String> {
        for invariant in &self.plan.invariants {
            match AssertUnwindSafe(invariant(self.direct(), outcomes.clone())).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Some(failure.to_string()),
                Err(payload) => return Some(panic_text(&*payload)),
            }
        }
        None
    }
}

impl Gaps {
    fn add(&mut self, course: &Course) {
        self.remarks.notifications |= course.remarks.notifications;
        self.remarks.streams |= course.remarks.streams;
        self.remarks.cancels |= course.remarks.cancels;
        self.departed += usize::from(course.departed_at.is_some());
        self.cut_off += usize::from(course.cut_off_at.is_some());
        self.set_aside.extend(&course.set_aside);
        self.idle.extend(&course.idle);
    }

    /// Each gap in words.
    fn words(&self, names: &[String]) -> Vec<String> {
        let who = |clients: &BTreeSet<usize>| -> String {
            clients.iter().map(|client| format!("`{}`", names[*client])).collect::<Vec<_>>().join(", ")
        };
        let mut words = Vec::new();
        if self.departed > 0 {
            words.push(format!(
                "{} schedules went otherwise than the same beginning did before: a client does not always do the same",
                self.departed
            ));
        }
        if self.cut_off > 0 {
            words.push(format!("the ends of {} schedules with too many steps", self.cut_off));
        }
        if !self.set_aside.is_empty() {
            words.push(format!(
                "more than some turns in a row of {}, set aside for others",
                who(&self.set_aside)
            ));
        }
        if !self.idle.is_empty() {
            words.push(format!(
                "when {} went on, who waited for something other than the database",
                who(&self.idle)
            ));
        }
        if self.remarks.notifications {
            words.push("when notifications came".into());
        }
        if self.remarks.cancels {
            words.push("when cancel requests came".into());
        }
        if self.remarks.streams {
            words.push("what clients do while they read an answer that is longer than is kept".into());
        }
        words
    }
}
