//! A figure of a bench.

use super::medium::Medium;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A figure; `value` is what a bar is held against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) name: String,
    /// `None`: it was not measured, for this `reason`.
    pub(super) value: Option<f64>,
    /// The lower end of the 95 % interval of `value`; `None` of a single run, which has none.
    pub(super) low: Option<f64>,
    /// Its upper end.
    pub(super) high: Option<f64>,
    pub(super) unit: String,
    pub(super) better: String,
    /// Our median, in milliseconds where there is a peer.
    pub(super) ours: Option<f64>,
    /// What it was measured against, where there is something, and its median.
    pub(super) peer: Option<String>,
    pub(super) theirs: Option<f64>,
    pub(super) runs: usize,
    /// What the data lay on, where data has a part in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) medium: Option<Medium>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Figure {
    /// One that could not be measured.
    pub(super) fn not_measured(name: impl Into<String>, reason: impl Into<String>) -> Figure {
        Figure {
            name: name.into(),
            value: None,
            low: None,
            high: None,
            unit: String::new(),
            better: "higher".into(),
            ours: None,
            peer: None,
            theirs: None,
            runs: 0,
            medium: None,
            reason: Some(reason.into()),
        }
    }
}

/// All but its name: several figures of one name stand below each other.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.medium {
            Some(medium) => write!(f, "{medium:<7}")?,
            None => write!(f, "{:<7}", "")?,
        }
        let Some(value) = self.value else {
            let reason = self.reason.as_deref().unwrap_or_default();
            return write!(f, "not measured: {reason}");
        };
        write!(f, "{value:>9.2} {:<4}", self.unit)?;
        match (self.low, self.high) {
            (Some(low), Some(high)) => write!(f, " 95 % {low:>8.2} …{high:>8.2}")?,
            _ => write!(f, " {:<23}", "one run")?,
        }
        if let (Some(ours), Some(peer), Some(theirs)) = (self.ours, &self.peer, self.theirs) {
            // A ratio is one of times.
            let unit = if self.unit == "×" { "ms" } else { &self.unit };
            write!(f, "  ours {ours:.2} {unit}, {peer} {theirs:.2} {unit}")?;
        }
        write!(f, "  ({} runs)", self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_has_a_reason_and_no_value() {
        let figure = Figure::not_measured("start.vs_pgtemp", "it said no");
        assert_eq!(figure.to_string().trim(), "not measured: it said no");
        let json = serde_json::to_value(&figure).unwrap();
        assert_eq!((json["value"].is_null(), json["reason"].as_str()), (true, Some("it said no")));
    }
}
