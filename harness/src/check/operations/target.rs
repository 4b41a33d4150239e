//! What a role is declared to do with a table.

use crate::check::{Privilege, matches};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    Select,
    Insert,
    Update,
    Delete,
}

/// As SQL writes it.
impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Select => "select",
            Verb::Insert => "insert",
            Verb::Update => "update",
            Verb::Delete => "delete",
        })
    }
}

impl Verb {
    fn of(privilege: Privilege) -> Option<Verb> {
        match privilege {
            Privilege::Select => Some(Verb::Select),
            Privilege::Insert => Some(Verb::Insert),
            Privilege::Update => Some(Verb::Update),
            Privilege::Delete => Some(Verb::Delete),
            _ => None,
        }
    }
}

/// A table, what is tried with it, and the columns with which that may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) table: QualifiedName,
    /// `table`, `view`.
    pub(super) kind: String,
    pub(super) verb: Verb,
    /// All columns, where the role may do it with none: then the server says so.
    pub(super) columns: Vec<String>,
}

impl Target {
    /// The statement; one that `is_harmless` finds no row.
    pub(super) fn sql(&self, is_harmless: bool) -> String {
        let table = self.table.sql();
        let column = self.columns.first().map(|name| quote_ident(name)).unwrap_or_default();
        let none = if is_harmless { " where false" } else { "" };
        match self.verb {
            Verb::Select => format!("select {column} from {table}{none} limit 1"),
            Verb::Insert => format!("insert into {table} ({column}) select null where false"),
            Verb::Update => format!("update {table} set {column} = {column}{none}"),
            // Rows that others refer to say nothing of the privilege.
            Verb::Delete => format!("delete from {table} where false"),
        }
    }
}

/// What `role` is declared to do with `objects`, which are patterns.
///
/// # Errors
/// The server is lost.
pub(super) async fn targets(
    connection: &mut PgConnection,
    role: &str,
    objects: &BTreeMap<String, Vec<Privilege>>,
) -> Result<Vec<Target>> {
    let what = || format!("failed to look for what `{role}` is declared to do");
    let relations: Vec<(String, String, String)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text, case when c.relkind in ('r', 'p') then 'table' else 'view' end
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'v') and not c.relispartition
             and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
         order by 1, 2",
    )
    .persistent(false)
    .fetch_all(&mut *connection)
    .await
    .attempt(ErrorKind::Database, what)?;
    let mut targets = Vec::new();
    for (schema, name, kind) in relations {
        let table = QualifiedName::new(schema, name);
        let shown = table.to_string();
        let verbs: BTreeSet<Verb> = objects
            .iter()
            .filter(|(pattern, _)| matches(pattern, &shown))
            .flat_map(|(_, privileges)| privileges.iter().copied().filter_map(Verb::of))
            .collect();
        for verb in verbs {
            let columns: Vec<String> = sqlx::query_scalar(
                "select attname from (
                     select a.attname::text, a.attnum,
                         $3 = 'delete' or has_column_privilege(r.oid, a.attrelid, a.attnum, $3) as may
                     from pg_catalog.pg_attribute a, pg_catalog.pg_roles r
                     where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped and r.rolname = $2
                         and ($3 in ('select', 'delete') or a.attgenerated = '' and a.attidentity <> 'a')
                 ) own
                 where may or not exists (
                     select from pg_catalog.pg_attribute b, pg_catalog.pg_roles r
                     where b.attrelid = $1::regclass and b.attnum > 0 and not b.attisdropped and r.rolname = $2
                         and $3 <> 'delete' and has_column_privilege(r.oid, b.attrelid, b.attnum, $3))
                 order by attnum",
            )
            .bind(table.sql())
            .bind(role)
            .bind(verb.to_string())
            .persistent(false)
            .fetch_all(&mut *connection)
            .await
            .attempt(ErrorKind::Database, what)?;
            targets.push(Target { table: table.clone(), kind: kind.clone(), verb, columns });
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Verb::Select, true, "select \"A b\" from \"s\".\"t\" where false limit 1")]
    #[case(Verb::Select, false, "select \"A b\" from \"s\".\"t\" limit 1")]
    #[case(Verb::Insert, true, "insert into \"s\".\"t\" (\"A b\") select null where false")]
    #[case(Verb::Update, true, "update \"s\".\"t\" set \"A b\" = \"A b\" where false")]
    #[case(Verb::Delete, false, "delete from \"s\".\"t\" where false")]
    fn a_harmless_statement_finds_no_row(
        #[case] verb: Verb,
        #[case] is_harmless: bool,
        #[case] expect: &str,
    ) {
        let table = QualifiedName::new("s", "t");
        let target = Target { table, kind: "table".into(), verb, columns: vec!["A b".into(), "c".into()] };
        assert_eq!(target.sql(is_harmless), expect);
    }
}
