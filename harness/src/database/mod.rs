//! An isolated, migrated, seeded database for every test.
//!
//! A [`Template`] is built once per content and server, then cloned. The state of a database is in its name
//! (see `name`): there is no table to keep in step, and a process that dies at any moment leaves nothing that
//! the next one cannot judge.

mod adoption;
mod argument;
mod attribute;
mod build;
mod cluster;
mod declared;
mod drops;
mod handover;
mod host;
mod isolation;
mod journal;
mod keep;
mod keepsake;
mod living;
mod loans;
mod look;
mod macros;
mod makers;
mod name;
mod needs;
mod original;
mod prepared;
mod put_back;
mod recipe;
mod replay;
mod room;
mod scratch;
mod shared_objects;
mod shelf;
mod stock;
mod sweep;
mod task;
mod template;
mod test_db;
mod work;

pub use isolation::Isolation;
pub use keep::{Keep, Kept};
pub use keepsake::Keepsake;
#[cfg(feature = "checks")]
pub(crate) use needs::Needs;
#[cfg(feature = "explore")]
pub(crate) use replay::Replay;
pub use scratch::Scratch;
#[cfg(feature = "checks")]
pub(crate) use shared_objects::SharedObjects;
pub use template::{Template, TemplateBuilder};
pub use test_db::TestDb;

#[doc(hidden)]
pub use argument::Argument;
#[doc(hidden)]
pub use attribute::{TestOutcome, outcome, run_bare, run_test};
#[doc(hidden)]
pub use declared::{Declared, Included};
