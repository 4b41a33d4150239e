//! The suite: what `pgharness.toml` asks for, and running it.

pub mod config;
mod run;

pub use config::Config;
pub use run::{Progress, Suite, run, run_with};
