//! Hazards in the names of migration files, and in what a tool reads from their first lines.

use super::format::Listing;
use std::collections::BTreeMap;
use std::fmt;

/// What is wrong with a file's name, or its first lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Two files have one version, or names that differ in capitals only.
    Duplicate,
    /// A character that shells, other file systems or other tools read differently.
    Unsafe,
    /// It looks like a migration, and the format's own tool passes it over without a word.
    Ignored,
    /// There is no version where the format's own tool wants one: the tool refuses the whole folder.
    NoVersion,
    /// By name it sorts otherwise than by number.
    Order,
    /// A file that undoes a migration which is not there.
    NoUp,
    /// One of several files that can be undone cannot.
    NoDown,
    /// A directive that the format's own tool does not see, since something stands before it.
    Directive,
}

/// Something about a migration file that makes its fate depend on who reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct NameProblem {
    /// The file's name within the folder.
    pub file: String,
    /// What is wrong.
    pub kind: ProblemKind,
    /// Whether the folder is refused for it. Else it is a hazard, which the harness itself handles.
    pub fatal: bool,
    /// What is wrong and why it matters, as a lower-case fragment.
    pub explanation: String,
}

impl NameProblem {
    pub(super) fn fatal(file: &str, kind: ProblemKind, explanation: impl Into<String>) -> Self {
        NameProblem { file: file.to_owned(), kind, fatal: true, explanation: explanation.into() }
    }

    pub(super) fn hazard(file: &str, kind: ProblemKind, explanation: impl Into<String>) -> Self {
        NameProblem { fatal: false, ..NameProblem::fatal(file, kind, explanation) }
    }
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.file.escape_debug(), self.explanation)
    }
}

/// Problems of the migration files among `listing` that are the same in every format.
pub(super) fn common(listing: &Listing) -> Vec<NameProblem> {
    let mut problems = Vec::new();
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for name in listing.files().filter(|name| looks_like_migration(name)) {
        if let Some(odd) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-".contains(*c)) {
            let shown = odd.escape_debug();
            problems.push(NameProblem::fatal(
                name,
                ProblemKind::Unsafe,
                format!("has the character `{shown}` in its name: keep to letters, digits, `_`, `-` and `.`"),
            ));
        } else if name.starts_with('-') {
            let explanation = "begins with a dash, which programs read as an option";
            problems.push(NameProblem::fatal(name, ProblemKind::Unsafe, explanation));
        }
        if let Some(other) = folded.insert(name.to_lowercase(), name) {
            problems.push(NameProblem::fatal(
                name,
                ProblemKind::Duplicate,
                format!("differs from `{other}` in capitals only: on some file systems the two are one file"),
            ));
        }
        if let Some(stem) = ending_in_capitals(name) {
            problems.push(NameProblem::fatal(
                name,
                ProblemKind::Ignored,
                format!("ends in capitals and is passed over: rename it to `{stem}.sql`"),
            ));
        }
    }
    problems
}

/// Whether a file was meant as a migration: by its ending, or by a number in front of words.
pub(super) fn looks_like_migration(name: &str) -> bool {
    if name.starts_with('.') {
        return false;
    }
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".sql") || (leading_number(name).is_some() && lower.contains(".sql"))
}

fn ending_in_capitals(name: &str) -> Option<&str> {
    let stem = &name[..name.len().checked_sub(4)?];
    (name.to_ascii_lowercase().ends_with(".sql") && !name.ends_with(".sql")).then_some(stem)
}

/// The digits at the beginning of a name.
pub(super) fn leading_number(name: &str) -> Option<&str> {
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}

/// The first pair of names, sorted as text, whose numbers come in the other order.
pub(super) fn out_of_order<'a>(names: impl Iterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut sorted: Vec<&str> = names.filter(|name| leading_number(name).is_some()).collect();
    sorted.sort_unstable();
    let number = |name: &str| {
        let digits = leading_number(name).unwrap_or_default().trim_start_matches('0').to_owned();
        // By length, then as text: numbers of any size.
        (digits.len(), digits)
    };
    sorted.windows(2).find(|pair| number(pair[0]) > number(pair[1])).map(|pair| (pair[0], pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["0001_a.sql", "0002_b.sql", "README.md", ".gitkeep", "mod.rs"], &[])]
    #[case(&["0001_a b.sql"], &[ProblemKind::Unsafe])]
    #[case(&["0001_ä.sql"], &[ProblemKind::Unsafe])]
    #[case(&["-1_a.sql"], &[ProblemKind::Unsafe])]
    #[case(&["a.up.sql", "A.up.sql"], &[ProblemKind::Duplicate])]
    #[case(&["0001_a.SQL"], &[ProblemKind::Ignored])]
    fn names_have_problems_in_any_format(#[case] names: &[&str], #[case] expected: &[ProblemKind]) {
        let found: Vec<_> = common(&Listing::of(names)).into_iter().map(|problem| problem.kind).collect();
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case(&["1_a", "2_b", "10_c"], Some(("10_c", "1_a")))]
    #[case(&["01_a", "02_b", "10_c"], None)]
    #[case(&["0001_a", "20240101_b"], None)]
    #[case(&["a", "b"], None)]
    fn the_order_by_name_is_compared_with_that_by_number(
        #[case] names: &[&str],
        #[case] expected: Option<(&str, &str)>,
    ) {
        assert_eq!(out_of_order(names.iter().copied()), expected);
    }

    proptest! {
        #[test]
        fn numbers_of_one_width_are_never_out_of_order(numbers in prop::collection::vec(0u32..100_000, 0..9)) {
            let names: Vec<String> = numbers.iter().map(|number| format!("{number:05}_x.sql")).collect();
            prop_assert_eq!(out_of_order(names.iter().map(String::as_str)), None);
        }
    }
}
