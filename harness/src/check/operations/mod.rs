//! Checks of how the schema is run.

mod aged;
mod capacity;
mod extensions;
mod gate;
mod history;
mod limits;
mod literal_secrets;
mod probes;
mod readiness;
mod retention;
mod secret_text;
mod server_bugs;
mod server_version;
mod slow_query;
mod target;

pub(super) use capacity::Capacity;
pub(super) use extensions::ExtensionsCheck;
pub(super) use history::LiveHistory;
pub(super) use literal_secrets::LiteralSecrets;
pub(super) use probes::Probes;
pub(super) use readiness::Readiness;
pub(super) use retention::RetentionCheck;
pub(super) use server_version::ServerVersion;
pub(super) use slow_query::SlowQuery;
