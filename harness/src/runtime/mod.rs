//! The reference data layer: what a service's access to Postgres looks like when it is done right.
//!
//! It is small so that it can be read. [`PoolSettings`] is the contract with the environment;
//! [`with_transaction`] runs a closure in one transaction and retries the whole of it where that is
//! right; [`sqlstate`] sorts what the server answers, and [`DataError`] is what a client may see of it.

mod error;
mod pool;
pub mod sqlstate;
mod transaction;

pub use error::DataError;
pub use pool::PoolSettings;
pub use sqlstate::{Class, Retry};
pub use transaction::{Isolation, Sqlstate, TransactionOptions, Tx, with_transaction};
