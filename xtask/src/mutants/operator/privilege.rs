//! One more file that gives a service, or everybody, more than was declared, or takes what was.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{grant, is_given, parent, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::check::matches;
use pgharness::ident::quote_ident;

/// So many databases are changed by each operator.
const MOST: usize = 10;
const MATRIX: &[&str] = &["access.matrix"];
const PUBLIC: &[&str] = &["access.public-grants"];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::files("matrix.select", MATRIX, MOST, |ground| given(ground, "SELECT", "select")),
    Operator::files("matrix.insert", MATRIX, MOST, |ground| given(ground, "INSERT", "insert")),
    Operator::files("matrix.update", MATRIX, MOST, |ground| given(ground, "UPDATE", "select, update")),
    Operator::files("matrix.delete", MATRIX, MOST, |ground| given(ground, "DELETE", "select, delete")),
    Operator::files("matrix.revoke", MATRIX, MOST, |ground| {
        let sites = held(ground).flat_map(|(table, role, privileges)| {
            let each = privileges.split(", ").filter_map(move |privilege| {
                let change = format!("revoke {privilege} on {} from {}", sql(table), quote_ident(role));
                ground.changed(table, &format!("{privilege} on {table} from {role}"), &change)
            });
            each.collect::<Vec<_>>()
        });
        sites.collect()
    }),
    Operator::files("matrix.column", MATRIX, MOST, |ground| {
        let sites = held(ground).filter(|(_, _, privileges)| !privileges.contains("UPDATE"));
        let sites = sites.filter_map(|(table, role, _)| {
            let column =
                ground.columns().find(|(of, column, _)| *of == table && !ground.is_key(table, column))?.1;
            let change = format!("grant update ({}) on {} to {}", sql(column), sql(table), quote_ident(role));
            ground.changed(table, &format!("{table}.{column} to {role}"), &change)
        });
        sites.collect()
    }),
    Operator::files("public.table", PUBLIC, MOST, |ground| {
        tables(ground, |_| true, |table| format!("grant select on {} to public", sql(table)))
    }),
    Operator::files("public.schema", PUBLIC, MOST, |ground| {
        schemas(ground, |schema| format!("grant create on schema {schema} to public"))
    }),
    Operator::files("public.routine", PUBLIC, MOST, |ground| {
        definers(ground, |_| true, |routine| format!("grant execute on {routine} to public"))
    }),
    Operator::files("definer.search-path", &["access.definer-search-path"], MOST, |ground| {
        // What is parsed once does not look names up again.
        let is_text = |facts: &Facts| {
            facts.get("body").is_some_and(|body| {
                !["BEGIN ATOMIC", "RETURN "].iter().any(|form| body.trim().starts_with(form))
            })
        };
        definers(ground, is_text, |routine| format!("alter {routine} reset search_path"))
    }),
    Operator::files("default.public", &["access.default-privileges"], MOST, |ground| {
        schemas(ground, |schema| {
            format!("alter default privileges in schema {schema} grant select on tables to public")
        })
    }),
    Operator::files("default.sequences", &["access.default-privileges"], MOST, |ground| {
        schemas(ground, |schema| {
            format!("alter default privileges in schema {schema} grant usage on sequences to public")
        })
    }),
    Operator::files("append-only.update", &["access.append-only"], MOST, |ground| {
        let patterns = &ground.project.access.append_only;
        unguarded(ground, patterns, "update")
    }),
    Operator::files("append-only.delete", &["access.append-only"], MOST, |ground| {
        let patterns = &ground.project.access.append_only;
        unguarded(ground, patterns, "delete")
    }),
    Operator::files("immutable.update", &["access.immutable"], MOST, |ground| {
        unguarded(ground, &ground.project.access.immutable, "update")
    }),
];

