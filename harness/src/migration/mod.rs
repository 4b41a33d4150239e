//! Migrations: the ordered source, in the format of the project's own tool, and what applies it, which is the
//! built-in runner or that tool.
//!
//! ```no_run
//! # async fn example() -> pgharness::Result<()> {
//! use pgharness::migration::{Format, Migrations, Runner};
//!
//! let migrations = Migrations::load("migrations", Format::Auto)?;
//! let target = "postgresql://localhost/app".parse().map_err(pgharness::Error::from)?;
//! let applied = Runner::new(&migrations).apply(&target).await?;
//! assert_eq!(applied.applied.len() + applied.already, migrations.len());
//! # Ok(())
//! # }
//! ```

mod foreign;
mod format;
mod history;
mod ledger;
mod lock;
mod migrator;
mod name;
mod plan;
mod runner;
mod source;
mod step;
mod table;
mod took;

pub use format::Format;
pub use history::Entry;
pub use name::{NameProblem, ProblemKind};
pub use runner::{Applied, AppliedMigration, Runner};
pub use source::{Migrations, problems};
pub use step::{Delivery, Migration, Turn, Version};
