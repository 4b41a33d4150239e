//! The snapshot file: a catalog as text that reads well in a pull request, and back.
//!
//! One block for each object: its kind and name, then one indented line for each fact. A value of several
//! lines stands behind bars, so that its own blank lines and indentation survive. What no line can hold (a
//! carriage return, blanks at an end) is written after `=` with escapes. The blocks of a table's parts follow
//! that of the table.

use super::kind::Kind;
use super::object::{Catalog, Facts};
use super::parse;
use crate::error::Result;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The first line of a snapshot.
pub(super) const HEADER: &str = "# pgharness schema snapshot, format 1";

/// The text form of a catalog.
#[derive(Debug)]
pub struct Snapshot;

/// An object of a catalog, borrowed.
type Entry<'a> = (Kind, &'a str, &'a Facts);

impl Snapshot {
    /// The catalog as text: the same catalog always gives the same text.
    pub fn render(catalog: &Catalog) -> String {
        let mut parts: BTreeMap<(Kind, String), Vec<Entry<'_>>> = BTreeMap::new();
        let mut tops = Vec::new();
        for (kind, name, facts) in catalog.objects() {
            match root_of(catalog, kind, name, facts) {
                Some(root) => parts.entry(root).or_default().push((kind, name, facts)),
                None => tops.push((kind, name, facts)),
            }
        }
        let mut text = format!("{HEADER}\n");
        for (kind, name, facts) in tops {
            write_block(&mut text, kind, name, facts);
            for (kind, name, facts) in parts.remove(&(kind, name.to_owned())).unwrap_or_default() {
                write_block(&mut text, kind, name, facts);
            }
        }
        for found in catalog.unmodelled() {
            let _ = write!(text, "\nunmodelled {} = {}\n", escaped(&found.kind), escaped(&found.name));
        }
        text
    }

    /// Reads back what [`render`](Snapshot::render) wrote.
    ///
    /// # Errors
    /// The text is no snapshot, or one of a format that this version does not know; the error names the line.
    pub fn parse(text: &str) -> Result<Catalog> {
        parse::parse(text)
    }
}

/// The object behind whose block this one stands.
fn root_of(catalog: &Catalog, kind: Kind, name: &str, facts: &Facts) -> Option<(Kind, String)> {
    let mut root = None;
    let mut next = catalog.owner_of(kind, name, facts);
    // Owners do not go round in circles in a database; in a file that was edited they may.
    for _ in 0..8 {
        let Some((kind, name)) = next else { return root };
        let facts = catalog.get(kind, &name)?;
        next = catalog.owner_of(kind, &name, facts);
        root = Some((kind, name));
    }
    None
}

fn write_block(text: &mut String, kind: Kind, name: &str, facts: &Facts) {
    let plain = format!("{kind} {name}");
    // A name that would be read as something else is written with escapes.
    if is_one_line(name) && parse::header(&plain).is_ok_and(|header| header == (kind, name.to_owned())) {
        let _ = write!(text, "\n{plain}\n");
    } else {
        let _ = write!(text, "\n{kind} = {}\n", escaped(name));
    }
    for (fact, value) in facts {
        write_fact(text, fact, value);
    }
}

fn write_fact(text: &mut String, fact: &str, value: &str) {
    let is_plain = is_one_line(fact) && !fact.contains([':', '=', '"', '|']);
    let fact = if is_plain { fact.to_owned() } else { escaped(fact) };
    if is_one_line(value) {
        let _ = writeln!(text, "  {fact}: {value}");
    } else if value.contains('\n') && value.chars().all(|c| !c.is_control() || c == '\n' || c == '\t') {
        let _ = writeln!(text, "  {fact}:");
        for line in value.split('\n') {
            let _ = writeln!(text, "    |{}{line}", if line.is_empty() { "" } else { " " });
        }
    } else {
        let _ = writeln!(text, "  {fact} = {}", escaped(value));
    }
}

/// Whether `text` survives as the rest of a line: editors and version control leave it alone.
fn is_one_line(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}

/// `text` in double quotes, with escapes for quotes, backslashes and control characters.
fn escaped(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod arbitrary {
    use super::*;
    use crate::catalog::{Object, Unmodelled};
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c.]{1,4}",
            "[a-c =:|\"\\\\\n\r\t.,é-]{0,8}",
            Just("class x".to_owned()),
            Just("table a to b".to_owned()),
        ]
    }

    /// Small catalogs with awkward names, so that two of them often share objects.
    pub(in crate::catalog) fn catalog() -> impl Strategy<Value = Catalog> {
        let fact = prop_oneof![Just("columns".to_owned()), Just("owned by".to_owned()), text()];
        let facts = prop::collection::btree_map(fact, text(), 0..4);
        let object = (prop::sample::select(Kind::ALL), text(), facts);
        let objects = prop::collection::vec(object, 0..8);
        let unmodelled = prop::collection::vec((text(), text()), 0..3);
        (objects, unmodelled).prop_map(|(objects, unmodelled)| {
            Catalog::new(objects.into_iter().map(|(kind, name, facts)| Object { kind, name, facts }))
                .with_unmodelled(unmodelled.into_iter().map(|(kind, name)| Unmodelled { kind, name }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Object, Unmodelled};
    use proptest::prelude::*;

    #[test]
    fn a_snapshot_reads_well() {
        let catalog = Catalog::new([
            Object::new(Kind::Table, "crm.people").with_fact("columns", "id, name"),
            Object::new(Kind::Column, "crm.people.id").with_fact("nullable", "no").with_fact("type", "uuid"),
            Object::new(Kind::Schema, "crm").with_fact("owner", "app_owner"),
            Object::new(Kind::Table, "crm.pets"),
            Object::new(Kind::Function, "crm.f(integer)").with_fact("body", "begin\n\n  return 1;\nend "),
            Object::new(Kind::Function, "crm.g()").with_fact("body", "begin\r\nend"),
        ])
        .with_unmodelled([Unmodelled { kind: "subscription".into(), name: "s".into() }]);
        assert_eq!(
            Snapshot::render(&catalog),
            "# pgharness schema snapshot, format 1\n\
             \nschema crm\n  owner: app_owner\n\
             \ntable crm.people\n  columns: id, name\n\
             \ncolumn crm.people.id\n  nullable: no\n  type: uuid\n\
             \ntable crm.pets\n\
             \nfunction crm.f(integer)\n  body:\n    | begin\n    |\n    |   return 1;\n    | end \n\
             \nfunction crm.g()\n  body = \"begin\\r\\nend\"\n\
             \nunmodelled \"subscription\" = \"s\"\n"
        );
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_back_as_the_catalog(catalog in arbitrary::catalog()) {
            let text = Snapshot::render(&catalog);
            let back = Snapshot::parse(&text).unwrap();
            prop_assert_eq!(&back, &catalog, "{}", text);
            prop_assert_eq!(Snapshot::render(&back), text);
        }
    }
}
