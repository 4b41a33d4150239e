//! A broken variant of the project, and what came of it.

use super::operator::Operator;
use super::site::Site;
use pgharness::finding::{Evidence, Finding};

/// A broken variant of the project.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    pub(super) operator: Operator,
    pub(super) site: Site,
}

impl Mutant {
    /// The same in every run: `column.drop identity.tenants.name`.
    pub(super) fn id(&self) -> String {
        format!("{} {}", self.operator.name, self.site.target)
    }
}

/// What came of a mutant.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// One of the checks that should find it does.
    Found(Found),
    /// None does.
    Missed {
        /// The checks that found something.
        got: Vec<String>,
        reason: String,
    },
    /// It is none: the catalog is the same, and so are the files.
    Equivalent,
    /// The server refuses to make it.
    Stillborn(String),
}

/// How it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) check: String,
    pub(super) evidence: Vec<Evidence>,
}

impl Found {
    pub(super) fn of(finding: &Finding) -> Found {
        Found { check: finding.check.clone(), evidence: finding.evidence.clone() }
    }
}
