//! Leaving out schedules that differ from one that ran only in the order of steps that have nothing to do with each other.
//!
//! A step is known by its client, its number, and its *past*: the steps that it may depend on, and those that they may
//! depend on. Two beginnings of the same steps lead to the same state (for databases and clients alike), whatever the order.
//! What a beginning would lead to is foretold only from steps that were seen, so a schedule is left out before it runs.
//!
//! The bound on preemptions makes it delicate: the same state may be reached with more preemptions, or with another client
//! at its turn, and less may follow from it then. So a beginning is left out only for one from which, whoever goes on, at
//! least as many preemptions are left. By induction over the rest of a schedule every end within the bound is reached.
//!
//! Steps with one past that did not come out equally show that somebody depends on what is not seen. Then, and whenever a step
//! is met whose effects are not certain, nothing is left out any more, and what was left out is run after all.

use super::footprint::Footprint;
use super::search::Choice;
use crate::digest::{Digest, Hasher};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) footprint: Footprint,
    /// The digest of what was asked and answered.
    pub(super) told: Digest,
}

/// The name of a step: equal for the same step with the same past.
type Name = u128;

/// The name of a beginning: the sum of the names of its steps, so that their order does not matter.
type State = u128;

#[derive(Debug)]
struct Event {
    client: usize,
    name: Name,
    past: BTreeSet<Name>,
    deed: Deed,
}

impl Event {
    fn may_depend_on(&self, client: usize, footprint: &Footprint) -> bool {
        self.client == client || self.deed.footprint.meets(footprint)
    }
}

/// How a state was come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Visit {
    /// Who took the last step.
    current: Option<usize>,
    preemptions: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// Who can go on.
    enabled: Vec<usize>,
    visits: Vec<Visit>,
}

/// What is known of the schedules that ran.
#[derive(Debug, Default)]
pub(super) struct Reduction {
    nodes: HashMap<State, Node>,
    /// The steps by their client and their number among its steps.
    events: HashMap<(usize, usize), Vec<Rc<Event>>>,
    /// The step that leads on from a state if it is this client's turn.
    steps: HashMap<(State, usize), Rc<Event>>,
}

impl Reduction {
    /// Learns from a schedule that was run; `Err`: why nothing can be left out.
    pub(super) fn learn(&mut self, choices: &[Choice], deeds: &[Deed]) -> Result<(), String> {
        let mut path: Vec<Rc<Event>> = Vec::new();
        let mut visit = Visit { current: None, preemptions: 0 };
        let mut state: State = 0;
        for (choice, deed) in choices.iter().zip(deeds) {
            self.visit(state, &choice.enabled, visit)?;
            let event = self.event(&path, choice.taken, deed)?;
            self.steps.insert((state, choice.taken), event.clone());
            state = state.wrapping_add(event.name);
            visit = Visit {
                current: Some(choice.taken),
                preemptions: visit.preemptions + usize::from(choice.preempts(choice.taken)),
            };
            path.push(event);
        }
        self.visit(state, &[], visit)
    }

    fn visit(&mut self, state: State, enabled: &[usize], visit: Visit) -> Result<(), String> {
        let node =
            self.nodes.entry(state).or_insert_with(|| Node { enabled: enabled.to_vec(), visits: Vec::new() });
        if node.enabled != enabled {
            return Err("a client could go on only after some orders of steps that seemed independent".into());
        }
        if !node.visits.contains(&visit) {
            node.visits.push(visit);
        }
        Ok(())
    }

    /// The event of a step after the steps of `path`.
    fn event(&mut self, path: &[Rc<Event>], client: usize, deed: &Deed) -> Result<Rc<Event>, String> {
        let mut past: BTreeSet<Name> = BTreeSet::new();
        for other in path.iter().rev() {
            if !past.contains(&other.name) && other.may_depend_on(client, &deed.footprint) {
                past.insert(other.name);
                past.extend(&other.past);
            }
        }
        let number = path.iter().filter(|other| other.client == client).count();
        let mut hasher = Hasher::new("step").field("client", client.to_string());
        for name in &past {
            hasher.add("past", name.to_be_bytes());
        }
        let digest = hasher.finish();
        let name = digest.bytes()[..16].iter().fold(0, |name: Name, byte| (name << 8) | Name::from(*byte));
        let known = self.events.entry((client, number)).or_default();
        if let Some(known) = known.iter().find(|event| event.name == name) {
            return match known.deed == *deed {
                true => Ok(known.clone()),
                false => Err("steps that seemed independent were not".into()),
            };
        }
        let event = Rc::new(Event { client, name, past, deed: deed.clone() });
        known.push(event.clone());
        Ok(event)
    }

    /// Whether a beginning with so many preemptions can be left out, since all that may follow from it follows from one
    /// that ran.
    pub(super) fn covers(&mut self, turns: &[usize], preemptions: usize) -> bool {
        let Some((next, before)) = turns.split_last() else { return false };
        let mut path: Vec<Rc<Event>> = Vec::new();
        let mut state: State = 0;
        for turn in before {
            let Some(event) = self.steps.get(&(state, *turn)) else { return false };
            state = state.wrapping_add(event.name);
            path.push(event.clone());
        }
        let Some(event) = self.foretell(&path, *next) else { return false };
        let Some(node) = self.nodes.get(&state.wrapping_add(event.name)) else { return false };
        let is_covered = node.visits.iter().any(|visit| {
            let may_cost_more =
                visit.current.is_some_and(|current| current != *next && node.enabled.contains(&current));
            node.enabled.is_empty() || visit.preemptions + usize::from(may_cost_more) <= preemptions
        });
        if is_covered {
            self.steps.insert((state, *next), event);
        }
        is_covered
    }

    /// The step that `client` would take after those of `path`, if it was seen after some of them, and has nothing to do
    /// with the others.
    fn foretell(&self, path: &[Rc<Event>], client: usize) -> Option<Rc<Event>> {
        let number = path.iter().filter(|event| event.client == client).count();
        let names: BTreeSet<Name> = path.iter().map(|event| event.name).collect();
        let known = self.events.get(&(client, number))?;
        let fits = |event: &&Rc<Event>| {
            event.past.is_subset(&names)
                && path.iter().all(|other| {
                    event.past.contains(&other.name) || !other.may_depend_on(client, &event.deed.footprint)
                })
        };
        known.iter().find(fits).cloned()
    }

    /// How many schedules with at most `bound` preemptions are made of steps that are known, each order counted by itself.
    pub(super) fn count(&self, bound: usize) -> usize {
        let mut known = HashMap::new();
        self.count_from(0, None, bound, &mut known)
    }

    fn count_from(
        &self,
        state: State,
        current: Option<usize>,
        left: usize,
        known: &mut HashMap<(State, Option<usize>, usize), usize>,
    ) -> usize {
        if let Some(count) = known.get(&(state, current, left)) {
            return *count;
        }
        let Some(node) = self.nodes.get(&state) else { return 0 };
        let goes_on = current.is_some_and(|current| node.enabled.contains(&current));
        let mut count = usize::from(node.enabled.is_empty());
        for next in &node.enabled {
            let cost = usize::from(goes_on && current != Some(*next));
            if let (Some(left), Some(event)) = (left.checked_sub(cost), self.steps.get(&(state, *next))) {
                let rest = self.count_from(state.wrapping_add(event.name), Some(*next), left, known);
                count = count.saturating_add(rest);
            }
        }
        known.insert((state, current, left), count);
        count
    }
}
