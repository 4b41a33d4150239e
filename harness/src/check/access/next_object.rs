//! What the next migration creates, and how each privilege on it is tried.

use crate::ident::{QualifiedName, quote_ident, quote_literal};

/// A kind of object that default privileges speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NextObject {
    Table,
    Sequence,
    Function,
    Schema,
}

/// What the next object is called.
pub(super) const NEXT: &str = "pgharness_next";

impl NextObject {
    /// The kind that `pg_default_acl.defaclobjtype` says.
    pub(super) fn of(code: &str) -> Option<NextObject> {
        match code {
            "r" => Some(NextObject::Table),
            "S" => Some(NextObject::Sequence),
            "f" => Some(NextObject::Function),
            "n" => Some(NextObject::Schema),
            _ => None,
        }
    }

    /// In the server's words.
    pub(super) fn noun(self) -> &'static str {
        match self {
            NextObject::Table => "table",
            NextObject::Sequence => "sequence",
            NextObject::Function => "function",
            NextObject::Schema => "schema",
        }
    }

    /// What ALTER DEFAULT PRIVILEGES calls them.
    pub(super) fn class(self) -> &'static str {
        match self {
            NextObject::Table => "tables",
            NextObject::Sequence => "sequences",
            NextObject::Function => "routines",
            NextObject::Schema => "schemas",
        }
    }

    /// The privileges that are tried.
    pub(super) fn privileges(self) -> &'static [&'static str] {
        match self {
            NextObject::Table => &["select", "insert", "update", "delete"],
            NextObject::Sequence => &["usage", "select", "update"],
            NextObject::Function => &["execute"],
            NextObject::Schema => &["usage", "create"],
        }
    }

    /// The statements that create it in `schema`; a schema is in none.
    pub(super) fn creation(self, schema: Option<&str>) -> Vec<String> {
        let name = self.sql(schema);
        match self {
            NextObject::Table => vec![format!("create table {name} (id integer)")],
            NextObject::Sequence => vec![format!("create sequence {name}")],
            NextObject::Function => {
                vec![format!("create function {name}() returns integer language sql as 'select 1'")]
            }
            NextObject::Schema => {
                let inside = inside("anybodys");
                vec![
                    format!("create schema {name}"),
                    format!("create table {inside} ()"),
                    format!("grant select on {inside} to public"),
                ]
            }
        }
    }

    /// The statement that needs `privilege` on it.
    pub(super) fn use_of(self, schema: Option<&str>, privilege: &str) -> String {
        let name = self.sql(schema);
        match (self, privilege) {
            (NextObject::Table, "insert") => format!("insert into {name} values (1)"),
            (NextObject::Table, "update") => format!("update {name} set id = default"),
            (NextObject::Table, "delete") => format!("delete from {name}"),
            (NextObject::Table, _) => format!("select count(*) from {name}"),
            (NextObject::Sequence, "usage") => format!("select nextval({})", quote_literal(&name)),
            (NextObject::Sequence, "update") => format!("select setval({}, 1)", quote_literal(&name)),
            (NextObject::Sequence, _) => format!("select last_value from {name}"),
            (NextObject::Function, _) => format!("select {name}()"),
            (NextObject::Schema, "create") => format!("create table {} ()", inside("own")),
            (NextObject::Schema, _) => format!("select count(*) from {}", inside("anybodys")),
        }
    }

    fn sql(self, schema: Option<&str>) -> String {
        match schema {
            Some(schema) => QualifiedName::new(schema, NEXT).sql(),
            None => quote_ident(NEXT),
        }
    }
}

/// A table of the next schema.
fn inside(table: &str) -> String {
    QualifiedName::new(NEXT, table).sql()
}
