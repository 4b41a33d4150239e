//! Postgres on this machine: finding or fetching an installation, preparing data directories, settings.

mod cache;
mod client_tool;
mod data_dir;
mod dump;
mod extension;
mod folders;
mod installation;
mod place;
mod program_note;
#[cfg(feature = "download")]
mod provision;
mod request;
mod search;
mod settings;
mod store;
mod version;
mod wal;

pub use cache::Cache;
pub(crate) use client_tool::command_path;
pub(crate) use data_dir::SUPERUSER;
pub use data_dir::{ClusterState, DataDir};
pub use dump::{Format, Target, dump, psql, restore};
pub(crate) use extension::{Lack, Site, quoted, remedies, the_extensions};
pub use installation::Installation;
pub use request::{Request, Source};
pub use settings::{Profile, Settings};
pub use version::{NEWEST_FETCHED, OLDEST_SUPPORTED, Version};
pub(crate) use wal::{Change, Effect, Log, Lsn};
