//! A real Postgres for every test in milliseconds, and proof, before release, that your schema and data
//! layer do what you think.
#![forbid(clippy::dbg_macro)]

#[cfg(feature = "contracts")]
pub mod contract;
pub mod digest;
pub mod env;
pub mod error;
pub mod finding;
pub mod ident;
#[cfg(feature = "load")]
pub mod load;
pub mod notice;
pub mod postgres;
pub mod process;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod secret;
pub mod statement;
pub mod wait;

pub use error::{Error, ErrorKind, Result};