/// The tables that a role of the matrix has privileges on: the table, the role, its privileges.
fn held(ground: &Ground) -> impl Iterator<Item = (&str, &str, &str)> {
    ground.catalog.of_kind(Kind::Grant).filter_map(|(name, facts)| {
        let (Kind::Table, table, role) = grant(name)? else { return None };
        let is_told = ground.project.access.matrix.contains_key(role);
        let is_of_ours = ground.tables().any(|(name, _)| name == table);
        (is_told && is_of_ours).then_some((table, role, facts.get("privileges")?.as_str()))
    })
}

/// What a role does not have on a table of a schema that it may use, given.
fn given(ground: &Ground, privilege: &str, verbs: &str) -> Vec<Site> {
    let is_held = |table: &str, role: &str| {
        held(ground).any(|(on, to, privileges)| on == table && to == role && is_given(privileges, privilege))
    };
    let may_use = |schema: &str, role: &str| {
        let of_schema = format!("schema {schema} to {role}");
        ground.catalog.get(Kind::Grant, &of_schema).is_some()
    };
    let roles = ground.project.access.matrix.keys();
    let sites = roles.flat_map(|role| {
        let tables = ground.tables().filter(|(table, facts)| {
            // A trigger that refuses binds whoever may.
            let access = &ground.project.access;
            let is_final =
                access.append_only.iter().chain(&access.immutable).any(|pattern| matches(pattern, table));
            !is_held(table, role)
                && may_use(parent(table).0, role)
                && !facts.contains_key("partition key")
                && (!is_final || privilege == "SELECT" || privilege == "INSERT")
        });
        let sites = tables.filter_map(|(table, _)| {
            let change = format!("grant {verbs} on {} to {}", sql(table), quote_ident(role));
            ground.changed(table, &format!("{table} to {role}"), &change)
        });
        sites.collect::<Vec<_>>()
    });
    sites.collect()
}

fn tables(ground: &Ground, is_site: impl Fn(&str) -> bool, change: impl Fn(&str) -> String) -> Vec<Site> {
    let tables = ground.tables().filter(|(table, _)| is_site(table));
    tables.filter_map(|(table, _)| ground.changed(table, table, &change(table))).collect()
}

fn schemas(ground: &Ground, change: impl Fn(&str) -> String) -> Vec<Site> {
    let sites = ground.catalog.of_kind(Kind::Schema).filter_map(|(name, facts)| {
        let has_tables = ground.tables().any(|(table, _)| parent(table).0 == name);
        has_tables.then_some(())?;
        Some(Site::files(name, ground.followed_by_owner(facts, &change(&sql(name)))?))
    });
    sites.collect()
}

/// Functions and procedures with their owner's rights; `change` is told `function "a"."f"(integer)`.
fn definers(ground: &Ground, is_site: impl Fn(&Facts) -> bool, change: impl Fn(&str) -> String) -> Vec<Site> {
    let is_definer =
        |facts: &Facts| facts.get("security").is_some_and(|security| security == "definer") && is_site(facts);
    let of = |kind| ground.catalog.of_kind(kind).map(move |(name, facts)| (kind, name, facts));
    let routines = of(Kind::Function).chain(of(Kind::Procedure)).filter(|(_, _, facts)| is_definer(facts));
    let sites = routines.filter_map(|(kind, name, facts)| {
        let change = change(&format!("{kind} {}", sql(name)));
        Some(Site::files(name, ground.followed_by_owner(facts, &change)?))
    });
    sites.collect()
}

/// Final rows that a service may change, as no trigger refuses it any more.
fn unguarded(ground: &Ground, patterns: &[String], verb: &str) -> Vec<Site> {
    let Some(role) = ground.project.access.matrix.keys().next() else { return Vec::new() };
    let role = quote_ident(role);
    tables(
        ground,
        |table| patterns.iter().any(|pattern| matches(pattern, table)),
        |table| {
            let (schema, table) = (sql(parent(table).0), sql(table));
            format!(
                "alter table {table} disable trigger user;\ngrant usage on schema {schema} to {role};\n\
                 grant select, {verb} on {table} to {role}"
            )
        },
    )
}
