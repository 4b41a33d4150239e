//! The search: every schedule up to a number of preemptions, each once, those with fewer preemptions first.

use super::reduction::{Deed, Reduction};
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
    pub(super) fn preempts(&self, client: usize) -> bool {
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
    /// Finds what need not be tried.
    reduction: Option<Reduction>,
    /// What was left out, with the number of preemptions.
    left_out: Vec<(usize, Vec<usize>)>,
}

impl Search {
    /// All schedules with at most `bound` preemptions.
    pub(super) fn new(bound: usize) -> Search {
        let mut levels = vec![VecDeque::new(); bound + 1];
        levels[0].push_back(Vec::new());
        Search { levels, reduction: None, left_out: Vec::new() }
    }

    /// The same, but of those that differ only in the order of independent steps not every one.
    pub(super) fn reduced(bound: usize) -> Search {
        Search { reduction: Some(Reduction::default()), ..Search::new(bound) }
    }

    /// The beginning of the next schedule; it is to be gone on with as long as possible without a preemption.
    pub(super) fn next(&mut self) -> Option<Vec<usize>> {
        loop {
            let (preemptions, next) = self
                .levels
                .iter_mut()
                .enumerate()
                .find_map(|(preemptions, level)| Some((preemptions, level.pop_front()?)))?;
            let is_covered =
                self.reduction.as_mut().is_some_and(|reduction| reduction.covers(&next, preemptions));
            if !is_covered {
                return Some(next);
            }
            self.left_out.push((preemptions, next));
        }
    }

    /// What was left out is to be tried after all, and from now on everything.
    pub(super) fn leave_nothing_out(&mut self) {
        self.reduction = None;
        for (preemptions, beginning) in self.left_out.drain(..) {
            self.levels[preemptions].push_back(beginning);
        }
    }

    /// Learns from a schedule that was run from a beginning of `given` steps, and what its steps did; `Err`: why that
    /// leaves nothing to be left out.
    pub(super) fn learn(&mut self, given: usize, choices: &[Choice], deeds: &[Deed]) -> Result<(), String> {
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
        match &mut self.reduction {
            Some(reduction) => reduction.learn(choices, deeds),
            None => Ok(()),
        }
    }

    /// How many schedules were left out, when `ran` ran: at least, if not all was tried.
    pub(super) fn spared(&self, ran: usize) -> usize {
        let bound = self.levels.len() - 1;
        self.reduction.as_ref().map_or(0, |reduction| reduction.count(bound).saturating_sub(ran))
    }

