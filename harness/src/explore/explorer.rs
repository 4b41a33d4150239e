//! The builder of an exploration.

use super::access::Access;
use super::client::{Failure, Work};
use super::expedition::Expedition;
use super::ground::Reset;
use super::limits::Limits;
use super::outcome::Outcomes;
use super::quiet::Pulse;
use super::report::Exploration;
use super::schedule::{CLIENTS_MAX, Schedule};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::Program;
use crate::{Template, TestDb};
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

type Judge<T> = Arc<
    dyn Fn(Access, Rc<Outcomes<T>>) -> LocalBoxFuture<'static, std::result::Result<(), Failure>>
        + Send
        + Sync,
>;

/// Everything that an exploration is to do.
pub(super) struct Plan<T> {
    pub(super) names: Vec<String>,
    pub(super) works: Vec<Work<T>>,
    pub(super) invariants: Vec<Judge<T>>,
    pub(super) reset: Reset,
    pub(super) is_warm: bool,
    pub(super) limits: Limits,
    pub(super) finds_all: bool,
    pub(super) is_reduced: bool,
    /// The schedule to be replayed; `None`: all are explored.
    pub(super) replay: Option<Schedule>,
}

/// Drives clients through every order of their steps; see the [module](crate::explore).
#[must_use = "it explores when it is run"]
pub struct Explorer<'a, T = ()> {
    template: &'a Template,
    plan: Plan<T>,
}

impl<T> std::fmt::Debug for Explorer<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explorer").field("clients", &self.plan.names).finish_non_exhaustive()
    }
}

