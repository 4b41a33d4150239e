//! Drift: the difference of two catalogs.

use super::kind::Kind;
use super::name;
use super::object::{Catalog, Facts};
use crate::finding::Severity;
use std::collections::BTreeSet;
use std::fmt;

/// The fact that tells the order of columns; it is compared by what both sides have in common.
pub(super) const COLUMN_ORDER: &str = "columns";

/// One difference between two catalogs, as seen from the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The kind of the object that differs.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What differs.
    pub what: What,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Only the first catalog has it.
    Removed,
    /// Only the second catalog has it.
    Added,
    /// Both have it, and one fact differs.
    Changed {
        /// The fact.
        fact: String,
        /// What held in the first; `None` where nothing did.
        from: Option<String>,
        /// What holds in the second.
        to: Option<String>,
    },
}

impl Change {
    /// How bad it is at most: an order of columns that differs breaks only clients that rely on `select *`.
    pub fn severity(&self) -> Severity {
        match &self.what {
            What::Changed { fact, .. } if fact == COLUMN_ORDER => Severity::Note,
            _ => Severity::Error,
        }
    }

    /// Whether the fact that differs is text that the server made of what it stored: an expression, a query. Another
    /// version may make another text of the same.
    pub fn is_deparsed(&self) -> bool {
        const DEPARSED: [&str; 8] = [
            "arguments",
            "bounds",
            "default",
            "definition",
            "generated",
            "partition key",
            "using",
            "with check",
        ];
        let is_parsed_body = |text: &Option<String>| {
            text.as_deref()
                .is_some_and(|text| text.starts_with("BEGIN ATOMIC") || text.starts_with("RETURN "))
        };
        match &self.what {
            What::Changed { from: None, .. } | What::Changed { to: None, .. } => false,
            What::Changed { fact, from, to } if fact == "body" => is_parsed_body(from) && is_parsed_body(to),
            What::Changed { fact, .. } => DEPARSED.contains(&fact.as_str()),
            _ => false,
        }
    }

    /// The same difference as seen from the other side.
    #[must_use]
    pub fn mirrored(self) -> Self {
        let what = match self.what {
            What::Removed => What::Added,
            What::Added => What::Removed,
            What::Changed { fact, from, to } => What::Changed { fact, from: to, to: from },
        };
        Change { what, ..self }
    }
}

/// One line, or a few where a fact has several lines: `~ column identity.tenants.name: type text → uuid`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { kind, name, what } = self;
        match what {
            What::Removed => write!(f, "- {kind} {name}"),
            What::Added => write!(f, "+ {kind} {name}"),
            What::Changed { fact, from, to } => {
                write!(f, "~ {kind} {name}: {fact} ")?;
                let (from, to) = (from.as_deref().unwrap_or("none"), to.as_deref().unwrap_or("none"));
                if from.contains('\n') || to.contains('\n') {
                    write!(f, "changed")?;
                    write_lines(f, from, to)
                } else {
                    write!(f, "{from} → {to}")
                }
            }
        }
    }
}

/// The lines that differ, with one line of context.
fn write_lines(f: &mut fmt::Formatter<'_>, from: &str, to: &str) -> fmt::Result {
    let difference = similar::TextDiff::from_lines(from, to);
    for (number, group) in difference.grouped_ops(1).iter().enumerate() {
        if number > 0 {
            write!(f, "\n    …")?;
        }
        for line in group.iter().flat_map(|operation| difference.iter_changes(operation)) {
            write!(f, "\n    {}{}", line.tag(), line.value().trim_end_matches(['\n', '\r']))?;
        }
    }
    Ok(())
}

/// The differences between `from` and `to`, sorted by kind, name and fact.
///
/// What belongs to an object that was added or removed is not listed again: a new table is one change, not
/// one for each of its columns. That a role is there or not is no change either: it is there for what it owns
/// or was granted, and that is one.
pub fn diff(from: &Catalog, to: &Catalog) -> Vec<Change> {
    let mut changes = Vec::new();
    only_in(from, to, &What::Removed, &mut changes);
    only_in(to, from, &What::Added, &mut changes);
    for (kind, name, before) in from.objects() {
        if let Some(after) = to.get(kind, name) {
            changed_facts(before, after, |what| changes.push(Change { kind, name: name.to_owned(), what }));
        }
    }
    changes.sort();
    changes
}

