//! Checks of the schema against what is known of it elsewhere.

mod committed;
mod evidence;
mod live;
mod model;
mod reader;
mod restore;
mod roundtrip;
mod snapshot;
mod tenant_schemas;

use super::Check;

pub use committed::{Accepted, accept};
pub(super) use evidence::look;

/// The checks of this family.
pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(live::LiveDrift),
        Box::new(model::ModelDrift),
        Box::new(roundtrip::RoundTrip),
        Box::new(snapshot::SnapshotDrift),
        Box::new(tenant_schemas::TenantSchemas),
    ]
}