impl<'a, T: 'static> Explorer<'a, T> {
    /// Explores on a server of its own, which begins with the database of `template`.
    pub fn of(template: &'a Template) -> Self {
        Explorer {
            template,
            plan: Plan {
                names: Vec::new(),
                works: Vec::new(),
                invariants: Vec::new(),
                reset: Reset::Clone,
                is_warm: false,
                limits: Limits::default(),
                finds_all: false,
                is_reduced: false,
                replay: None,
            },
        }
    }

    /// Adds a client: what one user of the database does, from its connection on. It is run once in every schedule, on a
    /// thread of the explorer's. What it spawns must end with it.
    pub fn client<F>(mut self, name: impl Into<String>, run: F) -> Self
    where
        F: AsyncFn(Access) -> std::result::Result<T, Failure> + Send + Sync + 'static,
    {
        self.plan.names.push(name.into());
        self.plan.works.push(Work::task(run));
        self
    }

    /// Adds a program as a client. It gets `DATABASE_URL`, and `launch` may hand it the way to the database otherwise.
    pub fn program(
        mut self,
        name: impl Into<String>,
        launch: impl Fn(&Access) -> Program + Send + Sync + 'static,
    ) -> Self {
        self.plan.names.push(name.into());
        self.plan.works.push(Work::Program(Arc::new(launch)));
        self
    }

    /// Adds what must hold in the end of every schedule: of the database, and of what came of the clients. An error or a
    /// panic says that it does not.
    pub fn invariant<F>(mut self, judge: F) -> Self
    where
        F: AsyncFn(Access, &Outcomes<T>) -> std::result::Result<(), Failure> + Send + Sync + 'static,
    {
        let judge = Arc::new(judge);
        self.plan.invariants.push(Arc::new(move |access, outcomes| {
            let judge = judge.clone();
            Box::pin(async move { judge(access, &outcomes).await })
        }));
        self
    }

    /// Every client must succeed in every schedule.
    pub fn every_client_succeeds(self) -> Self {
        self.invariant(async |_, outcomes: &Outcomes<T>| {
            match outcomes.iter().find(|(_, outcome)| !outcome.is_success()) {
                None => Ok(()),
                Some((name, outcome)) => Err(format!("`{name}` {}", outcome.summary()).into()),
            }
        })
    }

    /// Tries all schedules in which a turn is taken at most so often from a client that could go on; 2 if not set. Most
    /// mistakes show with one or two.
    pub fn preemptions(mut self, bound: usize) -> Self {
        self.plan.limits.preemptions = bound;
        self
    }

    /// Tries at most so many schedules; 10 000 if not set.
    pub fn with_schedules_max(mut self, schedules: usize) -> Self {
        self.plan.limits.schedules_max = schedules;
        self
    }

    /// Begins no schedule after this time, but the first. How much is tried depends on the machine then, and
    /// [`Coverage`](super::Coverage) says how much was not.
    pub fn with_time_max(mut self, time: Duration) -> Self {
        self.plan.limits.time_max = Some(time);
        self
    }

    /// Gives a schedule up after so many steps; 1000 if not set.
    pub fn with_steps_max(mut self, steps: usize) -> Self {
        self.plan.limits.steps_max = steps;
        self
    }

    /// Sets a client aside that took so many steps in a row, if another can go: it may be waiting for that one; 50 if not
    /// set. One that reads the same again and again is set aside sooner.
    pub fn with_steps_in_a_row_max(mut self, steps: usize) -> Self {
        self.plan.limits.steps_in_a_row_max = steps;
        self
    }

    /// Waits so long for a client that neither asks the database for anything nor ends: 300 ms for one in this process,
    /// 5 s for a program if not set.
    pub fn with_idle_max(mut self, time: Duration) -> Self {
        (self.plan.limits.task_idle, self.plan.limits.program_idle) = (time, time);
        self
    }

    /// Takes the database back to its beginning with this function instead of cloning it for every schedule, which is
    /// several times as fast. It runs before every schedule, the first one too.
    pub fn with_reset<F>(mut self, reset: F) -> Self
    where
        F: AsyncFn(Access) -> std::result::Result<(), Failure> + Send + Sync + 'static,
    {
        let reset = Arc::new(reset);
        self.plan.reset = Reset::Function(Arc::new(move |access| {
            let reset = reset.clone();
            Box::pin(async move { reset(access).await })
        }));
        self
    }

    /// Keeps the server's processes from schedule to schedule, tidied up with `DISCARD ALL`: with
    /// [`with_reset`](Explorer::with_reset), and where nothing depends on a process being new.
    pub fn with_warm_backends(mut self) -> Self {
        self.plan.is_warm = true;
        self
    }

    /// Leaves out schedules that differ from one that runs only in the order of steps that certainly have nothing to do
    /// with each other: `BEGIN`, `SET`, the end of a session that holds nothing, steps of transactions that touch no table
    /// of the other's, as the server's own lock table shows. Every state that all schedules within the bound come to, these
    /// come to as well. [`Coverage::left_out`](super::Coverage::left_out) counts what was left out.
    ///
    /// It leaves out less rather than too much. A statement outside a transaction, one that waits or fails, and a snapshot
    /// that is kept (REPEATABLE READ and above) depend on everything. Nothing at all is left out as soon as a client calls a
    /// function, reads a catalog or the time, or changes a schema, nor where tables have triggers, policies, views or
    /// defaults that do more than count: [`Coverage::not_reduced`](super::Coverage::not_reduced) says why then, and all is
    /// run.
    ///
    /// What is not seen on the wire is yours to answer for: clients that have anything in common besides the database, and
    /// invariants that ask when something was done, by which transaction, or in which order rows lie, need all schedules.
    pub fn with_reduction(mut self) -> Self {
        self.plan.is_reduced = true;
        self
    }

    /// Goes on after the first violation, to know all schedules that break an invariant.
    pub fn with_all_violations(mut self) -> Self {
        self.plan.finds_all = true;
        self
    }

    /// Explores.
    ///
    /// # Errors
    /// There is no server of one's own to be had, the clients are none or too many, a reset fails, or a client leaves
    /// something behind. That an invariant is broken is no error: see [`Exploration::assert_clean`].
    pub async fn run(self) -> Result<Exploration> {
        let Explorer { template, plan } = self;
        if plan.works.is_empty() || plan.works.len() > CLIENTS_MAX {
            return Err(Error::usage(format!(
                "an exploration has 1 to {CLIENTS_MAX} clients, not {}",
                plan.works.len()
            )));
        }
        if plan.is_warm && matches!(plan.reset, Reset::Clone) {
            return Err(Error::usage("warm backends need a database that stays")
                .with_help("give a reset function: `with_reset`"));
        }
        let db = template.get_on_own_server().await?;
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("pgharness-explore".into())
            .spawn(move || explore_here(plan, &db, sender))
            .attempt(ErrorKind::Environment, || "failed to start a thread".into())?;
        receiver.await.map_err(|_| Error::server("the thread that explored ended"))?
    }

    /// Runs one schedule again, by its id.
    ///
    /// # Errors
    /// As [`run`](Explorer::run); or the id is none, or the clients do not go along with it.
    pub async fn replay(mut self, id: &str) -> Result<Exploration> {
        let schedule: Schedule = id.parse()?;
        if let Some(unknown) = schedule.turns().iter().find(|turn| **turn >= self.plan.works.len()) {
            let letter = super::schedule::letter(*unknown);
            return Err(Error::usage(format!(
                "the schedule `{id}` has a client `{letter}`, which is not there"
            )));
        }
        self.plan.replay = Some(schedule);
        self.run().await
    }
}

/// Explores on this thread, which must have no runtime. Nobody waits for the rest once `sender` is closed.
fn explore_here<T: 'static>(plan: Plan<T>, db: &TestDb, sender: oneshot::Sender<Result<Exploration>>) {
    let pulse = Pulse::default();
    let parked = pulse.clone();
    let explored = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parked.park())
        .build()
        .attempt(ErrorKind::Environment, || "failed to make a runtime".into())
        .and_then(|runtime| {
            LocalSet::new().block_on(&runtime, async {
                let expedition = Expedition::set_out(plan, db, pulse).await?;
                expedition.go(|| sender.is_closed()).await
            })
        });
    // Whoever asked may be gone.
    let _ = sender.send(explored);
}