/// The objects of `here` that `there` lacks, other than parts of such objects.
fn only_in(here: &Catalog, there: &Catalog, what: &What, changes: &mut Vec<Change>) {
    for (kind, name, facts) in here.objects() {
        if there.get(kind, name).is_some() || kind == Kind::Role {
            continue;
        }
        let is_told_by_owner = here.owner_of(kind, name, facts).is_some_and(|(owner_kind, owner)| {
            match (here.get(owner_kind, &owner), there.get(owner_kind, &owner)) {
                (Some(_), None) => true,
                // The sequence of an identity comes and goes with the column's fact.
                (Some(one), Some(other)) => {
                    facts.contains_key("identity") && one.get("identity") != other.get("identity")
                }
                _ => false,
            }
        });
        if !is_told_by_owner {
            changes.push(Change { kind, name: name.to_owned(), what: what.clone() });
        }
    }
}

fn changed_facts(before: &Facts, after: &Facts, mut tell: impl FnMut(What)) {
    let facts: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for fact in facts {
        let (from, to) = (before.get(fact), after.get(fact));
        if from == to || (fact == COLUMN_ORDER && have_one_order(from, to)) {
            continue;
        }
        tell(What::Changed { fact: fact.clone(), from: from.cloned(), to: to.cloned() });
    }
}

/// Whether the columns that both sides have stand in one order: those that only one side has are changes
/// of their own.
fn have_one_order(from: Option<&String>, to: Option<&String>) -> bool {
    let columns = |list: Option<&String>| -> Vec<String> {
        list.map(|list| name::split_list(list).into_iter().map(str::to_owned).collect()).unwrap_or_default()
    };
    let (mut from, mut to) = (columns(from), columns(to));
    let common: BTreeSet<String> = from.iter().filter(|column| to.contains(column)).cloned().collect();
    from.retain(|column| common.contains(column));
    to.retain(|column| common.contains(column));
    from == to
}

#[cfg(test)]
mod tests {
    use super::super::render::arbitrary;
    use super::*;
    use crate::catalog::Object;
    use proptest::prelude::*;
    use rstest::rstest;

    fn table(columns: &str) -> Catalog {
        Catalog::new([
            Object::new(Kind::Table, "crm.people").with_fact(COLUMN_ORDER, columns),
            Object::new(Kind::Column, "crm.people.name").with_fact("type", "text"),
        ])
    }

    fn shown(from: &Catalog, to: &Catalog) -> String {
        diff(from, to).iter().map(Change::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_added_table_is_one_change() {
        assert_eq!(shown(&Catalog::default(), &table("name")), "+ table crm.people");
        assert_eq!(shown(&table("name"), &Catalog::default()), "- table crm.people");
    }

    #[test]
    fn a_changed_fact_shows_both_sides() {
        let one = Catalog::new([Object::new(Kind::Column, "crm.people.name").with_fact("type", "text")]);
        let other = Catalog::new([Object::new(Kind::Column, "crm.people.name")
            .with_fact("type", "varchar(40)")
            .with_fact("default", "''")]);
        assert_eq!(
            shown(&one, &other),
            "~ column crm.people.name: default none → ''\n~ column crm.people.name: type text → varchar(40)"
        );
    }

    #[test]
    fn a_fact_of_several_lines_shows_those_that_differ() {
        let body = |line: &str| {
            Catalog::new([Object::new(Kind::Function, "crm.f()")
                .with_fact("body", format!("begin\n  one;\n  two;\n  {line};\n  four;\nend"))])
        };
        assert_eq!(
            shown(&body("three"), &body("drei")),
            "~ function crm.f(): body changed\n       two;\n    -  three;\n    +  drei;\n       four;"
        );
    }

    #[rstest]
    #[case("a, b, c", "a, b, c", true)]
    #[case("a, b, c", "a, c", true)]
    #[case("a, b", "a, b, c", true)]
    #[case("a, b, c", "c, a", false)]
    #[case("a, b", "b, a", false)]
    #[case("\"a, b\", c", "c, \"a, b\"", false)]
    fn the_order_of_columns_is_that_of_the_common_ones(
        #[case] from: &str,
        #[case] to: &str,
        #[case] is_same: bool,
    ) {
        let changes = diff(&table(from), &table(to));
        assert_eq!(changes.is_empty(), is_same, "{changes:?}");
        assert!(changes.iter().all(|change| change.severity() == Severity::Note));
    }

    proptest! {
        #[test]
        fn equal_catalogs_do_not_differ(catalog in arbitrary::catalog()) {
            prop_assert_eq!(diff(&catalog, &catalog), []);
        }

        #[test]
        fn a_difference_mirrors(one in arbitrary::catalog(), other in arbitrary::catalog()) {
            let mut mirrored: Vec<_> = diff(&other, &one).into_iter().map(Change::mirrored).collect();
            mirrored.sort();
            prop_assert_eq!(diff(&one, &other), mirrored);
        }
    }
}
