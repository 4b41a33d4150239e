//! Postgres on this machine: finding or fetching an installation, preparing data directories, settings.

mod cache;
mod data_dir;
mod installation;
mod settings;

pub use cache::Cache;
pub(crate) use data_dir::SUPERUSER;
pub use data_dir::{ClusterState, DataDir};
pub use installation::Installation;
pub use settings::{Profile, Settings};
