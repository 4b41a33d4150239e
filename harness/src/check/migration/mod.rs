//! Checks of the migrations themselves.

mod answer;
mod budget;
mod bulk;
mod clean_apply;
mod concurrent;
mod contraction;
mod crash_resume;
mod crop;
mod crowd;
mod deterministic;
mod down;
mod expand_only;
mod failing;
mod filename;
mod history;
mod immutable;
mod interruption;
mod landmarks;
mod leftovers;
mod lock_file;
mod lock_released;
mod locks;
mod manifest;
mod observation;
mod old_release;
mod populated;
mod queue;
mod recorded;
mod release;
mod rerun;
mod schedules;
mod traces;
mod transcript;

use super::Check;

pub use lock_file::{Locked, lock};
pub use manifest::{Deed, Held, Loss, Manifest, manifest};

/// The checks of this family.
pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(clean_apply::CleanApply),
        Box::new(concurrent::Concurrent),
        Box::new(crash_resume::CrashResume),
        Box::new(deterministic::Deterministic),
        Box::new(down::Down),
        Box::new(expand_only::ExpandOnly),
        Box::new(filename::Filename),
        Box::new(history::HistoryCheck),
        Box::new(immutable::Immutable),
        Box::new(leftovers::Leftovers),
        Box::new(lock_released::LockReleased),
        Box::new(locks::Locks),
        Box::new(old_release::OldReleaseCheck),
        Box::new(populated::Populated),
        Box::new(rerun::Rerun),
    ]
}
