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

/// When the future is dropped: while its request is on its way, or when the answer lies there unread. The
/// second is the sharper one, since the server has surely done what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    AtOnce,
    Answered,
}

/// Which session of a pool a round gets, and how far a driver's own tasks are by then, is not ours to choose: one
/// pass alone missed a driver's cancelled BEGIN now and then on a busy machine.
const PASSES: [Moment; 5] =
    [Moment::AtOnce, Moment::Answered, Moment::Answered, Moment::Answered, Moment::Answered];

/// Drops the future after its first poll, its second, … until it ends by itself. Each time: both rows or
/// none (a COMMIT may have been on its way), no session left inside a transaction, and a next transaction
/// that does its work.
pub(super) async fn sweep(trial: &mut Trial<'_>) -> Result<Shown> {
    for moment in PASSES {
        let mut polls = 1;
        loop {
            match round(trial, polls, moment).await? {
                Round::Ended => break,
                Round::Dropped if polls < POLLS_MAX => polls += 1,
                Round::Dropped => {
                    return Ok(Shown::Unknown(format!(
                        "the transaction did not end within {POLLS_MAX} polls"
                    )));
                }
                Round::Broken(message) => {
                    return Ok(Shown::Broken(format!("dropped after poll {polls} ({moment:?}), {message}")));
                }
            }
        }
    }
    Ok(Shown::Held)
}

enum Round {
    Ended,
    Dropped,
    Broken(String),
}

async fn round(trial: &mut Trial<'_>, polls: u32, moment: Moment) -> Result<Round> {
    // The evidence is the round that broke, not all those before it.
    drop(trial.log.take());
    trial.stage.ask(&format!("truncate {SCHEMA}.probe")).await?;
    let insert = |id: u32| format!("insert into {SCHEMA}.probe values ({id})");
    let ended = {
        let two_rows = statements(&Log::default(), [insert(1), insert(2)]);
        poll_at_most(trial.code.transaction(Isolation::ReadCommitted, &two_rows), polls, moment).await
    };
    let how = if ended.is_some() { "ended by itself" } else { "dropped" };
    trial.log.note(Evidence::step(format!("transaction(ReadCommitted) polled {polls} times"), how));
    if trial.look_for_leftovers(&format!("the future was dropped after poll {polls}")).await? {
        return Ok(Round::Broken("the future leaves a session inside its transaction".into()));
    }
    let rows = trial.count("probe").await?;
    if rows != 0 && rows != 2 {
        return Ok(Round::Broken(format!("{rows} of its two rows remain")));
    }
    let next = trial.run(Isolation::ReadCommitted, &statements(&trial.log, [insert(3)])).await;
    let seen = trial.count("probe where id = 3").await?;
    if let Some(trouble) = trouble_of_next(&next, seen) {
        return Ok(Round::Broken(format!("the next transaction {trouble}")));
    }
    if trial.look_for_leftovers(&format!("the transaction after a drop at poll {polls}")).await? {
        return Ok(Round::Broken("the next transaction stays open".into()));
    }
    Ok(match ended {
        Some(Ok(())) => Round::Ended,
        Some(Err(failure)) => Round::Broken(format!("a transaction without fault failed: {failure}")),
        None => Round::Dropped,
    })
}

fn trouble_of_next(outcome: &Result<(), Failure>, seen: i64) -> Option<String> {
    match (outcome, seen) {
        (Ok(()), 1) => None,
        (Ok(()), _) => Some("returns Ok, and its row is not there".into()),
        (Err(failure), _) => Some(format!("fails: {failure}")),
    }
}

/// The future's output, if it is there within so many polls. Otherwise the future is dropped, at once or when
/// its task is woken, without being polled again.
async fn poll_at_most<F: Future>(future: F, polls: u32, moment: Moment) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            // Woken: what it waits for is there.
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::as_mut(&mut future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 && moment == Moment::AtOnce => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
