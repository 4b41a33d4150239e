//! What a change of the schema takes from those who use it: the release that still runs.

use crate::catalog::{Catalog, Change, Facts, Kind, What};
use std::collections::BTreeSet;

/// What `change`, from `before` to `after`, takes from the release that was written for `before`: "drops it",
/// "is required now". `None`: that release does not notice.
///
/// It judges by the catalog and not by statements, so that SQL, DO blocks and any tool are alike. It does not look into
/// the text of views and functions.
pub(super) fn contraction(change: &Change, before: &Catalog, after: &Catalog) -> Option<String> {
    let Change { kind, name, what } = change;
    match what {
        What::Removed => removed(*kind, name, before, after),
        What::Added => added(*kind, name, before, after),
        What::Changed { fact, from, to } => {
            let facts = after.get(*kind, name)?;
            changed(*kind, fact, from.as_deref(), to.as_deref(), facts)
        }
    }
}

fn removed(kind: Kind, name: &str, before: &Catalog, after: &Catalog) -> Option<String> {
    let gone = before.get(kind, name)?;
    match kind {
        // Rows that have gone, not a name that anybody uses.
        Kind::Table if gone.contains_key("partition of") => None,
        Kind::Schema
        | Kind::Extension
        | Kind::Type
        | Kind::Domain
        | Kind::Table
        | Kind::ForeignTable
        | Kind::View
        | Kind::MaterializedView
        | Kind::Column
        | Kind::Sequence
        | Kind::Function
        | Kind::Procedure
        | Kind::Aggregate
        | Kind::Operator
        | Kind::Cast => Some(match renamed(kind, name, gone, before, after) {
            Some(new) => format!("is called `{new}` now"),
            None => "is gone".into(),
        }),
        Kind::Constraint | Kind::Index if is_unique(gone) && !has_twin(kind, name, gone, after) => {
            Some("is gone: `on conflict` on its columns fails".into())
        }
        Kind::Policy if gone.get("form").is_some_and(|form| form == "permissive") => {
            Some("is gone: it let roles see or write rows".into())
        }
        Kind::Grant => Some("is taken back".into()),
        _ => None,
    }
}

fn added(kind: Kind, name: &str, before: &Catalog, after: &Catalog) -> Option<String> {
    let new = after.get(kind, name)?;
    match kind {
        Kind::Column if is_required(new) && fills_itself(new).is_none() => {
            Some("is required and has no default: an insert that does not name it fails".into())
        }
        Kind::Constraint | Kind::Index => {
            let definition = new.get("definition")?;
            let is_restriction = kind == Kind::Constraint || is_unique(new);
            let owner = owner(kind, name, new)?;
            let is_of_domain = before.get(Kind::Domain, owner).is_some();
            let is_on_table = before.get(Kind::Table, owner).is_some();
            let concerns_old = is_of_domain || is_on_table && names_a_column(definition, owner, before);
            (is_restriction && concerns_old && !has_twin(kind, name, new, before))
                .then(|| "forbids rows that could be written before".into())
        }
        Kind::Policy if new.get("form").is_some_and(|form| form == "restrictive") => {
            Some("hides or refuses rows that could be seen or written before".into())
        }
        _ => None,
    }
}

fn changed(kind: Kind, fact: &str, from: Option<&str>, to: Option<&str>, facts: &Facts) -> Option<String> {
    let (was, is) = (from.unwrap_or("none"), to.unwrap_or("none"));
    let is_restricting = match (kind, fact) {
        (Kind::Column | Kind::Domain, "type") => !widens(was, is),
        (Kind::Column | Kind::Domain, "nullable") => was == "yes",
        (Kind::Column, "default") => to.is_none() && is_required(facts) && fills_itself(facts).is_none(),
        (Kind::Column, "identity") => is == "always" || is_required(facts) && fills_itself(facts).is_none(),
        (Kind::Column, "generated") => to.is_some(),
        (Kind::Type, "labels") => !has_all(is, was),
        (Kind::Type, "attributes") => true,
        (Kind::Constraint, "definition") => true,
        (Kind::Index, "definition") => is_unique(facts) && !was.starts_with("CREATE UNIQUE"),
        (Kind::Function | Kind::Aggregate, "returns") => true,
        (Kind::Table, "row security") => from.is_none(),
        (Kind::Policy, "form") => is == "restrictive",
        (Kind::Grant, "privileges") => is != "ALL" && !has_all(is, was),
        _ => false,
    };
    is_restricting.then(|| format!("has another `{fact}`: {was} → {is}"))
}

/// The name under which an object that is gone goes on: of several there is no telling.
fn renamed(kind: Kind, name: &str, gone: &Facts, before: &Catalog, after: &Catalog) -> Option<String> {
    let is_same_place = |new: &str| parent(kind, name) == parent(kind, new);
    let mut new = after
        .of_kind(kind)
        .filter(|(new, facts)| before.get(kind, new).is_none() && *facts == gone && is_same_place(new));
    let (found, None) = (new.next()?.0, new.next()) else { return None };
    Some(found.to_owned())
}

