//! The suite: what `pgharness.toml` asks for, and running it.

pub mod config;
#[cfg(feature = "contracts")]
mod contracts;
#[cfg(feature = "load")]
mod queries;
mod registry;
mod run;

pub use config::{Config, Setting};
pub use registry::registry;
pub use run::{Progress, Suite, run, run_with};
