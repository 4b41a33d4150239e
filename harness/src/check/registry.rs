//! All checks, by id.

use super::nearest::{nearest, quoted};
use super::pattern::matches;
use super::{Check, access, drift, migration, operations, structure, tenancy};
use crate::error::{Error, Result};
use std::fmt;

/// The checks that there are, in the order of their ids.
pub struct Registry(Vec<Box<dyn Check>>);

impl Registry {
    /// The battery.
    pub fn standard() -> Self {
        let families = [
            access::checks(),
            drift::checks(),
            migration::checks(),
            operations::checks(),
            structure::checks(),
            tenancy::checks(),
        ];
        Registry::of(families.into_iter().flatten().collect())
    }

    /// A registry of the caller's own checks.
    pub fn of(mut checks: Vec<Box<dyn Check>>) -> Self {
        checks.sort_by_key(|check| check.id());
        Registry(checks)
    }

    /// These and more.
    #[must_use]
    pub fn and(mut self, more: Vec<Box<dyn Check>>) -> Self {
        self.0.extend(more);
        Registry::of(self.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Context, Example, Explanation, Kind, Running, Verdict};
    use rstest::rstest;
    use std::collections::BTreeSet;
    use std::path::Path;

    struct Named(&'static str);

    impl Check for Named {
        fn id(&self) -> &'static str {
            self.0
        }

        fn summary(&self) -> &'static str {
            ""
        }

        fn explain(&self) -> Explanation {
            Explanation { proves: "", matters: "", remedy: "" }
        }

        fn is_opt_in(&self) -> bool {
            self.0.ends_with("-only")
        }

        fn examples(&self) -> &'static [Example] {
            &[]
        }

        fn run<'a>(&'a self, _: &'a Context) -> Running<'a> {
            Box::pin(async { Ok(Verdict::of(vec![])) })
        }
    }

    fn select(only: &[&str], opt_in: &[&str]) -> Result<Vec<&'static str>> {
        let ids = ["tenancy.owner", "migration.expand-only", "migration.down", "tenancy.copy"];
        let registry =
            Registry::of(ids.into_iter().map(|id| Box::new(Named(id)) as Box<dyn Check>).collect());
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let selected = registry.select(&owned(only), &owned(opt_in))?;
        Ok(selected.into_iter().map(|check| check.id()).collect())
    }

    #[rstest]
    #[case::all(&[], &[], &["migration.down", "tenancy.copy", "tenancy.owner"])]
    #[case::chosen(&[], &["migration.expand-only"],
        &["migration.down", "migration.expand-only", "tenancy.copy", "tenancy.owner"])]
    #[case::family(&["tenancy.*"], &[], &["tenancy.copy", "tenancy.owner"])]
    #[case::several(&["tenancy.owner", "migration.down"], &[], &["migration.down", "tenancy.owner"])]
    #[case::by_its_id(&["migration.expand-only"], &[], &["migration.expand-only"])]
    #[case::not_by_a_pattern(&["migration.*"], &[], &["migration.down"])]
    #[case::unless_chosen(&["migration.*"], &["migration.expand-only"], &["migration.down", "migration.expand-only"])]
    fn selection(#[case] only: &[&str], #[case] opt_in: &[&str], #[case] expected: &[&str]) {
        assert_eq!(select(only, opt_in).unwrap(), expected);
    }

    #[rstest]
    #[case(&["tenancy.onwer"], &[], "there is no check `tenancy.onwer`", "did you mean `tenancy.owner`?")]
    #[case(&["weather.*"], &[], "there is no check `weather.*`", "the families of checks are `migration.*`, `tenancy.*`")]
    #[case(&[], &["expand-only"], "there is no check `expand-only`", "did you mean `migration.expand-only`?")]
    fn what_names_no_check_is_refused(
        #[case] only: &[&str],
        #[case] opt_in: &[&str],
        #[case] message: &str,
        #[case] help: &str,
    ) {
        let error = select(only, opt_in).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.help()), (message, Some(help)));
    }

    #[test]
    fn ids_are_unique_and_well_formed() {
        let registry = Registry::standard();
        let ids: Vec<_> = registry.ids().collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        for id in ids {
            let (family, name) = id.split_once('.').unwrap();
            for part in [family, name] {
                assert!(!part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{id}");
            }
        }
    }

    #[test]
    fn every_check_names_its_good_and_bad_examples_and_forgets_no_file() {
        for check in Registry::standard().iter() {
            let examples = check.examples();
            for kind in [Kind::Bad, Kind::Good] {
                assert!(examples.iter().any(|example| example.kind() == kind), "{}: no {kind:?}", check.id());
            }
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checks").join(check.id());
            let mut files: Vec<String> = std::fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let mut named: Vec<_> = examples.iter().map(|example| example.file).collect();
            named.sort_unstable();
            assert_eq!(named, files, "{}", check.id());
            let Explanation { proves, matters, remedy } = check.explain();
            assert!([proves, matters, remedy, check.summary()].iter().all(|text| !text.is_empty()));
        }
    }

    #[test]
    fn every_folder_of_examples_belongs_to_a_check() {
        let registry = Registry::standard();
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checks")).unwrap()
        {
            let entry = entry.unwrap();
            // What examples share lies beside their folders.
            if entry.path().is_file() {
                continue;
            }
            let id = entry.file_name().into_string().unwrap();
            assert!(registry.find(&id).is_ok(), "`fixtures/checks/{id}` is nobody's");
        }
    }
}
