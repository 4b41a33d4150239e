//! What a step can have to do with the steps of others.

use std::collections::BTreeSet;

/// Where a step leaves traces, or meets those of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Footprint {
    /// Nowhere outside its session: `BEGIN`, `SET`, an end that lets nothing go.
    #[default]
    Nowhere,
    /// In these relations, by their names.
    Relations(BTreeSet<String>),
    /// It may be anywhere.
    Everywhere,
}

impl Footprint {
    /// Whether two steps of different clients may depend on each other's order.
    pub(super) fn meets(&self, other: &Footprint) -> bool {
        match (self, other) {
            (Footprint::Nowhere, _) | (_, Footprint::Nowhere) => false,
            (Footprint::Relations(these), Footprint::Relations(those)) => !these.is_disjoint(those),
            (Footprint::Everywhere, _) | (_, Footprint::Everywhere) => true,
        }
    }

    /// Both together.
    pub(super) fn and(&self, other: &Footprint) -> Footprint {
        match (self, other) {
            (Footprint::Nowhere, other) | (other, Footprint::Nowhere) => other.clone(),
            (Footprint::Relations(these), Footprint::Relations(those)) => Footprint::Relations(these | those),
            (Footprint::Everywhere, _) | (_, Footprint::Everywhere) => Footprint::Everywhere,
        }
    }
}
