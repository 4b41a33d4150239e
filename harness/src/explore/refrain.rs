//! Noticing that a client reads the same again and again: it waits for what another has to do first.

use super::trace::{Event, Trace, What};
use crate::digest::Digest;

/// So often in a row is a coincidence no more.
const TIMES: usize = 4;
/// So many different steps may make up what is repeated.
const VERSES_MAX: usize = 4;

/// What one client read, step by step, while nobody else had a turn. `None`: it did more than to read.
#[derive(Debug, Default)]
pub(super) struct Refrain(Vec<Option<Digest>>);

impl Refrain {
    /// Somebody else has a turn.
    pub(super) fn end(&mut self) {
        self.0.clear();
    }

    /// Hears what came of a step.
    pub(super) fn hear(&mut self, events: &[Event]) {
        let reads = |tag: &String| tag.starts_with("SELECT") || tag == "SHOW";
        let only_reads = match events {
            [Event { what: What::Answered(_, answer), .. }] => {
                answer.errors.is_empty() && !answer.tags.is_empty() && answer.tags.iter().all(reads)
            }
            _ => false,
        };
        self.0.push(only_reads.then(|| Trace { events: events.to_vec() }.digest()));
    }

    /// Whether the latest steps are the same few, [`TIMES`] times over.
    pub(super) fn goes_round(&self) -> bool {
        (1..=VERSES_MAX).any(|verses| {
            let Some(start) = self.0.len().checked_sub(verses * TIMES) else { return false };
            let latest = &self.0[start..];
            latest.iter().all(Option::is_some)
                && latest.iter().zip(&latest[verses..]).all(|(one, next)| one == next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::trace::Answer;
    use rstest::rstest;

    /// Each letter is a statement; a capital writes.
    #[rstest]
    #[case("aaa", false)]
    #[case("aaaa", true)]
    #[case("baaaa", true)]
    #[case("AAAA", false)]
    #[case("abababab", true)]
    #[case("abababa", false)]
    #[case("abcdabcdabcdabcd", true)]
    #[case("abcdeabcdeabcdeabcde", false)]
    #[case("aaabaaab", false)]
    fn a_refrain(#[case] said: &str, #[case] goes_round: bool) {
        let mut refrain = Refrain::default();
        for letter in said.chars() {
            let tag = if letter.is_uppercase() { "UPDATE 1" } else { "SELECT 1" };
            let answer = Answer { tags: vec![tag.into()], ..Answer::default() };
            let what = What::Answered(vec![letter.to_string().into()], answer);
            refrain.hear(&[Event { client: 0, session: 0, what }]);
        }
        assert_eq!(refrain.goes_round(), goes_round);
        refrain.end();
        assert!(!refrain.goes_round());
    }
}
