//! The contract of transactions: each property comes from a bug that somebody shipped.

mod cancel;
#[cfg(feature = "explore")]
mod interleaved;
mod isolation;
mod outcome;
mod retry;
mod trial;

#[cfg(feature = "explore")]
pub use interleaved::{Interleaved, explore};

use super::report::ContractReport;
use super::seam::Transactions;
use crate::error::Result;
use sqlx::postgres::PgConnectOptions;
use trial::Trial;

/// Shows the properties of `code`, whose sessions are on the database that `target` leads to as superuser or
/// owner. `code` needs at least two connections.
///
/// | Property | What is shown |
/// |---|---|
/// | `transaction.commit-visible` | a fresh session sees what was committed |
/// | `transaction.caller-error-rolls-back` | an error of the closure leaves nothing |
/// | `transaction.statement-error-rolls-back` | so does a failed statement |
/// | `transaction.panic-rolls-back` | so does a panic |
/// | `transaction.aborted-commit-fails` | a transaction in which a statement failed does not report success |
/// | `transaction.cancel-rolls-back` | the future dropped after its first, second, … poll: all or nothing, and the next transaction is well |
/// | `transaction.isolation-reaches-server` | the server runs at the level that was asked for |
/// | `transaction.isolation-does-not-persist` | the next transaction runs at its own |
/// | `transaction.write-skew-retried` | two that must not both succeed as they are do, one after a retry, and the invariant holds |
/// | `transaction.commit-failure-retried` | 40001 at COMMIT is retried too |
/// | `transaction.deadlock-retried` | 40P01 is |
/// | `transaction.retry-is-new` | each retry is a transaction of its own, not a savepoint |
/// | `transaction.retry-bounded` | it gives up |
/// | `transaction.other-errors-not-retried` | 23505 and 57014 are not run again |
/// | `transaction.no-leftover` | after each of these no session is left inside a transaction |
///
/// # Errors
/// The target cannot be reached, or the stage cannot be set: a schema `pgharness_contract` that is not ours,
/// a missing right.
pub async fn verify(code: &impl Transactions, target: &PgConnectOptions) -> Result<ContractReport> {
    let mut trial = Trial::set_up(code, target).await?;
    let shown = show_all(&mut trial).await;
    let report = trial.tear_down().await;
    shown.and(report)
}

async fn show_all(trial: &mut Trial<'_>) -> Result<()> {
    trial.show("commit-visible", "return Ok only after COMMIT was answered", outcome::commit_visible).await?;
    trial
        .show("caller-error-rolls-back", "roll back when the closure returns an error", outcome::caller_error)
        .await?;
    trial
        .show(
            "statement-error-rolls-back",
            "roll back when a statement fails, and return its error",
            outcome::statement_error,
        )
        .await?;
    trial
        .show(
            "panic-rolls-back",
            "end the transaction in a Drop guard, so that unwinding passes it",
            outcome::panicked,
        )
        .await?;
    trial
        .show(
            "aborted-commit-fails",
            "the server answers COMMIT of an aborted transaction with `ROLLBACK`, and drivers return Ok: look at \
             the command tag, or run one more statement before COMMIT",
            outcome::aborted_commit,
        )
        .await?;
    trial
        .show(
            "cancel-rolls-back",
            "close the connection when the future is dropped before its transaction has ended; dropping the \
             driver's transaction is not enough",
            cancel::sweep,
        )
        .await?;
    trial
        .show(
            "isolation-reaches-server",
            "say the level in BEGIN: `begin isolation level serializable`",
            isolation::reaches_server,
        )
        .await?;
    trial
        .show(
            "isolation-does-not-persist",
            "say the level in BEGIN, not in a session setting of a pooled connection",
            isolation::does_not_persist,
        )
        .await?;
    trial
        .show(
            "write-skew-retried",
            "run the whole closure again in a new transaction on 40001, whichever statement raises it",
            retry::write_skew,
        )
        .await?;
    trial
        .show("commit-failure-retried", "treat an error of COMMIT like one of a statement", retry::at_commit)
        .await?;
    trial.show("deadlock-retried", "retry 40P01 like 40001", retry::deadlock).await?;
    trial
        .show("retry-is-new", "roll back to before BEGIN: a savepoint keeps the old snapshot", retry::is_new)
        .await?;
    trial.show("retry-bounded", "give up after a few retries, with a growing pause", retry::bounded).await?;
    trial.show("other-errors-not-retried", "retry 40001 and 40P01 only", retry::others_are_not_retried).await
}
