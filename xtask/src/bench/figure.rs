//! A figure of a bench.

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
            reason: Some(reason.into()),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.value else {
            let reason = self.reason.as_deref().unwrap_or_default();
            return write!(f, "{:<42} not measured: {reason}", self.name);
        };
        write!(f, "{:<42} {value:>9.2} {:<4}", self.name, self.unit)?;
        match (self.low, self.high) {
            (Some(low), Some(high)) => write!(f, " 95 % {low:>8.2} …{high:>8.2}")?,
            _ => write!(f, " {:<23}", "one run")?,
        }
        if let (Some(ours), Some(peer), Some(theirs)) = (self.ours, &self.peer, self.theirs) {
            write!(f, "  ours {ours:.2} ms, {peer} {theirs:.2} ms")?;
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
        assert!(figure.to_string().ends_with("not measured: it said no"), "{figure}");
        let json = serde_json::to_value(&figure).unwrap();
        assert_eq!((json["value"].is_null(), json["reason"].as_str()), (true, Some("it said no")));
    }
}
