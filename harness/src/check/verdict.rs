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
        /// What it could not look at, a lower-case fragment; nothing is all of it.
        remark: Option<String>,
    },
    /// It had nothing to look at, for this reason; never a pass.
    Skipped(String),
}

impl Verdict {
    /// It ran, with these findings.
    pub fn of(findings: Vec<Finding>) -> Self {
        Verdict::Ran { findings, measurements: Vec::new(), remark: None }
    }

    /// It did not run; `reason` is a lower-case fragment.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Verdict::Skipped(reason.into())
    }

    /// Adds what was measured; a check that did not run measured nothing.
    #[must_use]
    pub fn with_measurements(self, more: impl IntoIterator<Item = Measurement>) -> Self {
        match self {
            Verdict::Ran { findings, mut measurements, remark } => {
                measurements.extend(more);
                Verdict::Ran { findings, measurements, remark }
            }
            skipped @ Verdict::Skipped(_) => skipped,
        }
    }

    /// Says what it could not look at, also where it found nothing; a lower-case fragment, behind what was said before.
    #[must_use]
    pub fn with_remark(self, remark: impl Into<String>) -> Self {
        match self {
            Verdict::Ran { findings, measurements, remark: before } => {
                let remark = before.into_iter().chain([remark.into()]).collect::<Vec<_>>().join("; ");
                Verdict::Ran { findings, measurements, remark: Some(remark) }
            }
            skipped @ Verdict::Skipped(_) => skipped,
        }
    }
}
