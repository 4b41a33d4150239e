//! Latencies, and the percentiles that there are enough of them for.

use crate::error::{Error, Result};
use hdrhistogram::Histogram as Hdr;
use std::time::Duration;

/// What the histogram can hold, in nanoseconds: an hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;

/// Latencies with three digits.
#[derive(Clone, Debug)]
pub struct Histogram(Hdr<u64>);

impl Histogram {
    /// An empty one.
    ///
    /// # Errors
    /// Never in practice: its bounds are constants.
    pub fn new() -> Result<Self> {
        Hdr::new_with_bounds(1, HIGHEST_NS, 3)
            .map(Histogram)
            .map_err(|source| Error::usage("failed to make a histogram").with_source(source))
    }

    /// Adds a latency.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds all latencies of another.
    pub fn add(&mut self, other: &Histogram) {
        // Both have the same bounds, so it cannot be refused.
        let _ = self.0.add(&other.0);
    }

    /// The percentiles.
    pub fn summary(&self) -> Summary {
        let samples = self.0.len();
        let at = |quantile: f64, samples_min: u64| {
            (samples >= samples_min).then(|| self.0.value_at_quantile(quantile) as f64 / 1e6)
        };
        Summary {
            samples,
            p50_ms: at(0.5, 1),
            p95_ms: at(0.95, 100),
            p99_ms: at(0.99, 1_000),
            p999_ms: at(0.999, 10_000),
        }
    }
}

/// Percentiles; absent where the samples are too few to tell them from the luck of the worst few.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many latencies.
    pub samples: u64,
    /// The median, in milliseconds.
    pub p50_ms: Option<f64>,
    /// Needs 100 samples.
    pub p95_ms: Option<f64>,
    /// Needs 1,000 samples.
    pub p99_ms: Option<f64>,
    /// Needs 10,000 samples.
    pub p999_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, [false, false, false, false])]
    #[case(99, [true, false, false, false])]
    #[case(999, [true, true, false, false])]
    #[case(1_000, [true, true, true, false])]
    #[case(10_000, [true, true, true, true])]
    fn a_percentile_needs_its_samples(#[case] samples: u32, #[case] there: [bool; 4]) {
        let mut histogram = Histogram::new().unwrap();
        for sample in 0..samples {
            histogram.record(Duration::from_micros(u64::from(sample)));
        }
        let summary = histogram.summary();
        let seen = [summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.p999_ms].map(|one| one.is_some());
        assert_eq!((summary.samples, seen), (u64::from(samples), there));
    }

    #[test]
    fn percentiles_are_those_of_all_workers() {
        let (mut all, mut other) = (Histogram::new().unwrap(), Histogram::new().unwrap());
        for ms in 1..=50 {
            all.record(Duration::from_millis(ms));
            other.record(Duration::from_millis(50 + ms));
        }
        all.add(&other);
        let summary = all.summary();
        // Three digits: within one part in a thousand.
        assert!((summary.p50_ms.unwrap() - 50.0).abs() < 0.1, "{summary:?}");
        assert!((summary.p95_ms.unwrap() - 95.0).abs() < 0.1, "{summary:?}");
    }
}
