//! The suite: what `pgharness.toml` asks for, and running it.

pub mod config;
mod run;

pub use config::Config;
pub use run::{run, run_with};
