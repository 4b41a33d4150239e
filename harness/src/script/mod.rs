//! What runs against a database from outside the crate's own SQL: files of SQL, whose errors point into the
//! file, and commands, which get the database's URL in their environment. Migrations and fixtures are both.

mod chain;
mod command;
mod connect;
mod failure;
mod file;
mod joint;
mod lexer;
#[cfg(feature = "explore")]
mod mask;
mod place;
mod plain;
#[cfg(feature = "explore")]
mod preparable;
mod session;
mod statements;
mod target;
mod tidy;

pub(crate) use chain::{Chain, Frame, Outcome, TIME};
pub(crate) use command::CommandLine;
#[cfg(feature = "checks")]
pub(crate) use command::last_lines;
pub(crate) use connect::connect;
pub(crate) use failure::Purpose;
pub use file::Script;
#[cfg(feature = "checks")]
pub(crate) use lexer::{Kind, Lexer};
#[cfg(feature = "explore")]
pub(crate) use mask::mask;
#[cfg(feature = "checks")]
pub(crate) use place::hide_passwords;
#[cfg(feature = "explore")]
pub(crate) use plain::{FUNCTIONS, is_plain};
#[cfg(feature = "explore")]
pub(crate) use preparable::preparable;
pub(crate) use session::{Closing, Session, Uncommitted};
pub use statements::{Statement, split};
pub use target::database_url;
#[cfg(feature = "checks")]
pub(crate) use target::environment;
#[cfg(any(feature = "explore", feature = "checks"))]
pub(crate) use target::{password, socket};
