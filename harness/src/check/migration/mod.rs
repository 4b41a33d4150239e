//! Checks of the migrations themselves.

mod clean_apply;
mod concurrent;
mod contraction;
mod crash_resume;
mod crop;
mod crowd;
mod expand_only;
mod filename;
mod interruption;
mod landmarks;
mod leftovers;
mod populated;
mod rerun;
mod traces;
mod transcript;

pub(super) use clean_apply::CleanApply;
pub(super) use concurrent::Concurrent;
pub(super) use crash_resume::CrashResume;
pub(super) use expand_only::ExpandOnly;
pub(super) use filename::Filename;
pub(super) use leftovers::Leftovers;
pub(super) use populated::Populated;
pub(super) use rerun::Rerun;
