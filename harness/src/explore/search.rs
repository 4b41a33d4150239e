//! The search: every schedule up to a number of preemptions, each once, those with fewer preemptions first.

use std::collections::VecDeque;

/// A step of a schedule that was run: who could have gone, and who went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Who took the step before.
    pub(super) current: Option<usize>,
    /// Who had something to run, in order.
    pub(super) enabled: Vec<usize>,
    pub(super) taken: usize,
    /// It was no choice: somebody had to be set aside.
    pub(super) is_forced: bool,
}

impl Choice {
    /// Whether giving the turn to `client` takes it from one who could go on.
    fn preempts(&self, client: usize) -> bool {
        !self.is_forced
            && self.current.is_some_and(|current| current != client && self.enabled.contains(&current))
    }
}

/// How many preemptions a schedule took.
pub(super) fn preemptions(choices: &[Choice]) -> usize {
    choices.iter().filter(|choice| choice.preempts(choice.taken)).count()
}

/// What is still to be tried: beginnings of schedules, by the number of preemptions in them.
#[derive(Debug)]
pub(super) struct Search {
    levels: Vec<VecDeque<Vec<usize>>>,
}

impl Search {
    /// All schedules with at most `bound` preemptions.
    pub(super) fn new(bound: usize) -> Search {
        let mut levels = vec![VecDeque::new(); bound + 1];
        levels[0].push_back(Vec::new());
        Search { levels }
    }

    /// The beginning of the next schedule; it is to be gone on with as long as possible without a preemption.
    pub(super) fn next(&mut self) -> Option<Vec<usize>> {
        self.levels.iter_mut().find_map(VecDeque::pop_front)
    }

    /// Learns from a schedule that was run from a beginning of `given` steps.
    pub(super) fn learn(&mut self, given: usize, choices: &[Choice]) {
        let mut spent = 0;
        for (place, choice) in choices.iter().enumerate() {
            if place >= given && !choice.is_forced {
                for other in choice.enabled.iter().filter(|other| **other != choice.taken) {
                    let cost = spent + usize::from(choice.preempts(*other));
                    if let Some(level) = self.levels.get_mut(cost) {
                        let before = choices[..place].iter().map(|choice| choice.taken);
                        level.push_back(before.chain([*other]).collect());
                    }
                }
            }
            spent += usize::from(choice.preempts(choice.taken));
        }
    }

    /// How many beginnings were not tried.
    pub(super) fn left(&self) -> usize {
        self.levels.iter().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashSet;

    /// Runs clients that never wait for one another.
    fn run(steps: &[usize], given: &[usize]) -> Vec<Choice> {
        let mut left = steps.to_vec();
        let mut choices: Vec<Choice> = Vec::new();
        while left.iter().any(|left| *left > 0) {
            let enabled: Vec<usize> = (0..left.len()).filter(|client| left[*client] > 0).collect();
            let current = choices.last().map(|choice| choice.taken);
            let default = current.filter(|current| enabled.contains(current)).unwrap_or(enabled[0]);
            let taken = given.get(choices.len()).copied().unwrap_or(default);
            left[taken] -= 1;
            choices.push(Choice { current, enabled, taken, is_forced: false });
        }
        choices
    }

    #[rstest]
    #[case(&[5, 5], 0, 2)]
    #[case(&[5, 5], 1, 10)]
    #[case(&[5, 5], 2, 42)]
    #[case(&[5, 5], 3, 90)]
    #[case(&[5, 5], 100, 252)]
    #[case(&[2, 2, 2], 100, 90)]
    fn every_schedule_within_the_bound_is_tried_once(
        #[case] steps: &[usize],
        #[case] bound: usize,
        #[case] expected: usize,
    ) {
        let mut search = Search::new(bound);
        let mut seen = HashSet::new();
        let mut last = 0;
        while let Some(given) = search.next() {
            let choices = run(steps, &given);
            let spent = preemptions(&choices);
            assert!(last <= spent && spent <= bound);
            last = spent;
            search.learn(given.len(), &choices);
            assert!(seen.insert(choices.iter().map(|choice| choice.taken).collect::<Vec<_>>()));
        }
        assert_eq!((seen.len(), search.left()), (expected, 0));
    }
}
