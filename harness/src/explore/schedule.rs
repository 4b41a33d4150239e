//! A schedule: whose turn it is at each step, and its id.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// As many clients as there are letters for them.
pub(super) const CLIENTS_MAX: usize = 26;

/// Whose turn it is at each step. Its id counts the turns of each client in a row: in `a2b5a3` the first client takes
/// two steps, then the second five, then the first three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Schedule(Vec<usize>);

impl Schedule {
    pub(super) fn new(turns: Vec<usize>) -> Schedule {
        Schedule(turns)
    }

    /// The clients by their place, step by step.
    pub fn turns(&self) -> &[usize] {
        &self.0
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each client with the number of its turns in a row.
    pub(super) fn blocks(&self) -> Vec<(usize, usize)> {
        let mut blocks: Vec<(usize, usize)> = Vec::new();
        for turn in &self.0 {
            match blocks.last_mut() {
                Some((client, count)) if client == turn => *count += 1,
                _ => blocks.push((*turn, 1)),
            }
        }
        blocks
    }

    fn of_blocks(blocks: &[(usize, usize)]) -> Schedule {
        Schedule(blocks.iter().flat_map(|(client, count)| std::iter::repeat_n(*client, *count)).collect())
    }

    /// Schedules with fewer blocks, each with one block moved to where its client's last or next one is.
    pub(super) fn simpler(&self) -> Vec<Schedule> {
        let blocks = self.blocks();
        let mut simpler: Vec<Schedule> = Vec::new();
        for (place, (client, count)) in blocks.iter().enumerate() {
            let others = |range: std::ops::Range<usize>| range.filter(|at| blocks[*at].0 == *client);
            let neighbours = [others(0..place).next_back(), others(place + 1..blocks.len()).next()];
            for neighbour in neighbours.into_iter().flatten() {
                let mut moved = blocks.clone();
                moved[neighbour].1 += count;
                moved.remove(place);
                let candidate = Schedule::of_blocks(&moved);
                if candidate.blocks().len() < blocks.len() && !simpler.contains(&candidate) {
                    simpler.push(candidate);
                }
            }
        }
        simpler.sort_by_key(|schedule| schedule.blocks().len());
        simpler
    }
}

/// The letter of the client at `place`.
pub(super) fn letter(place: usize) -> char {
    // Both fit: the number of clients is checked against `CLIENTS_MAX`.
    char::from(b'a' + u8::try_from(place % CLIENTS_MAX).unwrap_or_default())
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (client, count) in self.blocks() {
            write!(f, "{}", letter(client))?;
            if count > 1 {
                write!(f, "{count}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(id: &str) -> Result<Schedule> {
        let wrong = || {
            Error::usage(format!("`{id}` is no schedule"))
                .with_help("a schedule is letters of clients, each with a number of turns: `a2b5a3`")
        };
        let mut blocks = Vec::new();
        let mut rest = id;
        while let Some(first) = rest.chars().next() {
            if !first.is_ascii_lowercase() {
                return Err(wrong());
            }
            let digits = rest[1..].chars().take_while(char::is_ascii_digit).count();
            let count = match &rest[1..=digits] {
                "" => 1,
                // A longer one is no schedule that was ever run.
                number if number.len() <= 6 => number.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            };
            blocks.push((usize::from(first as u8 - b'a'), count));
            rest = &rest[1 + digits..];
        }
        Ok(Schedule::of_blocks(&blocks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[0, 0, 1, 1, 1, 1, 1, 0, 0, 0], "a2b5a3")]
    #[case(&[1], "b")]
    #[case(&[], "")]
    fn ids(#[case] turns: &[usize], #[case] id: &str) {
        assert_eq!(Schedule::new(turns.to_vec()).to_string(), id);
        assert_eq!(id.parse::<Schedule>().unwrap().turns(), turns);
    }

    #[rstest]
    #[case("2a")]
    #[case("a-1")]
    #[case("A")]
    #[case("ä")]
    #[case("a99999999999999999999999")]
    fn what_is_no_id(#[case] id: &str) {
        let error = id.parse::<Schedule>().unwrap_err();
        assert_eq!(error.to_string(), format!("`{id}` is no schedule"));
    }

    #[test]
    fn simpler_ones_have_fewer_blocks_and_the_same_turns() {
        let schedule: Schedule = "a2bab3ab".parse().unwrap();
        let ids: Vec<String> = schedule.simpler().iter().map(Schedule::to_string).collect();
        assert!(ids.contains(&"a3b4ab".to_owned()), "{ids:?}");
        assert!("a5b5".parse::<Schedule>().unwrap().simpler().is_empty());
    }

    proptest! {
        #[test]
        fn an_id_is_read_as_it_was_written(turns in prop::collection::vec(0usize..4, 0..40)) {
            let schedule = Schedule::new(turns);
            prop_assert_eq!(&schedule.to_string().parse::<Schedule>().unwrap(), &schedule);
            for simpler in schedule.simpler() {
                prop_assert!(simpler.blocks().len() < schedule.blocks().len());
                let sorted = |schedule: &Schedule| {
                    let mut turns = schedule.turns().to_vec();
                    turns.sort_unstable();
                    turns
                };
                prop_assert_eq!(sorted(&simpler), sorted(&schedule));
            }
        }
    }
}
