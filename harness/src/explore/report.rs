//! What an exploration says: what it covered, and what it found.

use super::schedule::Schedule;
use crate::digest::Digest;
use crate::finding::Evidence;
use std::fmt;

/// What was tried, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many schedules ran.
    pub schedules: usize,
    /// How many more were left out, since they differ from one of these only in the order of independent steps; see
    /// [`Explorer::with_reduction`](super::Explorer::with_reduction).
    pub left_out: usize,
    /// Why none could be left out, if some were to be.
    pub not_reduced: Option<String>,
    /// How many at least were not tried, behind a limit or the first violation.
    pub not_tried: usize,
    /// How many steps they had together.
    pub steps: usize,
    /// How often a turn was taken from a client that could have gone on, at most, within one schedule.
    pub preemptions: usize,
    /// Whether every schedule within that bound ran to its end, and nothing is under `not_covered`.
    pub is_complete: bool,
    /// What was not covered, in words.
    pub not_covered: Vec<String>,
}

/// A schedule that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The schedule: its id replays it.
    pub schedule: Schedule,
    /// What the invariant said.
    pub message: String,
    /// How each client ended.
    pub outcomes: String,
    /// What happened, a column for each client.
    pub transcript: String,
    /// The same as evidence of a finding.
    pub evidence: Vec<Evidence>,
}

/// What an exploration found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exploration {
    pub(super) coverage: Coverage,
    pub(super) violation: Option<Violation>,
    pub(super) violating: Vec<Schedule>,
    pub(super) digest: Digest,
}

impl Exploration {
    /// What was tried.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Whether no schedule broke an invariant. It says nothing of schedules that were not tried: see
    /// [`coverage`](Exploration::coverage).
    pub fn is_clean(&self) -> bool {
        self.violation.is_none()
    }

    /// The first violation, in the simplest schedule that shows it.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Every schedule that broke an invariant, as it was found.
    pub fn violating(&self) -> &[Schedule] {
        &self.violating
    }

    /// The digest of everything that happened in every schedule: equal for explorations that went equally.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The test sugar: nothing if no schedule broke an invariant.
    ///
    /// # Panics
    /// One did; the message has its transcript and its id.
    #[track_caller]
    #[expect(clippy::panic, reason = "the documented test sugar")]
    pub fn assert_clean(&self) {
        if !self.is_clean() {
            panic!("{self}");
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} of {} {}, up to {} {}{}",
            self.schedules,
            if self.schedules == 1 { "schedule" } else { "schedules" },
            self.steps,
            if self.steps == 1 { "step" } else { "steps" },
            self.preemptions,
            if self.preemptions == 1 { "preemption" } else { "preemptions" },
            if self.is_complete { ", all there are" } else { "" },
        )?;
        if self.left_out > 0 {
            write!(f, "\n  left out, as the same but for the order of independent steps: {}", self.left_out)?;
        }
        if let Some(why) = &self.not_reduced {
            write!(f, "\n  left out: none, since {why}")?;
        }
        for gap in &self.not_covered {
            write!(f, "\n  not covered: {gap}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Exploration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(violation) = &self.violation {
            writeln!(f, "{}", violation.message)?;
            writeln!(f, "schedule `{}`: {}\n", violation.schedule, violation.outcomes)?;
            writeln!(f, "{}\n", violation.transcript)?;
            writeln!(f, "{} broke it; explored {}", self.violating.len(), self.coverage)?;
            return write!(f, "replay it with `.replay(\"{}\")`", violation.schedule);
        }
        write!(f, "no schedule broke an invariant; explored {}", self.coverage)
    }
}
