//! Running the battery.

use super::config::Config;
use crate::check::{Check, Context, Registry};
use crate::error::Result;
use crate::report::{CheckRun, Report};
use futures_util::stream::{self, StreamExt};
use std::time::Instant;

/// How many checks run at a time.
const CHECKS_MAX: usize = 8;

/// Runs the checks that `only` names, or all; see [`Registry::select`].
///
/// # Errors
/// `only` names no check, or `config` something that is not there. A check that breaks is no error: the
/// report says so.
pub async fn run(config: &Config, only: &[String]) -> Result<Report> {
    run_with(&Registry::standard(), config, only).await
}

/// As [`run`], with checks of the caller's own.
///
/// # Errors
/// As there.
pub async fn run_with(registry: &Registry, config: &Config, only: &[String]) -> Result<Report> {
    let started = Instant::now();
    let selected = registry.select(only, &config.checks.opt_in)?;
    let context = Context::new(config.project()?);
    let runs: Vec<CheckRun> = stream::iter(selected)
        .map(|check| run_one(check, &context))
        .buffer_unordered(CHECKS_MAX)
        .collect()
        .await;
    Ok(Report::new(None, runs, &config.allow, millis_since(started)))
}

async fn run_one(check: &dyn Check, context: &Context) -> CheckRun {
    let started = Instant::now();
    let verdict = match context.lacks(check.needs()) {
        Some(reason) => Ok(crate::check::Verdict::skipped(reason)),
        None => check.run(context).await,
    };
    CheckRun { id: check.id().to_owned(), millis: millis_since(started), verdict }
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
