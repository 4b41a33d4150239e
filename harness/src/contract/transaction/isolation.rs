//! The level that was asked for is the level that the server runs at, for this transaction only.

use super::super::seam::Failure;
use super::trial::{Shown, Trial, work};
use crate::error::Result;
use crate::runtime::Isolation;
use std::sync::{Arc, Mutex, PoisonError};

/// More than a pool is likely to hold idle, so that the session that was serializable comes again.
const TRANSACTIONS_AFTER: u32 = 12;

/// The answer to `show setting` inside a transaction.
async fn setting(trial: &Trial<'_>, isolation: Isolation, setting: &'static str) -> Result<String, Failure> {
    let (log, answer) = (trial.log.clone(), Arc::new(Mutex::new(String::new())));
    let seen = answer.clone();
    let show = work(move |session| {
        let (log, seen) = (log.clone(), seen.clone());
        Box::pin(async move {
            let value = log.run(session, &format!("show {setting}")).await?;
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = value.unwrap_or_default();
            Ok(())
        })
    });
    trial.run(isolation, &show).await?;
    let answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(answer.clone())
}

pub(super) async fn reaches_server(trial: &mut Trial<'_>) -> Result<Shown> {
    for isolation in [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable] {
        match setting(trial, isolation, "transaction_isolation").await {
            Ok(level) if level == isolation.to_string() => (),
            Ok(level) => {
                return Ok(Shown::Broken(format!("asked for {isolation}, the server runs at {level}")));
            }
            Err(failure) => {
                return Ok(Shown::Broken(format!("a transaction at {isolation} fails: {failure}")));
            }
        }
    }
    Ok(Shown::Held)
}

pub(super) async fn does_not_persist(trial: &mut Trial<'_>) -> Result<Shown> {
    match persisted(trial).await {
        Ok(None) => Ok(Shown::Held),
        Ok(Some(message)) => Ok(Shown::Broken(message)),
        Err(failure) => Ok(Shown::Broken(format!("a transaction that only looks fails: {failure}"))),
    }
}

async fn persisted(trial: &Trial<'_>) -> Result<Option<String>, Failure> {
    const DEFAULT: &str = "default_transaction_isolation";
    let default = setting(trial, Isolation::ReadCommitted, DEFAULT).await?;
    setting(trial, Isolation::Serializable, "transaction_isolation").await?;
    for _ in 0..TRANSACTIONS_AFTER {
        let level = setting(trial, Isolation::ReadCommitted, "transaction_isolation").await?;
        if level != Isolation::ReadCommitted.to_string() {
            return Ok(Some(format!("after a serializable transaction the next one runs at {level}")));
        }
        let now = setting(trial, Isolation::ReadCommitted, DEFAULT).await?;
        if now != default {
            return Ok(Some(format!("a serializable transaction turned the session's default to {now}")));
        }
    }
    Ok(None)
}
