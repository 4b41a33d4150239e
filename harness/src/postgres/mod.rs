//! Postgres on this machine: finding or fetching an installation, preparing data directories, settings.

mod cache;

pub use cache::Cache;
