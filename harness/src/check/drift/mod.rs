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

pub use committed::{Accepted, accept};
pub(super) use evidence::look;
pub(super) use live::LiveDrift;
pub(super) use model::ModelDrift;
pub(super) use roundtrip::RoundTrip;
pub(super) use snapshot::SnapshotDrift;
pub(super) use tenant_schemas::TenantSchemas;
