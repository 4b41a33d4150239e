//! All that can be verified.

use crate::check::{Check, Registry};

/// The battery, and what `verify` runs beside it: the contracts of the reference data layer and the hot queries, as
/// far as they are compiled in.
pub fn registry() -> Registry {
    let more: Vec<Box<dyn Check>> = vec![
        #[cfg(feature = "contracts")]
        Box::new(super::contracts::Contract::Errors),
        #[cfg(feature = "contracts")]
        Box::new(super::contracts::Contract::Transactions),
        #[cfg(feature = "load")]
        Box::new(super::queries::Queries),
    ];
    Registry::standard().and(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_stay_unique() {
        let registry = registry();
        let ids: Vec<_> = registry.ids().collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(ids.contains(&"migration.clean-apply"));
    }
}
