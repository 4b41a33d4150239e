//! A real Postgres for every test in milliseconds, and proof, before release, that your schema and data
//! layer do what you think.
#![deny(clippy::dbg_macro)]

#[cfg(feature = "checks")]
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
pub mod digest;
pub mod env;
pub mod error;
pub mod finding;
pub mod ident;
pub mod notice;
pub mod postgres;
pub mod process;
#[cfg(feature = "checks")]
pub mod report;
pub mod secret;
#[cfg(feature = "checks")]
pub mod suite;
pub mod wait;

pub use error::{Error, ErrorKind, Result};
