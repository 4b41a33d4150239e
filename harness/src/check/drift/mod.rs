//! Checks of the schema against what is known of it elsewhere.

mod committed;
mod evidence;
mod snapshot;

pub use committed::{Accepted, accept};
pub(super) use evidence::look;
pub(super) use snapshot::SnapshotDrift;