/// What a column belongs to; other objects may move to another schema.
fn parent(kind: Kind, name: &str) -> Option<&str> {
    (kind == Kind::Column).then(|| name.rsplit_once('.').map(|(parent, _)| parent)).flatten()
}

/// Whether `catalog` has the same restriction under another name.
fn has_twin(kind: Kind, name: &str, facts: &Facts, catalog: &Catalog) -> bool {
    let Some(owner_here) = owner(kind, name, facts) else { return false };
    catalog.of_kind(kind).any(|(other, theirs)| {
        other != name
            && owner(kind, other, theirs) == Some(owner_here)
            && without_name(facts) == without_name(theirs)
    })
}

/// The definition without the name of the index that it defines.
fn without_name(facts: &Facts) -> Option<&str> {
    let definition = facts.get("definition")?;
    Some(definition.split_once(" ON ").map_or(definition.as_str(), |(_, rest)| rest))
}

/// The table or domain of a constraint, the table of an index.
fn owner<'a>(kind: Kind, name: &'a str, facts: &'a Facts) -> Option<&'a str> {
    match kind {
        Kind::Index => facts.get("table").map(String::as_str),
        _ => name.rsplit_once('.').map(|(owner, _)| owner),
    }
}

fn is_unique(facts: &Facts) -> bool {
    let forms = ["UNIQUE", "PRIMARY KEY", "CREATE UNIQUE"];
    facts.get("definition").is_some_and(|definition| forms.iter().any(|form| definition.starts_with(form)))
}

fn is_required(column: &Facts) -> bool {
    column.get("nullable").is_some_and(|nullable| nullable.starts_with("no"))
}

/// What gives a column its value where a statement does not.
fn fills_itself(column: &Facts) -> Option<&String> {
    ["default", "generated", "identity"].iter().find_map(|fact| column.get(*fact))
}

/// Whether a definition speaks of a column that `table` had before: what concerns new columns only is new to the
/// release that runs, which writes none of them.
fn names_a_column(definition: &str, table: &str, before: &Catalog) -> bool {
    let own = definition.split(" REFERENCES ").next().unwrap_or(definition);
    let own = own.split_once(" USING ").map_or(own, |(_, columns)| columns);
    let words: BTreeSet<&str> =
        own.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
    before.of_kind(Kind::Column).any(|(column, _)| {
        let name = column.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'));
        name.is_some_and(|name| {
            words.contains(name.trim_matches('"')) || name.contains(['"', ' ']) && own.contains(name)
        })
    })
}

/// Whether the list `all` has each item of the list `some`.
fn has_all(all: &str, some: &str) -> bool {
    let all: BTreeSet<&str> = all.split(", ").collect();
    some.split(", ").all(|item| all.contains(item) || item == "none")
}

/// Whether each value of type `from` is one of `to`, and looks the same to a client.
pub(super) fn widens(from: &str, to: &str) -> bool {
    let ((from_base, from_size), (to_base, to_size)) = (sized(from), sized(to));
    let is_text = |base: &str| matches!(base, "text" | "character varying");
    match (from_base == to_base, &from_size[..], &to_size[..]) {
        (true, _, []) => true,
        (true, [from], [to]) => from <= to,
        (true, [from, scale], [to, new_scale]) => scale == new_scale && from <= to,
        (true, ..) => false,
        (false, _, size) => is_text(from_base) && is_text(to_base) && size.is_empty(),
    }
}

