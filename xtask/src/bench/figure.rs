//! A figure of a bench.

use serde::Serialize;
use std::fmt;

/// A figure; `value` is what a bar is held against.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    /// The least of the runs.
    pub(super) low: f64,
    pub(super) unit: &'static str,
    pub(super) better: &'static str,
    pub(super) ours: f64,
    /// What it was measured against, where there is something.
    pub(super) peer: Option<&'static str>,
    pub(super) theirs: Option<f64>,
    pub(super) runs: usize,
}

impl Figure {
    /// The median of `samples`, where less is better.
    pub(super) fn median(name: &str, unit: &'static str, samples: &[f64]) -> Figure {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        let low = sorted.first().copied().unwrap_or(f64::NAN);
        Figure {
            name: name.to_owned(),
            value: median,
            low,
            unit,
            better: "lower",
            ours: median,
            peer: None,
            theirs: None,
            runs: samples.len(),
        }
    }

    /// How many times `theirs` our median is.
    pub(super) fn against(name: &str, ours: &[f64], peer: &'static str, theirs: &[f64]) -> Figure {
        let (ours, theirs_median) = (Figure::median(name, "ms", ours), Figure::median(name, "ms", theirs));
        let value = ours.value / theirs_median.value;
        Figure {
            value,
            low: ours.low / theirs_median.low,
            unit: "×",
            peer: Some(peer),
            theirs: Some(theirs_median.value),
            ..ours
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28} {:>9.2} {:<6} least {:>9.2}", self.name, self.value, self.unit, self.low)?;
        if let (Some(peer), Some(theirs)) = (self.peer, self.theirs) {
            write!(f, "  ours {:.2} ms, {peer} {theirs:.2} ms", self.ours)?;
        }
        write!(f, "  ({} runs)", self.runs)
    }
}
