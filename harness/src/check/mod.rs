//! Checks: one property of a schema each, with an id such as `tenancy.view-bypass`; they yield findings.
//!
//! One folder per family, one file per check, with its explanation and its tests. A check's examples are the
//! files of `fixtures/checks/<id>/`: those that it must find fault with (`bad…`) and those that it must not
//! (`good…`).

mod access;
mod allowance;
mod attempt;
mod context;
mod databases;
mod drift;
mod example;
mod first_run;
mod live;
mod migration;
mod migrator;
mod nearest;
mod need;
mod onboarding;
mod operations;
mod pattern;
mod place;
mod project;
mod registry;
mod revision;
pub(crate) mod spelling;
mod story;
mod structure;
mod tenancy;
mod verdict;
mod walk;

pub use access::measured_matrix;
pub use allowance::{Allowance, Applied, Silenced, UNUSED_ALLOWANCE, UNUSED_ALLOWANCE_EXPLANATION, apply};
pub use context::Context;
#[cfg(feature = "cli")]
pub(crate) use databases::needs_of;
pub use drift::{Accepted, accept};
pub use example::{Example, Kind};
pub use migration::{Deed, Held, Locked, Loss, Manifest, lock, manifest};
pub use nearest::nearest;
pub use need::Need;
pub use pattern::matches;
pub use project::{
    Access, Every, Migrations, OldRelease, Partitions, Privilege, Project, Retention, Role, Snapshot,
    Structure, Tenancy, TenancyModel,
};
pub use registry::Registry;
pub use story::Story;
#[cfg(feature = "cli")]
pub(crate) use tenancy::{Detected, MAY_BECOME, detected};
pub use verdict::Verdict;

use crate::error::Result;
use std::pin::Pin;

/// A check at work.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Verdict>> + Send + 'a>>;

/// One property of a schema.
pub trait Check: Send + Sync {
    /// Its id, `family.name`: frozen once shipped.
    fn id(&self) -> &'static str;

    /// What it looks for, in one line.
    fn summary(&self) -> &'static str;

    /// What `pgharness explain` prints of it.
    fn explain(&self) -> Explanation;

    /// What it cannot run without; where something lacks, it is skipped and the report says for want of what.
    fn needs(&self) -> &'static [Need] {
        &[]
    }

    /// Whether it is a discipline that a project chooses (`checks.opt_in`), and else does not run.
    fn is_opt_in(&self) -> bool {
        false
    }

    /// Whether it can look at a live database (`pgharness check --live`), which is only read.
    fn reads_live(&self) -> bool {
        false
    }

    /// The files of `fixtures/checks/<id>/`, at least one good and one bad; see [`examples!`](crate::examples).
    fn examples(&self) -> &'static [Example];

    /// What can happen where it finds fault, told of its first bad example.
    fn story(&self) -> Option<Story> {
        None
    }

    /// Looks, on databases of its own.
    ///
    /// # Errors
    /// It could not look: the server was lost, a statement that is no part of the property failed. A
    /// property that does not hold is a finding, never an error.
    fn run<'a>(&'a self, context: &'a Context) -> Running<'a>;
}

/// What a check is about, for people: each part a paragraph or a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What a pass proves, and what it does not.
    pub proves: &'static str,
    /// Why that matters: what goes wrong in production otherwise.
    pub matters: &'static str,
    /// What to do about a finding.
    pub remedy: &'static str,
}