/// A type's name without its size, and the size: `numeric`, `[10, 2]`.
fn sized(name: &str) -> (&str, Vec<u32>) {
    let Some((base, rest)) = name.split_once('(') else { return (name, Vec::new()) };
    let size = rest.split(')').next().unwrap_or_default();
    (base, size.split(',').filter_map(|number| number.trim().parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Object, diff};
    use rstest::rstest;

    #[rstest]
    #[case("character varying(40)", "character varying(80)", true)]
    #[case("character varying(40)", "character varying(20)", false)]
    #[case("character varying(40)", "text", true)]
    #[case("text", "character varying(40)", false)]
    #[case("text", "character varying", true)]
    #[case("numeric(10,2)", "numeric(12,2)", true)]
    #[case("numeric(10,2)", "numeric(12,3)", false)]
    #[case("numeric(10,2)", "numeric", true)]
    #[case("integer", "bigint", false)]
    #[case("timestamp(3) with time zone", "timestamp(6) with time zone", true)]
    #[case("text", "text[]", false)]
    fn a_type_widens(#[case] from: &str, #[case] to: &str, #[case] expect: bool) {
        assert_eq!(widens(from, to), expect);
    }

    fn column(name: &str, facts: &[(&str, &str)]) -> Object {
        facts.iter().fold(Object::new(Kind::Column, format!("a.t.{name}")), |column, (fact, value)| {
            column.with_fact(*fact, *value)
        })
    }

    /// A table with a column `old`, and what is said of it besides.
    fn table(more: Vec<Object>) -> Catalog {
        let old = column("old", &[("type", "text"), ("nullable", "yes")]);
        let hidden = column("hidden", &[("type", "uuid"), ("nullable", "no")]);
        Catalog::new([Object::new(Kind::Table, "a.t"), old, hidden].into_iter().chain(more))
    }

    fn taken(before: &Catalog, after: &Catalog) -> Vec<String> {
        let told = |change: &Change| {
            let taken = contraction(change, before, after)?;
            Some(format!("{} {} {taken}", change.kind, change.name))
        };
        diff(before, after).iter().filter_map(told).collect()
    }

    fn constraint(name: &str, definition: &str) -> Object {
        Object::new(Kind::Constraint, format!("a.t.{name}")).with_fact("definition", definition)
    }

    fn index(name: &str, definition: &str) -> Object {
        Object::new(Kind::Index, format!("a.{name}"))
            .with_fact("definition", definition)
            .with_fact("table", "a.t")
    }

    #[rstest]
    #[case::nullable(column("new", &[("type", "text"), ("nullable", "yes")]), None)]
    #[case::required(column("new", &[("type", "text"), ("nullable", "no")]), Some("required"))]
    #[case::with_default(column("new", &[("nullable", "no"), ("default", "0")]), None)]
    #[case::identity(column("new", &[("nullable", "no"), ("identity", "always")]), None)]
    #[case::check(constraint("c", "CHECK ((old <> ''::text))"), Some("forbids"))]
    #[case::check_of_new(constraint("c", "CHECK ((newer <> ''::text))"), None)]
    #[case::foreign_key_of_new(constraint("c", "FOREIGN KEY (newer) REFERENCES a.x(old)"), None)]
    #[case::unique(index("i", "CREATE UNIQUE INDEX i ON a.t USING btree (old)"), Some("forbids"))]
    #[case::index(index("i", "CREATE INDEX i ON a.t USING btree (old)"), None)]
    #[case::view(Object::new(Kind::View, "a.v"), None)]
    fn what_is_added_may_ask_for_more(#[case] new: Object, #[case] expect: Option<&str>) {
        let (before, after) = (table(vec![]), table(vec![new]));
        let found = taken(&before, &after);
        assert_eq!(found.len(), usize::from(expect.is_some()), "{found:?}");
        assert!(expect.is_none_or(|expect| found[0].contains(expect)), "{found:?}");
        // The way back takes a column or a view from nobody who knew only the table before; it is judged on its own.
        let back = taken(&after, &before);
        assert!(back.iter().all(|told| told.contains("gone")), "{back:?}");
    }

    #[test]
    fn a_renamed_restriction_is_none_and_a_renamed_column_is_told() {
        let definition = "CHECK ((old <> ''::text))";
        let (one, other) =
            (table(vec![constraint("c", definition)]), table(vec![constraint("d", definition)]));
        assert_eq!(taken(&one, &other), [""; 0]);
        let unique = |name: &str| {
            table(vec![index(name, &format!("CREATE UNIQUE INDEX {name} ON a.t USING btree (old)"))])
        };
        assert_eq!(taken(&unique("i"), &unique("j")), [""; 0]);
        assert_eq!(
            taken(&unique("i"), &table(vec![])),
            ["index a.i is gone: `on conflict` on its columns fails"]
        );
        let named = |name: &str| table(vec![column(name, &[("type", "date"), ("nullable", "yes")])]);
        assert_eq!(taken(&named("day"), &named("date")), ["column a.t.day is called `a.t.date` now"]);
    }

    #[rstest]
    #[case(&[("type", "text"), ("nullable", "no")], Some("nullable"))]
    #[case(&[("type", "integer"), ("nullable", "yes")], Some("type"))]
    #[case(&[("type", "text"), ("nullable", "yes"), ("default", "''")], None)]
    #[case(&[("type", "text"), ("nullable", "yes"), ("comment", "x")], None)]
    fn a_change_may_narrow(#[case] facts: &[(&str, &str)], #[case] expect: Option<&str>) {
        let before = table(vec![column("other", &[("type", "text"), ("nullable", "yes")])]);
        let found = taken(&before, &table(vec![column("other", facts)]));
        assert_eq!(found.len(), usize::from(expect.is_some()), "{found:?}");
        assert!(expect.is_none_or(|fact| found[0].contains(fact)), "{found:?}");
    }

    #[test]
    fn privileges_and_labels_are_taken_by_halves() {
        let grant = |privileges: &str| {
            table(vec![Object::new(Kind::Grant, "table a.t to app").with_fact("privileges", privileges)])
        };
        assert_eq!(taken(&grant("INSERT, SELECT"), &grant("SELECT")).len(), 1);
        assert_eq!(taken(&grant("SELECT"), &grant("INSERT, SELECT")), [""; 0]);
        assert_eq!(taken(&grant("SELECT"), &grant("ALL")), [""; 0]);
        let labels =
            |labels: &str| table(vec![Object::new(Kind::Type, "a.mood").with_fact("labels", labels)]);
        assert_eq!(taken(&labels("'a', 'b'"), &labels("'a'")).len(), 1);
        assert_eq!(taken(&labels("'a'"), &labels("'a', 'b'")), [""; 0]);
    }
}
