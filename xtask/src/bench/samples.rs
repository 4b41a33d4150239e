//! What repeated runs say: medians and intervals.

use super::figure::Figure;

/// How often an interval's samples are drawn again.
const DRAWS: usize = 2000;

/// Milliseconds of repeated runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// Their median, as a figure where less is better.
    pub(super) fn figure(&self, name: &str, unit: &str) -> Figure {
        if self.0.is_empty() {
            return Figure::not_measured(name, "no sample was taken");
        }
        let interval = interval(self.0.len(), |draw| median(draw.iter().map(|index| self.0[*index])));
        let value = median(self.0.iter().copied());
        Figure {
            name: name.to_owned(),
            value: Some(value),
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            unit: unit.to_owned(),
            better: "lower".into(),
            ours: Some(value),
            peer: None,
            theirs: None,
            runs: self.0.len(),
            medium: None,
            reason: None,
        }
    }

    /// How many times better ours are than a peer's. Both were taken in turn, so that the draws for the interval
    /// take whole rounds: what slowed a round slowed both.
    pub(super) fn times_better(&self, name: &str, peer: &str, theirs: &Samples) -> Figure {
        let rounds = self.0.len().min(theirs.0.len());
        let ratio = |draw: &[usize]| {
            median(draw.iter().map(|index| theirs.0[*index]))
                / median(draw.iter().map(|index| self.0[*index]))
        };
        let all: Vec<usize> = (0..rounds).collect();
        let interval = interval(rounds, ratio);
        Figure {
            value: Some(ratio(&all)),
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            unit: "×".into(),
            better: "higher".into(),
            peer: Some(peer.to_owned()),
            theirs: Some(median(theirs.0.iter().copied())),
            ..self.figure(name, "ms")
        }
    }

    /// What ours take more than a peer's, in milliseconds.
    pub(super) fn extra(&self, name: &str, unit: &str, peer: &str, theirs: &Samples) -> Figure {
        let rounds = self.0.len().min(theirs.0.len());
        let extra = (0..rounds).map(|round| self.0[round] - theirs.0[round]);
        let extra = Samples(extra.collect()).figure(name, unit);
        Figure {
            ours: Some(median(self.0.iter().copied())),
            peer: Some(peer.to_owned()),
            theirs: Some(median(theirs.0.iter().copied())),
            ..extra
        }
    }
}

/// The 95 % interval of a statistic by bootstrap: of `rounds` as many are drawn again and again, each maybe several
/// times. The draws are the same in every run. `None` of fewer than two rounds.
fn interval(rounds: usize, statistic: impl Fn(&[usize]) -> f64) -> Option<(f64, f64)> {
    if rounds < 2 {
        return None;
    }
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = vec![0; rounds];
    let mut values: Vec<f64> = (0..DRAWS)
        .map(|_| {
            for place in &mut draw {
                *place = usize::try_from(next(&mut state) % rounds as u64).unwrap_or_default();
            }
            statistic(&draw)
        })
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    Some((values[DRAWS * 25 / 1000], values[DRAWS * 975 / 1000 - 1]))
}

/// The next number of SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        values.iter().for_each(|value| samples.push(*value));
        samples
    }

    #[test]
    fn a_ratio_is_of_medians_and_its_interval_surrounds_it() {
        let (ours, theirs) = (samples(&[2.0, 3.0, 2.5, 9.0, 2.4]), samples(&[20.0, 31.0, 24.0, 88.0, 25.0]));
        let figure = ours.times_better("x", "peer", &theirs);
        assert_eq!((figure.value, figure.ours, figure.theirs), (Some(10.0), Some(2.5), Some(25.0)));
        assert!(figure.low < figure.value && figure.value < figure.high, "{figure:?}");
        assert!(figure.low > Some(5.0) && figure.high < Some(15.0), "{figure:?}");
    }

    #[test]
    fn what_slows_a_whole_round_does_not_widen_a_ratio() {
        let (ours, theirs) = (samples(&[1.0, 5.0, 2.0, 8.0]), samples(&[10.0, 50.0, 20.0, 80.0]));
        let figure = ours.times_better("x", "peer", &theirs);
        assert_eq!((figure.low, figure.value, figure.high), (Some(10.0), Some(10.0), Some(10.0)));
    }

    #[test]
    fn an_extra_is_taken_round_by_round() {
        let figure = samples(&[5.0, 9.0, 7.0]).extra("x", "ms", "none", &samples(&[4.0, 7.0, 6.0]));
        assert_eq!((figure.value, figure.ours, figure.theirs), (Some(1.0), Some(7.0), Some(6.0)));
    }

    #[test]
    fn a_single_run_has_no_interval() {
        let figure = samples(&[4.0]).figure("x", "ms");
        assert_eq!((figure.value, figure.low, figure.high, figure.runs), (Some(4.0), None, None, 1));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(samples(&[4.0, 1.0, 3.0, 2.0]).figure("x", "ms").value, Some(2.5));
    }
}
