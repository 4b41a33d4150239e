//! How a transaction ends: committed, or as if it had never been.

use super::super::seam::Failure;
use super::super::stage::SCHEMA;
use super::trial::{Shown, Trial, statements, work};
use crate::error::Result;
use crate::finding::Evidence;
use crate::runtime::Isolation;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

fn insert(id: u32) -> String {
    format!("insert into {SCHEMA}.probe values ({id})")
}

pub(super) async fn commit_visible(trial: &mut Trial<'_>) -> Result<Shown> {
    let outcome = trial.run(Isolation::ReadCommitted, &statements(&trial.log, [insert(1)])).await;
    let seen = trial.count("probe").await?;
    Ok(Shown::of(outcome.is_ok() && seen == 1, || match outcome {
        Err(failure) => format!("a transaction without fault failed: {failure}"),
        Ok(()) => "a fresh session does not see what was committed".into(),
    }))
}

pub(super) async fn caller_error(trial: &mut Trial<'_>) -> Result<Shown> {
    let log = trial.log.clone();
    let refused = work(move |session| {
        let log = log.clone();
        Box::pin(async move {
            log.run(session, &insert(1)).await?;
            Err(Failure::new("refused by the caller"))
        })
    });
    let outcome = trial.run(Isolation::ReadCommitted, &refused).await;
    nothing_remains(trial, outcome.is_err(), "an error of the closure").await
}

pub(super) async fn statement_error(trial: &mut Trial<'_>) -> Result<Shown> {
    let failing = statements(&trial.log, [insert(1), "select 1 / 0".into()]);
    let outcome = trial.run(Isolation::ReadCommitted, &failing).await;
    nothing_remains(trial, outcome.is_err(), "a failed statement").await
}

pub(super) async fn panicked(trial: &mut Trial<'_>) -> Result<Shown> {
    let log = trial.log.clone();
    let panicking = work(move |session| {
        let log = log.clone();
        Box::pin(async move {
            log.run(session, &insert(1)).await?;
            // Unwinds without the panic hook, so that no message appears in the test's output.
            std::panic::resume_unwind(Box::new("a panic of the contract"))
        })
    });
    let running = trial.code.transaction(Isolation::ReadCommitted, &panicking);
    let caught = AssertUnwindSafe(running).catch_unwind().await;
    let (good, how) = match caught {
        Err(_) => (true, "passed the panic on"),
        Ok(Err(_)) => (true, "turned the panic into an error"),
        Ok(Ok(())) => (false, "returned Ok"),
    };
    trial.log.note(Evidence::step("transaction(ReadCommitted) whose closure panics", how));
    nothing_remains(trial, good, "a panic").await
}

pub(super) async fn aborted_commit(trial: &mut Trial<'_>) -> Result<Shown> {
    let log = trial.log.clone();
    let swallowing = work(move |session| {
        let log = log.clone();
        Box::pin(async move {
            log.run(session, &insert(1)).await?;
            // The mistake of many a handler: the error is logged, and the request goes on.
            drop(log.run(session, "select 1 / 0").await);
            Ok(())
        })
    });
    let outcome = trial.run(Isolation::ReadCommitted, &swallowing).await;
    nothing_remains(trial, outcome.is_err(), "a failed statement whose error the closure swallowed").await
}

/// Nothing may remain, and success may not be reported.
async fn nothing_remains(trial: &mut Trial<'_>, was_error: bool, cause: &str) -> Result<Shown> {
    // An open transaction might hold what a fresh session cannot see yet.
    trial.look_for_leftovers(cause).await?;
    let seen = trial.count("probe").await?;
    Ok(match (was_error, seen) {
        (true, 0) => Shown::Held,
        (true, _) => Shown::Broken(format!("after {cause} the row is there")),
        (false, 0) => Shown::Broken(format!("{cause} is reported as success, and the row is lost")),
        (false, _) => Shown::Broken(format!("{cause} is reported as success, and the row is there")),
    })
}
