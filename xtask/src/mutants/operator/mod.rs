//! The operators: each breaks one kind of thing, wherever there is one. What should find it is said here, before
//! anything runs.

mod addition;
mod column;
mod constraint;
mod file;
mod grant;
mod index;
mod isolation;
mod other;
mod policy;
mod privilege;
mod role;
mod routine;
mod runner;
mod shape;
mod statement;
mod table;

use super::ground::Ground;
use super::site::Site;
pub(super) use runner::HISTORY;

/// So many copies of the database are changed by each operator.
const MOST_LIVE: usize = 10;

/// One way to break things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    pub(super) name: &'static str,
    /// The checks of which one must find it.
    pub(super) expected: &'static [&'static str],
    /// How many sites are tried unless more are asked for.
    pub(super) most: usize,
    /// Where it can be done.
    pub(super) sites: fn(&Ground) -> Vec<Site>,
}

impl Operator {
    /// A change by hand of the live database.
    const fn live(name: &'static str, sites: fn(&Ground) -> Vec<Site>) -> Operator {
        Operator { name, expected: &["drift.live"], most: MOST_LIVE, sites }
    }

    /// Other migrations, which one of these checks finds fault with; they are applied anew for each.
    const fn files(
        name: &'static str,
        expected: &'static [&'static str],
        most: usize,
        sites: fn(&Ground) -> Vec<Site>,
    ) -> Operator {
        Operator { name, expected, most, sites }
    }

    /// Other files, which are only read.
    const fn read(
        name: &'static str,
        expected: &'static [&'static str],
        sites: fn(&Ground) -> Vec<Site>,
    ) -> Operator {
        Operator { name, expected, most: usize::MAX, sites }
    }
}

/// All of them.
pub(super) fn all() -> Vec<Operator> {
    let families = [
        table::OPERATORS,
        column::OPERATORS,
        constraint::OPERATORS,
        index::OPERATORS,
        policy::OPERATORS,
        grant::OPERATORS,
        routine::OPERATORS,
        other::OPERATORS,
        statement::OPERATORS,
        file::OPERATORS,
        addition::OPERATORS,
        runner::OPERATORS,
        privilege::OPERATORS,
        role::OPERATORS,
        shape::OPERATORS,
    ];
    [families.concat(), isolation::OPERATORS.concat()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgharness::check::Registry;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_the_checks_exist() {
        let registry = Registry::standard();
        let mut names = BTreeSet::new();
        for operator in all() {
            assert!(names.insert(operator.name), "{}", operator.name);
            assert!(!operator.expected.is_empty());
            for id in operator.expected {
                assert!(registry.find(id).is_ok(), "{}: {id}", operator.name);
            }
        }
    }
}
