//! Columns changed by hand.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{plain, sql};
use pgharness::catalog::Facts;
use pgharness::ident::quote_ident;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("column.drop", |ground| {
        columns(
            ground,
            |_, _, _| true,
            |table, column, _| Some(format!("alter table {table} drop column {column} cascade")),
        )
    }),
    Operator::live("column.rename", |ground| {
        let sites = ground.columns().map(|(table, column, _)| {
            let new = quote_ident(&format!("{}_mutant", plain(column)));
            let change = format!("alter table {} rename column {} to {new}", sql(table), sql(column));
            Site::live(format!("{table}.{column}"), change)
        });
        sites.collect()
    }),
    Operator::live("column.retype", |ground| {
        columns(
            ground,
            |_, _, _| true,
            |table, column, facts| {
                let other = other_type(facts.get("type")?)?;
                // What the old type's default was may be none of the new one.
                let default = match facts.contains_key("default") {
                    true => format!("alter column {column} drop default, "),
                    false => String::new(),
                };
                Some(format!(
                    "alter table {table} {default}alter column {column} type {other} using {column}::{other}"
                ))
            },
        )
    }),
    Operator::live("column.optional", |ground| {
        let is_required = |table: &str, column: &str, facts: &Facts| {
            nullable(facts) != "yes" && !facts.contains_key("identity") && !is_primary(ground, table, column)
        };
        columns(ground, is_required, |table, column, _| {
            Some(format!("alter table {table} alter column {column} drop not null"))
        })
    }),
    Operator::live("column.require", |ground| {
        columns(
            ground,
            |_, _, facts| nullable(facts) == "yes",
            |table, column, _| {
                // Rows that are in the way are not what this is about.
                Some(format!(
                    "truncate {table} cascade; alter table {table} alter column {column} set not null"
                ))
            },
        )
    }),
    Operator::live("column.un-default", |ground| {
        columns(
            ground,
            |_, _, facts| facts.contains_key("default"),
            |table, column, _| Some(format!("alter table {table} alter column {column} drop default")),
        )
    }),
    Operator::live("column.default", |ground| {
        let takes_one = |_: &str, _: &str, facts: &Facts| {
            facts.get("type").is_some_and(|kind| kind == "text")
                && !["default", "generated", "identity"].iter().any(|fact| facts.contains_key(*fact))
        };
        columns(ground, takes_one, |table, column, _| {
            Some(format!("alter table {table} alter column {column} set default 'mutant'"))
        })
    }),
    Operator::live("column.un-identity", |ground| {
        columns(
            ground,
            |_, _, facts| facts.contains_key("identity"),
            |table, column, _| Some(format!("alter table {table} alter column {column} drop identity")),
        )
    }),
    Operator::live("column.comment", |ground| {
        columns(
            ground,
            |_, _, _| true,
            |table, column, _| Some(format!("comment on column {table}.{column} is 'mutant'")),
        )
    }),
];

fn columns(
    ground: &Ground,
    is_site: impl Fn(&str, &str, &Facts) -> bool,
    change: impl Fn(&str, &str, &Facts) -> Option<String>,
) -> Vec<Site> {
    let columns = ground.columns().filter(|(table, column, facts)| is_site(table, column, facts));
    let sites = columns.filter_map(|(table, column, facts)| {
        Some(Site::live(format!("{table}.{column}"), change(&sql(table), &sql(column), facts)?))
    });
    sites.collect()
}

fn nullable(facts: &Facts) -> &str {
    facts.get("nullable").map_or("", String::as_str)
}

/// Of a primary key NOT NULL cannot be taken; of a unique one it can.
fn is_primary(ground: &Ground, table: &str, column: &str) -> bool {
    use pgharness::catalog::Kind;
    ground.parts(Kind::Constraint).any(|(of, _, facts)| {
        let columns = facts.get("definition").and_then(|definition| definition.strip_prefix("PRIMARY KEY ("));
        of == table
            && columns.is_some_and(|columns| {
                columns.split(')').next().unwrap_or_default().split(", ").any(|name| name == column)
            })
    })
}

/// A type that takes the same values, or some of them.
fn other_type(name: &str) -> Option<&'static str> {
    Some(match name {
        "text" => "character varying(4000)",
        "integer" => "bigint",
        "smallint" => "integer",
        "bigint" => "numeric",
        "uuid" | "jsonb" | "inet" | "date" | "boolean" => "text",
        "timestamp with time zone" => "timestamp without time zone",
        "timestamp without time zone" => "timestamp with time zone",
        "real" => "double precision",
        _ if name.starts_with("character varying") => "text",
        _ if name.starts_with("numeric") => "double precision",
        _ => return None,
    })
}
