//! Choices that a seed repeats.

/// Marsaglia's xorshift: a seed gives the same choices everywhere.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // Of zero nothing else would come.
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    /// `count` of `items`, or all where there are not as many; in their order.
    pub(crate) fn choose<T>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        while items.len() > count {
            let place = self.below(items.len() as u64);
            items.remove(usize::try_from(place).unwrap_or_default());
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices() {
        let chosen = |seed| Random::new(seed).choose((0..100).collect::<Vec<_>>(), 5);
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        assert!(chosen(3).is_sorted() && chosen(3).len() == 5);
        assert_eq!(Random::new(0).choose(vec![1, 2], 5), [1, 2]);
    }
}
