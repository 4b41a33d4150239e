//! A real Postgres for every test in milliseconds, and proof, before release, that your schema and data
//! layer do what you think.

#[cfg(feature = "checks")]
pub mod catalog;
#[cfg(feature = "checks")]
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "contracts")]
pub mod contract;
pub mod database;
pub mod digest;
pub mod env;
pub mod error;
#[cfg(feature = "explore")]
pub mod explore;
#[cfg(any(feature = "checks", feature = "contracts", feature = "explore", feature = "load"))]
pub mod finding;
pub mod fixture;
pub mod ident;
#[cfg(feature = "load")]
pub mod load;
pub mod migration;
pub mod notice;
pub mod postgres;
pub mod process;
#[cfg(feature = "checks")]
pub mod report;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod script;
pub mod secret;
pub mod server;
#[cfg(any(feature = "checks", feature = "load"))]
pub mod statement;
#[cfg(feature = "checks")]
pub mod suite;
pub mod wait;
#[cfg(feature = "explore")]
pub mod wire;

#[doc(hidden)]
pub use database::{Declared, Included};
pub use database::{Isolation, Template, TestDb};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "macros")]
pub use pgharness_macros::test;
pub use sqlx;
