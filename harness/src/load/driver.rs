//! Runs a statement many times, over several connections, and measures.

use super::arrival::{Arrivals, schedule};
use super::histogram::{Histogram, Summary};
use super::session::{Running, Session, WARM_UP};
use crate::error::{Error, Result};
use crate::finding::Measurement;
use crate::statement::{Connect, Random, Source};
use crate::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How a statement is driven.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Load {
    /// How many connections.
    pub connections: usize,
    /// How many requests in all.
    pub requests: usize,
    /// How many more each connection sends first, unmeasured.
    pub warm_up: usize,
    /// When requests come.
    pub arrivals: Arrivals,
    /// Decides parameters and arrivals: the same seed, the same requests.
    pub seed: u64,
}

impl Load {
    /// A closed loop.
    pub fn closed(connections: usize, requests: usize) -> Self {
        Load { connections, requests, warm_up: WARM_UP, arrivals: Arrivals::Closed, seed: 0 }
    }

    /// Requests at a given rate, each given up when it is late by a second.
    pub fn poisson(connections: usize, requests: usize, per_s: f64) -> Self {
        let arrivals = Arrivals::Poisson { per_s, patience: Duration::from_secs(1) };
        Load { arrivals, ..Load::closed(connections, requests) }
    }

    /// With another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Load { seed, ..self }
    }

    /// With another schedule.
    #[must_use]
    pub fn with_arrivals(self, arrivals: Arrivals) -> Self {
        Load { arrivals, ..self }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Figures {
    /// From the scheduled start to the last row; in a closed loop the same as `service`.
    pub response: Summary,
    /// From sending the statement to its last row.
    pub service: Summary,
    /// From the scheduled start to sending, where there is a schedule.
    pub lag: Option<Summary>,
    /// Requests answered in a second.
    pub per_s: f64,
    /// Requests that failed, skipped ones included.
    pub failures: u64,
    /// Requests that were not sent, since they were too late.
    pub skipped: u64,
    /// Rows returned in all.
    pub rows: u64,
    /// The SQLSTATE of the first failure.
    pub first_failure: Option<String>,
}

impl Figures {
    /// As measurements of a report; percentiles without enough samples are absent.
    pub fn measurements(&self, statement: &str) -> Vec<Measurement> {
        let figure = |name: &str, value: Option<f64>, unit: &str| {
            Some(Measurement { name: format!("load.{statement}.{name}"), value: value?, unit: unit.into() })
        };
        [
            figure("p50", self.response.p50_ms, "ms"),
            figure("p95", self.response.p95_ms, "ms"),
            figure("p99", self.response.p99_ms, "ms"),
            figure("p999", self.response.p999_ms, "ms"),
            figure("throughput", Some(self.per_s), "1/s"),
            figure("failures", Some(self.failures as f64), "requests"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Drives the statement as its role. What it writes is rolled back; only the statement itself is timed, not
/// what begins and ends its transaction.
///
/// # Errors
/// The role cannot connect, or the statement fails already while warming up. A failure later is counted.
pub async fn drive(source: &Source, connect: &dyn Connect, load: &Load) -> Result<Figures> {
    let is_rate = |per_s: f64| per_s.is_finite() && per_s > 0.0;
    if load.connections == 0 || matches!(load.arrivals, Arrivals::Poisson { per_s, .. } if !is_rate(per_s)) {
        return Err(Error::usage("a load needs at least one connection and a rate above zero"));
    }
    let plan = Arc::new(Plan::new(source, load));
    let mut workers = Vec::new();
    for number in 0..load.connections {
        workers.push(Worker::warm(plan.clone(), connect, number, load).await?);
    }
    // All are connected and warm before the first request is measured.
    let started = Instant::now();
    let mut running: JoinSet<Tally> = workers.into_iter().map(|worker| worker.work(started)).collect();
    let mut total = Tally::new()?;
    while let Some(tally) = running.join_next().await {
        total.add(&tally.map_err(|source| Error::server("a worker of a load ended").with_source(source))?);
    }
    Ok(total.figures(load, started.elapsed()))
}

/// What all workers share.
struct Plan {
    source: Source,
    /// The moments of open arrivals; empty in a closed loop.
    schedule: Vec<Duration>,
    patience: Duration,
    requests: usize,
    next: AtomicUsize,
}

impl Plan {
    fn new(source: &Source, load: &Load) -> Self {
        let (schedule, patience) = match load.arrivals {
            Arrivals::Closed => (Vec::new(), Duration::MAX),
            Arrivals::Poisson { per_s, patience } => {
                (schedule(per_s, load.requests, &mut Random::new(load.seed)), patience)
            }
        };
        Plan {
            source: source.clone(),
            schedule,
            patience,
            requests: load.requests,
            next: AtomicUsize::new(0),
        }
    }
}

struct Worker {
    plan: Arc<Plan>,
    session: Session,
    random: Random,
    /// Whether the statement needs a transaction around it: it writes, or has settings.
    wrapped: bool,
    tally: Tally,
}

impl Worker {
    async fn warm(plan: Arc<Plan>, connect: &dyn Connect, number: usize, load: &Load) -> Result<Self> {
        let source = &plan.source;
        let mut session = Session::open(source, connect).await?;
        // Each worker draws its own values, and the schedule has a sequence of its own too.
        let mut random = Random::new(load.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let wrapped =
            !source.statement().settings.is_empty() || writes(&mut session, source, &mut random).await?;
        let mut worker = Worker { plan, session, random, wrapped, tally: Tally::new()? };
        for _ in 0..load.warm_up {
            let (_, outcome) = worker.request().await;
            outcome.running(&worker.plan.source)?;
        }
        Ok(worker)
    }

    async fn work(mut self, started: Instant) -> Tally {
        loop {
            let index = self.plan.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.plan.requests {
                return self.tally;
            }
            let due = self.plan.schedule.get(index).map(|moment| started + *moment);
            if let Some(due) = due {
                if let Some(early) = due.checked_duration_since(Instant::now()) {
                    wait::pass(early).await;
                }
                if due.elapsed() > self.plan.patience {
                    self.tally.skipped += 1;
                    continue;
                }
            }
            let (timed, outcome) = self.request().await;
            match outcome {
                Ok(rows) => self.tally.answered(due, timed, rows),
                Err(error) => {
                    self.tally.failed(&error);
                    if self.wrapped {
                        // If the session is gone, its next requests fail and are counted.
                        drop(self.session.run("rollback").await);
                    }
                }
            }
        }
    }

    /// One request: when the statement was sent and answered, and its rows.
    async fn request(&mut self) -> (Timed, Result<u64, sqlx::Error>) {
        let source = &self.plan.source;
        let draw = source.draw(&mut self.random);
        if self.wrapped
            && let Err(error) = self.session.begin("begin", source, &draw).await
        {
            return (Timed::now(), Err(error));
        }
        let execute = source.execute_sql(&draw);
        let mut timed = Timed::now();
        let mut outcome = self.session.run(&execute).await;
        timed.answered = Instant::now();
        if self.wrapped && outcome.is_ok() {
            outcome = self.session.run("rollback").await.and(outcome);
        }
        (timed, outcome)
    }
}

/// Whether the server refuses the statement in a read-only transaction.
async fn writes(session: &mut Session, source: &Source, random: &mut Random) -> Result<bool> {
    let draw = source.draw(random);
    session.begin("begin read only", source, &draw).await.running(source)?;
    let outcome = session.run(&source.execute_sql(&draw)).await;
    session.run("rollback").await.running(source)?;
    match outcome {
        Err(error)
            if error.as_database_error().and_then(|answer| answer.code()).as_deref() == Some("25006") =>
        {
            Ok(true)
        }
        outcome => outcome.running(source).map(|_| false),
    }
}

struct Timed {
    sent: Instant,
    answered: Instant,
}

impl Timed {
    fn now() -> Self {
        let now = Instant::now();
        Timed { sent: now, answered: now }
    }
}

struct Tally {
    response: Histogram,
    service: Histogram,
    lag: Histogram,
    failed: u64,
    skipped: u64,
    rows: u64,
    first_failure: Option<String>,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Tally {
            response: Histogram::new()?,
            service: Histogram::new()?,
            lag: Histogram::new()?,
            failed: 0,
            skipped: 0,
            rows: 0,
            first_failure: None,
        })
    }

    fn answered(&mut self, due: Option<Instant>, timed: Timed, rows: u64) {
        let due = due.unwrap_or(timed.sent);
        self.response.record(timed.answered.saturating_duration_since(due));
        self.service.record(timed.answered.saturating_duration_since(timed.sent));
        self.lag.record(timed.sent.saturating_duration_since(due));
        self.rows += rows;
    }

    fn failed(&mut self, error: &sqlx::Error) {
        self.failed += 1;
        let code = error.as_database_error().and_then(|answer| answer.code());
        // The code only: a message may hold values.
        self.first_failure.get_or_insert_with(|| code.map_or("no answer".into(), |code| code.into_owned()));
    }

    fn add(&mut self, other: &Tally) {
        self.response.add(&other.response);
        self.service.add(&other.service);
        self.lag.add(&other.lag);
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.rows += other.rows;
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
    }

    fn figures(&self, load: &Load, took: Duration) -> Figures {
        let response = self.response.summary();
        Figures {
            response,
            service: self.service.summary(),
            lag: (load.arrivals != Arrivals::Closed).then(|| self.lag.summary()),
            per_s: response.samples as f64 / took.as_secs_f64(),
            failures: self.failed + self.skipped,
            skipped: self.skipped,
            rows: self.rows,
            first_failure: self.first_failure.clone(),
        }
    }
}
