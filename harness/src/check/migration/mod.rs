//! Checks of the migrations themselves.

mod clean_apply;
mod concurrent;
mod contraction;
mod crash_resume;
mod crop;
mod crowd;
mod deterministic;
mod down;
mod expand_only;
mod filename;
mod history;
mod interruption;
mod landmarks;
mod leftovers;
mod locks;
mod observation;
mod populated;
mod rerun;
mod schedules;
mod traces;
mod transcript;

pub(super) use clean_apply::CleanApply;
pub(super) use concurrent::Concurrent;
pub(super) use crash_resume::CrashResume;
pub(super) use deterministic::Deterministic;
pub(super) use down::Down;
pub(super) use expand_only::ExpandOnly;
pub(super) use filename::Filename;
pub(super) use history::HistoryCheck;
pub(super) use leftovers::Leftovers;
pub(super) use locks::Locks;
pub(super) use populated::Populated;
pub(super) use rerun::Rerun;
