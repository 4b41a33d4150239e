//! What the server asks to be run again is run again, as a whole, and not forever.

use super::super::seam::Failure;
use super::super::stage::{DEADLINE, SCHEMA};
use super::trial::{Log, Shown, Trial, work};
use crate::error::Result;
use crate::runtime::Isolation;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Barrier;

/// Whoever retries more often than this retries forever.
const ATTEMPTS_MAX: u32 = 100;

const NO_SECOND: &str = "needs a second connection at the same time";

fn raise(code: &str) -> String {
    format!("do $$ begin raise 'raised by the contract' using errcode = '{code}'; end $$")
}

/// Two doctors on call, and each may leave while another stays. Both look, then both leave: only a retry of
/// one, which then sees that it must stay, keeps one on call.
pub(super) async fn write_skew(trial: &mut Trial<'_>) -> Result<Shown> {
    trial.stage.ask(&format!("insert into {SCHEMA}.doctor values (1, true), (2, true)")).await?;
    let (both_looked, attempts) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    let leave = |id: u32| {
        let (log, both_looked, attempts) = (trial.log.clone(), both_looked.clone(), attempts.clone());
        let first = AtomicBool::new(true);
        work(move |session| {
            let (log, both_looked) = (log.clone(), both_looked.clone());
            attempts.fetch_add(1, Ordering::Relaxed);
            let first = first.swap(false, Ordering::Relaxed);
            Box::pin(async move {
                let on_call =
                    log.run(session, &format!("select count(*) from {SCHEMA}.doctor where on_call")).await?;
                if first && tokio::time::timeout(DEADLINE, both_looked.wait()).await.is_err() {
                    return Err(Failure::new(NO_SECOND));
                }
                if on_call.as_deref() == Some("2") {
                    let sql = format!("update {SCHEMA}.doctor set on_call = false where id = {id}");
                    log.run(session, &sql).await?;
                }
                Ok(())
            })
        })
    };
    let (one, two) = (leave(1), leave(2));
    let (one, two) = futures_util::future::join(
        trial.run(Isolation::Serializable, &one),
        trial.run(Isolation::Serializable, &two),
    )
    .await;
    let on_call = trial.count("doctor where on_call").await?;
    Ok(match (one, two) {
        (Err(failure), _) | (_, Err(failure)) if failure.message.contains(NO_SECOND) => {
            Shown::Unknown("the code under test has no two connections at the same time".into())
        }
        (Err(failure), _) | (_, Err(failure)) => {
            Shown::Broken(format!("of two transactions that conflict, one fails for good: {failure}"))
        }
        (Ok(()), Ok(())) if on_call == 0 => {
            Shown::Broken("both leave: at SERIALIZABLE the invariant is broken".into())
        }
        (Ok(()), Ok(())) if attempts.load(Ordering::Relaxed) < 3 => {
            Shown::Broken("both return Ok without a retry, and one has not done its work".into())
        }
        (Ok(()), Ok(())) => Shown::Held,
    })
}

/// A deferred constraint trigger refuses the first attempt, at COMMIT.
pub(super) async fn at_commit(trial: &mut Trial<'_>) -> Result<Shown> {
    let attempts = Arc::new(AtomicU32::new(0));
    let (log, counter) = (trial.log.clone(), attempts.clone());
    let insert = work(move |session| {
        let (log, attempt) = (log.clone(), counter.fetch_add(1, Ordering::Relaxed) + 1);
        Box::pin(async move {
            log.run(session, &format!("insert into {SCHEMA}.late values ({attempt})")).await.map(drop)
        })
    });
    let outcome = trial.run(Isolation::ReadCommitted, &insert).await;
    let rows = trial.count("late").await?;
    Ok(match outcome {
        Err(failure) => Shown::Broken(format!("40001 at COMMIT is not retried: {failure}")),
        Ok(()) if rows != 1 => {
            Shown::Broken(format!("Ok was returned, and {rows} rows are there instead of one"))
        }
        Ok(()) => Shown::Held,
    })
}

pub(super) async fn deadlock(trial: &mut Trial<'_>) -> Result<Shown> {
    let seen = raising(trial, "40P01", 1).await;
    Ok(Shown::of(seen.outcome.is_ok() && seen.attempts == 2, || {
        format!("the victim of a deadlock is run {} time(s) and then {}", seen.attempts, seen.end())
    }))
}

pub(super) async fn is_new(trial: &mut Trial<'_>) -> Result<Shown> {
    let seen = raising(trial, "40001", 1).await;
    if seen.attempts < 2 {
        return Ok(Shown::Unknown("nothing was retried".into()));
    }
    Ok(Shown::of(seen.transactions == seen.attempts as usize, || {
        format!("{} attempts ran in {} transaction(s)", seen.attempts, seen.transactions)
    }))
}

pub(super) async fn bounded(trial: &mut Trial<'_>) -> Result<Shown> {
    let seen = raising(trial, "40001", u32::MAX).await;
    Ok(Shown::of(seen.attempts < ATTEMPTS_MAX && seen.outcome.is_err(), || {
        format!("a transaction that always fails is run {} times and then {}", seen.attempts, seen.end())
    }))
}

pub(super) async fn others_are_not_retried(trial: &mut Trial<'_>) -> Result<Shown> {
    for code in ["23505", "57014"] {
        let seen = raising(trial, code, u32::MAX).await;
        if seen.attempts != 1 || seen.outcome.is_ok() {
            let (attempts, end) = (seen.attempts, seen.end());
            return Ok(Shown::Broken(format!("{code} is run {attempts} times and then {end}")));
        }
    }
    Ok(Shown::Held)
}

struct Seen {
    outcome: Result<(), Failure>,
    attempts: u32,
    /// How many different transactions they ran in.
    transactions: usize,
}

impl Seen {
    fn end(&self) -> String {
        match &self.outcome {
            Ok(()) => "returns Ok".into(),
            Err(failure) => format!("fails: {failure}"),
        }
    }
}

/// A transaction whose first `failures` attempts fail with `code`.
async fn raising(trial: &Trial<'_>, code: &'static str, failures: u32) -> Seen {
    let attempts = Arc::new(AtomicU32::new(0));
    let transactions = Arc::new(Mutex::new(BTreeSet::new()));
    // The transcript of a hundred attempts helps nobody.
    let log = if failures == 1 { trial.log.clone() } else { Log::default() };
    let failing = {
        let (attempts, transactions) = (attempts.clone(), transactions.clone());
        work(move |session| {
            let (log, transactions) = (log.clone(), transactions.clone());
            let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            Box::pin(async move {
                let id = log.run(session, "select pg_current_xact_id()").await?;
                transactions.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                if attempt >= ATTEMPTS_MAX {
                    return Err(Failure::new("the contract's patience is at its end"));
                }
                if attempt <= failures {
                    log.run(session, &raise(code)).await?;
                }
                Ok(())
            })
        })
    };
    let outcome = trial.run(Isolation::ReadCommitted, &failing).await;
    let transactions = transactions.lock().unwrap_or_else(PoisonError::into_inner).len();
    Seen { outcome, attempts: attempts.load(Ordering::Relaxed), transactions }
}
