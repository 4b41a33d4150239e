//! Checks of the migrations themselves.

mod clean_apply;
mod concurrent;
mod crowd;
mod filename;
mod rerun;
#[cfg(feature = "explore")]
mod schedules;
mod traces;

pub(super) use clean_apply::CleanApply;
pub(super) use concurrent::Concurrent;
pub(super) use filename::Filename;
pub(super) use rerun::Rerun;
