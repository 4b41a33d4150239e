//! How often the runs of many migrations are cut off.

use crate::migration::{Delivery, Migration};

/// How often all runs together are cut off at most, where the project does not say; and how often beyond that where more
/// can go wrong.
const CUTS_MAX: usize = 60;
const CUTS_SAVED: usize = 40;

/// What one transaction leaves: nothing of it, or all.
const STATES_OF_TRANSACTION: usize = 2;

/// How often the runs of many migrations are cut off.
///
/// Each has an equal share. What runs in a transaction leaves two states, and gets no more than its share; where more can
/// go wrong, what others left of theirs is spent.
#[derive(Debug)]
pub(super) struct Budget {
    cuts: usize,
    migrations: usize,
    /// What is left of earlier shares.
    saved: usize,
}

impl Budget {
    pub(super) fn new(wanted: Option<usize>, migrations: usize) -> Budget {
        let cuts = wanted.unwrap_or(CUTS_MAX);
        Budget { cuts, migrations: migrations.max(1), saved: CUTS_SAVED }
    }

    fn share(&self, number: usize) -> usize {
        let until = |number: usize| (number * self.cuts).div_ceil(self.migrations);
        until(number + 1) - until(number)
    }

    /// Whether a migration is looked at.
    pub(super) fn has_for(&self, migration: &Migration, number: usize) -> bool {
        self.share(number) > 0 || migration.delivery != Delivery::Transaction
    }

    /// How many cuts a run may have that leaves so many states.
    pub(super) fn of(&self, number: usize, states: usize) -> usize {
        let saved = if states > STATES_OF_TRANSACTION { self.saved } else { 0 };
        self.share(number) + saved
    }

    /// It had so many.
    pub(super) fn spend(&mut self, number: usize, cuts: usize) {
        self.saved = (self.saved + self.share(number)).saturating_sub(cuts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_migration_has_its_share_and_what_is_saved_goes_where_more_can_go_wrong() {
        let shares = |cuts, migrations| -> Vec<usize> {
            let budget = Budget::new(Some(cuts), migrations);
            (0..migrations).map(|number| budget.share(number)).collect()
        };
        assert_eq!(shares(4, 2), [2, 2]);
        assert_eq!(shares(5, 2), [3, 2]);
        assert_eq!(shares(2, 5), [1, 0, 1, 0, 0]);
        let mut budget = Budget::new(Some(4), 2);
        assert_eq!((budget.of(0, 2), budget.of(0, 9)), (2, 2 + CUTS_SAVED));
        budget.spend(0, 1);
        assert_eq!(budget.of(1, 9), 2 + 1 + CUTS_SAVED);
        budget.spend(1, 3 + CUTS_SAVED);
        assert_eq!(budget.saved, 0);
    }
}
