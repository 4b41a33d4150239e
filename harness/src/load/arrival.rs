//! When requests come.

use crate::statement::Random;
use std::time::Duration;

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Each connection sends its next request as soon as it has its answer. A slow answer then keeps requests
    /// back that a user would have sent: good for throughput, blind for waiting.
    Closed,
    /// At random moments that are fixed before the first is sent (Poisson), whatever the answers do. Time is
    /// measured from the scheduled moment.
    Poisson {
        /// How many a second.
        per_s: f64,
        /// A request that is late by more than this is not sent, and counts as a failure.
        patience: Duration,
    },
}

/// The moments of `count` arrivals since the start.
pub(super) fn schedule(per_s: f64, count: usize, random: &mut Random) -> Vec<Duration> {
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            // Gaps of a Poisson process are distributed exponentially.
            at -= random.unit().ln() / per_s;
            Duration::try_from_secs_f64(at).unwrap_or(Duration::MAX)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_fixed_ahead_in_order_and_at_their_rate() {
        let moments = schedule(1000.0, 10_000, &mut Random::new(1));
        assert!(moments.is_sorted());
        assert_eq!(moments, schedule(1000.0, 10_000, &mut Random::new(1)));
        let seconds = moments[9_999].as_secs_f64();
        // Ten standard deviations of the sum of 10,000 gaps.
        assert!((9.0..11.0).contains(&seconds), "{seconds}");
    }
}
