//! What a check says in the end.

use crate::finding::{Finding, Measurement};

/// What a check says in the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It ran.
    Ran {
        /// What it found; nothing is a pass.
        findings: Vec<Finding>,
        /// What it measured on the way.
        measurements: Vec<Measurement>,
    },
    /// It had nothing to look at, for this reason; never a pass.
    Skipped(String),
}

impl Verdict {
    /// It ran, with these findings.
    pub fn of(findings: Vec<Finding>) -> Self {
        Verdict::Ran { findings, measurements: Vec::new() }
    }

    /// It did not run; `reason` is a lower-case fragment.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Verdict::Skipped(reason.into())
    }

    /// Adds what was measured; a check that did not run measured nothing.
    #[must_use]
    pub fn with_measurements(self, more: impl IntoIterator<Item = Measurement>) -> Self {
        match self {
            Verdict::Ran { findings, mut measurements } => {
                measurements.extend(more);
                Verdict::Ran { findings, measurements }
            }
            skipped @ Verdict::Skipped(_) => skipped,
        }
    }
}
