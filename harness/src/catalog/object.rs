//! The model: a catalog is a set of objects, keyed by kind and name, each a set of facts.

use super::kind::Kind;
use super::name;
use std::collections::btree_map::{BTreeMap, Entry};

/// The facts of an object: what the fact is called, and what holds. A fact that is not there holds nothing:
/// no default, no comment, not forced.
pub type Facts = BTreeMap<String, String>;

/// An object of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name, qualified and unique within its kind, as [`name_of`](super::name_of) writes it:
    /// `identity.tenants.name` for a column, `identity.onboard(text, uuid)` for a function.
    pub name: String,
    /// What holds of it.
    pub facts: Facts,
}

impl Object {
    /// The object `name` of `kind`, of which nothing is known yet.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Object { kind, name: name.into(), facts: Facts::new() }
    }

    /// Adds a fact.
    #[must_use]
    pub fn with_fact(mut self, fact: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.insert(fact.into(), value.into());
        self
    }

    /// What holds for `fact`.
    pub fn fact(&self, fact: &str) -> Option<&str> {
        self.facts.get(fact).map(String::as_str)
    }
}

/// An object of a kind that the model does not hold: reported, never ignored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unmodelled {
    /// The kind in the server's words: `operator class`.
    pub kind: String,
    /// Its name, or how many there are where they have none.
    pub name: String,
}

/// The structural facts of a database, keyed by name and never by OID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    objects: BTreeMap<(Kind, String), Facts>,
    unmodelled: Vec<Unmodelled>,
}

impl Catalog {
    /// A catalog of `objects`; of two with one kind and name the later one counts.
    pub fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let objects = objects.into_iter().map(|object| ((object.kind, object.name), object.facts)).collect();
        Catalog { objects, unmodelled: Vec::new() }
    }

    /// Adds what could not be modelled.
    #[must_use]
    pub fn with_unmodelled(mut self, found: impl IntoIterator<Item = Unmodelled>) -> Self {
        self.unmodelled.extend(found);
        self.unmodelled.sort();
        self.unmodelled.dedup();
        self
    }

    /// How many objects it holds.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// All objects with their facts, sorted by kind and name.
    pub fn objects(&self) -> impl Iterator<Item = (Kind, &str, &Facts)> {
        self.objects.iter().map(|((kind, name), facts)| (*kind, name.as_str(), facts))
    }

    /// The objects of one kind, sorted by name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&str, &Facts)> {
        self.objects
            .range((kind, String::new())..)
            .take_while(move |((other, _), _)| *other == kind)
            .map(|((_, name), facts)| (name.as_str(), facts))
    }

    /// The facts of the object `name` of `kind`.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Facts> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// What lies in the database and is not modelled.
    pub fn unmodelled(&self) -> &[Unmodelled] {
        &self.unmodelled
    }

    /// The same catalog without the objects that `is_left_out` names, and without all that belongs to them.
    #[must_use]
    pub fn without(mut self, mut is_left_out: impl FnMut(Kind, &str) -> bool) -> Self {
        let mut gone: Vec<(Kind, String)> =
            self.objects.keys().filter(|(kind, name)| is_left_out(*kind, name)).cloned().collect();
        while !gone.is_empty() {
            let parts: Vec<(Kind, String)> = self
                .objects
                .iter()
                .filter(|((kind, name), facts)| {
                    self.owner_of(*kind, name, facts).is_some_and(|owner| gone.contains(&owner))
                })
                .map(|(key, _)| key.clone())
                .collect();
            self.objects.retain(|key, _| !gone.contains(key));
            gone = parts.into_iter().filter(|key| self.objects.contains_key(key)).collect();
        }
        self
    }

    /// The object that this one is a part of: the table of a column, the column of a sequence, the view of
    /// a grant. Dropping the owner drops the part.
    pub(super) fn owner_of(&self, kind: Kind, name: &str, facts: &Facts) -> Option<(Kind, String)> {
        let relation = |name: &str| {
            Kind::ALL
                .iter()
                .filter(|kind| kind.is_relation() || **kind == Kind::Domain)
                .map(|kind| (*kind, name.to_owned()))
                .find(|key| self.objects.contains_key(key))
        };
        match kind {
            Kind::Column | Kind::Constraint | Kind::Trigger | Kind::Rule | Kind::Policy => {
                relation(name::without_last_part(name)?)
            }
            Kind::Index => relation(facts.get("table")?),
            Kind::Statistics => relation(facts.get("table")?),
            Kind::Sequence => Some((Kind::Column, facts.get("owned by")?.clone())),
            Kind::Grant => {
                let (kind, rest) = Kind::split(name)?;
                let grantee = name::split_outside_quotes(rest, " to ").pop()?;
                Some((kind, rest[..rest.len() - grantee.len()].strip_suffix(" to ")?.to_owned()))
            }
            Kind::SecurityLabel => {
                let (_, of) = name.split_once(" on ")?;
                let (kind, name) = match of.strip_prefix("table column ") {
                    Some(column) => (Kind::Column, column),
                    None => Kind::split(of)?,
                };
                Some((kind, name.to_owned()))
            }
            _ => None,
        }
    }

    /// Adds an object while reading.
    pub(super) fn insert(&mut self, object: Object) -> Result<(), Object> {
        match self.objects.entry((object.kind, object.name)) {
            Entry::Vacant(entry) => {
                entry.insert(object.facts);
                Ok(())
            }
            Entry::Occupied(entry) => {
                let (kind, name) = entry.key().clone();
                Err(Object::new(kind, name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog::new([
            Object::new(Kind::Table, "public.history"),
            Object::new(Kind::Column, "public.history.id"),
            Object::new(Kind::Sequence, "public.history_id_seq").with_fact("owned by", "public.history.id"),
            Object::new(Kind::Index, "public.by_name").with_fact("table", "public.history"),
            Object::new(Kind::Grant, "sequence public.history_id_seq to app"),
            Object::new(Kind::Table, "public.history_of_men"),
            Object::new(Kind::Column, "public.history_of_men.id"),
        ])
    }

    #[test]
    fn an_object_takes_along_all_that_belongs_to_it() {
        let rest = catalog().without(|kind, name| (kind, name) == (Kind::Table, "public.history"));
        let left: Vec<_> = rest.objects().map(|(kind, name, _)| format!("{kind} {name}")).collect();
        assert_eq!(left, ["table public.history_of_men", "column public.history_of_men.id"]);
    }

    #[test]
    fn objects_of_one_kind_are_found() {
        let catalog = catalog();
        assert_eq!(catalog.of_kind(Kind::Column).count(), 2);
        assert!(catalog.get(Kind::Index, "public.by_name").is_some());
        assert!(catalog.get(Kind::Table, "public.by_name").is_none());
    }
}
