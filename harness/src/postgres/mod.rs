//! Postgres on this machine: finding or fetching an installation, preparing data directories, settings.

mod cache;
mod client_tool;
mod data_dir;
mod dump;
mod extension;
mod installation;
mod place;
#[cfg(feature = "download")]
mod provision;
mod request;
mod search;
mod settings;
mod store;
mod version;

pub use cache::Cache;
pub(crate) use client_tool::command_path;
pub(crate) use data_dir::SUPERUSER;
pub use data_dir::{ClusterState, DataDir};
pub use dump::{Format, Target, dump, psql, restore};
pub use installation::Installation;
pub use request::{Request, Source};
pub use settings::{Profile, Settings};
pub use version::{NEWEST_FETCHED, OLDEST_SUPPORTED, Version};
