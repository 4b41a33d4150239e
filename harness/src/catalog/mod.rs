//! The structural facts of a database, keyed by name and never by OID; drift is the difference of two.
//!
//! A catalog is read set-wise, one query for each class of the server's own catalogs, in one read-only
//! transaction. What the model does not hold is reported by [`Catalog::unmodelled`], never ignored.

mod canonical;
mod diff;
mod kind;
mod name;
mod object;
mod parse;
mod read;
mod render;

pub use diff::{Change, What, diff};
pub use kind::Kind;
pub use name::name_of;
#[cfg(feature = "checks")]
pub(crate) use name::{schema_of, unquoted};
pub use object::{Catalog, Facts, Object, Unmodelled};
pub use read::ReadOptions;
pub use render::Snapshot;
