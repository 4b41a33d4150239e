//! All checks, by id.

use super::Check;
use super::nearest::{nearest, quoted};
use super::pattern::matches;
use crate::error::{Error, Result};
use std::fmt;

/// The checks that there are, in the order of their ids.
pub struct Registry(Vec<Box<dyn Check>>);

impl Registry {
    /// The battery.
    pub fn standard() -> Self {
        Registry::of(vec![])
    }

    /// A registry of the caller's own checks.
    pub fn of(mut checks: Vec<Box<dyn Check>>) -> Self {
        checks.sort_by_key(|check| check.id());
        Registry(checks)
    }

    /// The checks, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Check> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Their ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|check| check.id())
    }

    /// The check `id`.
    ///
    /// # Errors
    /// There is none; the error lists ids like it.
    pub fn find(&self, id: &str) -> Result<&dyn Check> {
        self.iter().find(|check| check.id() == id).ok_or_else(|| self.unknown(id))
    }

    /// The checks to run: without `only`, all but those that a project opts in to and that `opt_in` does not
    /// name; with it, those whose ids it names, with `*` for any characters. A pattern does not opt in, a
    /// whole id does.
    ///
    /// # Errors
    /// Something in `only` or `opt_in` names no check; the error lists ids like it.
    pub fn select(&self, only: &[String], opt_in: &[String]) -> Result<Vec<&dyn Check>> {
        for id in opt_in {
            self.find(id)?;
        }
        for pattern in only {
            if !self.ids().any(|id| matches(pattern, id)) {
                return Err(self.unknown(pattern));
            }
        }
        let is_wanted = |check: &&dyn Check| {
            let id = check.id();
            let is_on = !check.is_opt_in() || opt_in.iter().chain(only).any(|named| named == id);
            is_on && (only.is_empty() || only.iter().any(|pattern| matches(pattern, id)))
        };
        Ok(self.iter().filter(is_wanted).collect())
    }

    /// What to say of an id that no check has.
    pub(crate) fn unknown(&self, id: &str) -> Error {
        Error::usage(format!("there is no check `{id}`")).with_help(self.advice(id))
    }

    /// The ids that may have been meant, or else the families.
    pub(crate) fn advice(&self, id: &str) -> String {
        let near = nearest(id, self.ids());
        if !near.is_empty() {
            return format!("did you mean {}?", quoted(near));
        }
        let family = |id: &'static str| id.split_once('.').map_or(id, |(family, _)| family);
        let mut families: Vec<_> = self.ids().map(family).map(|family| format!("{family}.*")).collect();
        families.dedup();
        format!("the families of checks are {}", quoted(families))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}
