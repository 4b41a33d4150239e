//! A running Postgres, however it came to be.

mod backend;
mod capabilities;
mod connect;
#[cfg(feature = "container")]
mod container;
mod embedded;
mod endpoint;
mod external;
mod handle;
mod image;
mod keeper;
mod lease;
mod space;

pub use backend::{Backend, Image, ServerConfig, Source as ServerSource, Wish};
pub use capabilities::{Capabilities, Capability};
pub(crate) use connect::connect;
#[cfg(feature = "container")]
pub use container::Container;
pub use embedded::Embedded;
pub use endpoint::Endpoint;
pub use external::External;
pub use handle::Server;
#[cfg(feature = "cli")]
pub(crate) use keeper::Root;
pub use lease::{Lease, Leases, OwnerId, Seized};
pub use space::Space;
