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

use super::Check;

/// The checks of this family.
pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(capacity::Capacity),
        Box::new(extensions::ExtensionsCheck),
        Box::new(history::LiveHistory),
        Box::new(literal_secrets::LiteralSecrets),
        Box::new(probes::Probes),
        Box::new(readiness::Readiness),
        Box::new(retention::RetentionCheck),
        Box::new(server_version::ServerVersion),
        Box::new(slow_query::SlowQuery),
    ]
}
