//! A request that goes away: the future is dropped at each point where it can wait.

use super::super::seam::Failure;
use super::super::stage::SCHEMA;
use super::trial::{Log, Shown, Trial, statements};
use crate::error::Result;
use crate::finding::Evidence;
use crate::runtime::Isolation;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A transaction of two statements waits a dozen times; a driver that wakes its task more often than it
/// needs gets more.
const POLLS_MAX: u32 = 200;

/// Drops the future after its first poll, its second, … until it ends by itself. Each time: both rows or
/// none (a COMMIT may have been on its way), no session left inside a transaction, and a next transaction
/// that does its work.
pub(super) async fn sweep(trial: &mut Trial<'_>) -> Result<Shown> {
    for polls in 1..=POLLS_MAX {
        // The evidence is the round that broke, not all those before it.
        drop(trial.log.take());
        trial.stage.ask(&format!("truncate {SCHEMA}.probe")).await?;
        let ended = {
            let quiet = Log::default();
            let insert = |id: u32| format!("insert into {SCHEMA}.probe values ({id})");
            let two_rows = statements(&quiet, [insert(1), insert(2)]);
            poll_at_most(trial.code.transaction(Isolation::ReadCommitted, &two_rows), polls).await
        };
        let how = if ended.is_some() { "ended by itself" } else { "dropped" };
        trial.log.note(Evidence::step(format!("transaction(ReadCommitted) polled {polls} times"), how));
        if trial.look_for_leftovers(&format!("the future was dropped after poll {polls}")).await? {
            return Ok(Shown::Broken(format!(
                "dropped after poll {polls}, the future leaves a session inside its transaction"
            )));
        }
        match trial.count("probe").await? {
            0 | 2 => (),
            rows => {
                return Ok(Shown::Broken(format!(
                    "dropped after poll {polls}, {rows} of its two rows remain"
                )));
            }
        }
        let next = trial
            .run(
                Isolation::ReadCommitted,
                &statements(&trial.log, [format!("insert into {SCHEMA}.probe values (3)")]),
            )
            .await;
        let seen = trial.count("probe where id = 3").await?;
        if let Some(trouble) = trouble_of_next(&next, seen) {
            return Ok(Shown::Broken(format!(
                "after the future was dropped at poll {polls}, the next transaction {trouble}"
            )));
        }
        if trial.look_for_leftovers(&format!("the transaction after a drop at poll {polls}")).await? {
            return Ok(Shown::Broken(format!(
                "after the future was dropped at poll {polls}, the next transaction stays open"
            )));
        }
        match ended {
            Some(Ok(())) => return Ok(Shown::Held),
            Some(Err(failure)) => {
                return Ok(Shown::Broken(format!("a transaction without fault failed: {failure}")));
            }
            None => (),
        }
    }
    Ok(Shown::Unknown(format!("the transaction did not end within {POLLS_MAX} polls")))
}

fn trouble_of_next(outcome: &Result<(), Failure>, seen: i64) -> Option<String> {
    match (outcome, seen) {
        (Ok(()), 1) => None,
        (Ok(()), _) => Some("returns Ok, and its row is not there".into()),
        (Err(failure), _) => Some(format!("fails: {failure}")),
    }
}

/// The future's output, if it is there within so many polls; the future is dropped at once otherwise, without
/// waiting to be woken.
async fn poll_at_most<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(move |context| {
        left -= 1;
        match Pin::as_mut(&mut future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
