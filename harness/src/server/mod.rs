//! A running Postgres, however it came to be.

mod backend;
mod capabilities;
#[cfg(feature = "container")]
mod container;
mod embedded;
mod endpoint;
mod extension;
mod external;
mod facts;
mod handle;
mod image;
mod keeper;
mod known;
mod lease;
#[cfg(feature = "checks")]
mod login;
#[cfg(feature = "explore")]
mod pgbouncer;
mod space;

pub(crate) use crate::script::connect;
pub use backend::{Backend, Image, ServerConfig, Source as ServerSource, Wish};
pub use capabilities::{Capabilities, Capability};
#[cfg(feature = "container")]
pub use container::Container;
pub use embedded::Embedded;
pub use endpoint::Endpoint;
pub(crate) use extension::{Extensions, explain};
pub use external::External;
pub(crate) use facts::{Facts, LogFacts};
pub use handle::Server;
#[cfg(feature = "cli")]
pub(crate) use keeper::Root;
pub(crate) use known::KnownServer;
pub use lease::{Lease, Leases, OwnerId, Seized};
#[cfg(feature = "explore")]
pub use pgbouncer::PgBouncer;
pub use space::Space;

/// The folder of a server's state directory with a note on each database that is kept on it.
pub(crate) const KEPT: &str = "kept";
/// The file in a data directory that says that a database in it was kept.
pub(crate) const KEPT_MARK: &str = "pgharness.kept";