    /// How many beginnings were not tried.
    pub(super) fn left(&self) -> usize {
        self.levels.iter().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::explore::footprint::Footprint;
    use proptest::prelude::*;
    use rstest::rstest;
    use std::collections::{BTreeSet, HashSet};

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
            search.learn(given.len(), &choices, &[]).unwrap();
            assert!(seen.insert(choices.iter().map(|choice| choice.taken).collect::<Vec<_>>()));
        }
        assert_eq!((seen.len(), search.left()), (expected, 0));
    }

    /// What a client of the model does in one step: it looks at some tables, and writes one of them.
    #[derive(Clone, Debug)]
    struct Move {
        reads: Vec<usize>,
        writes: Option<usize>,
    }

    impl Move {
        fn footprint(&self) -> Footprint {
            let tables =
                self.reads.iter().chain(&self.writes).map(ToString::to_string).collect::<BTreeSet<_>>();
            if tables.is_empty() { Footprint::Nowhere } else { Footprint::Relations(tables) }
        }
    }

    /// Runs clients that remember what they saw, and write it; one whose turn it is not in `given` goes on. Gives the
    /// choices, the deeds, and what is in the tables in the end and remembered.
    fn play(programs: &[Vec<Move>], given: &[usize]) -> (Vec<Choice>, Vec<Deed>, Vec<String>) {
        let mut tables = vec![String::new(); 4];
        let mut minds = vec![String::new(); programs.len()];
        let mut done = vec![0; programs.len()];
        let (mut choices, mut deeds): (Vec<Choice>, Vec<Deed>) = (Vec::new(), Vec::new());
        loop {
            let enabled: Vec<usize> =
                (0..programs.len()).filter(|client| done[*client] < programs[*client].len()).collect();
            let Some(first) = enabled.first() else { break };
            let current = choices.last().map(|choice| choice.taken);
            let default = current.filter(|current| enabled.contains(current)).unwrap_or(*first);
            let taken = given.get(choices.len()).copied().unwrap_or(default);
            let step = &programs[taken][done[taken]];
            for table in &step.reads {
                minds[taken] = format!("({}{})", minds[taken], tables[*table]);
            }
            if let Some(table) = step.writes {
                tables[table] = format!("{}{taken}{}", tables[table], minds[taken]);
            }
            done[taken] += 1;
            deeds.push(Deed { footprint: step.footprint(), told: Digest::of(&minds[taken]) });
            choices.push(Choice { current, enabled, taken, is_forced: false });
        }
        (choices, deeds, [tables, minds].concat())
    }

    /// All ends within the bound, with the number of schedules that ran and that were left out.
    fn ends(programs: &[Vec<Move>], mut search: Search) -> (HashSet<Vec<String>>, usize, usize) {
        let (mut found, mut ran) = (HashSet::new(), 0);
        while let Some(given) = search.next() {
            let (choices, deeds, end) = play(programs, &given);
            search.learn(given.len(), &choices, &deeds).unwrap();
            found.insert(end);
            ran += 1;
        }
        (found, ran, search.spared(ran))
    }

    fn moves() -> impl Strategy<Value = Move> {
        (prop::collection::vec(0..4usize, 0..2), prop::option::of(0..4usize))
            .prop_map(|(reads, writes)| Move { reads, writes })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn what_is_left_out_leads_to_no_other_end(
            programs in prop::collection::vec(prop::collection::vec(moves(), 0..5), 2..4),
            bound in 0..4usize,
        ) {
            let (all, ran_all, none) = ends(&programs, Search::new(bound));
            let (some, ran, left_out) = ends(&programs, Search::reduced(bound));
            prop_assert_eq!(none, 0);
            prop_assert_eq!(ran + left_out, ran_all);
            prop_assert_eq!(some, all);
        }
    }

    #[test]
    fn steps_that_have_nothing_to_do_with_each_other_run_in_one_order() {
        let step = |table| Move { reads: vec![table], writes: Some(table) };
        let programs = [vec![step(0); 5], vec![step(1); 5]];
        let (found, ran, left_out) = ends(&programs, Search::reduced(3));
        assert_eq!((found.len(), ran + left_out), (1, 90));
        assert!(ran < 45, "{ran}");
    }

    #[test]
    fn what_was_left_out_is_run_when_it_turns_out_to_matter() {
        let step = |table| Move { reads: vec![table], writes: Some(table) };
        let programs = [vec![step(0); 3], vec![step(1); 3]];
        let mut search = Search::reduced(2);
        let mut seen = HashSet::new();
        let mut ran = 0;
        while let Some(given) = search.next() {
            let (choices, deeds, _) = play(&programs, &given);
            search.learn(given.len(), &choices, &deeds).unwrap();
            seen.insert(choices.iter().map(|choice| choice.taken).collect::<Vec<_>>());
            ran += 1;
            if ran == 4 {
                search.leave_nothing_out();
            }
        }
        let (_, all, _) = ends(&programs, Search::new(2));
        assert_eq!((seen.len(), ran), (all, all));
    }

    #[test]
    fn a_step_that_went_otherwise_with_the_same_past_is_told() {
        let programs =
            [vec![Move { reads: vec![0], writes: None }], vec![Move { reads: vec![], writes: None }]];
        let mut search = Search::reduced(1);
        let mut learn = |turns: &[usize], told: &str| {
            let (choices, mut deeds, _) = play(&programs, turns);
            for deed in &mut deeds {
                deed.told = Digest::of(told);
            }
            search.learn(turns.len(), &choices, &deeds)
        };
        learn(&[0, 1], "one").unwrap();
        assert_eq!(learn(&[1, 0], "two").unwrap_err(), "steps that seemed independent were not");
    }
}
