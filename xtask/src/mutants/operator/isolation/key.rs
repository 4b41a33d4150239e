//! Keys without the tenant: what is taken, and what is referred to, is then everybody's.

use super::{Ground, MOST, Operator, Site, Table, tables};
use crate::mutants::ground::listed;
use crate::mutants::sql::sql;
use pgharness::catalog::Kind;
use pgharness::ident::quote_ident;

pub(in crate::mutants::operator) const OPERATORS: &[Operator] = &[
    // With most of them the fixtures do not fit any more.
    Operator::files("key.global", &["tenancy.key-oracle"], 3 * MOST, |ground| {
        let sites = tables(ground, "INSERT").into_iter().filter(|table| !table.is_partitioned());
        let sites = sites.flat_map(|table| {
            let texts = ground.columns().filter(|(of, column, facts)| {
                *of == table.name
                    && facts.get("type").is_some_and(|kind| kind == "text")
                    && !is_random(column)
            });
            let sites = texts.filter(|(of, column, _)| !is_referring(ground, of, column));
            sites
                .filter_map(|(of, column, _)| {
                    let change = format!("create unique index on {} ({})", table.sql, sql(column));
                    ground.changed(of, &format!("{of}.{column}"), &change)
                })
                .collect::<Vec<_>>()
        });
        sites.collect()
    }),
    Operator::files("foreign-key.single", &["tenancy.fk-reference"], MOST, |ground| {
        references(ground, "INSERT", "")
    }),
    Operator::files("foreign-key.cascade", &["tenancy.fk-cascade"], MOST, |ground| {
        references(ground, "DELETE", " on delete cascade")
    }),
];

/// Whether nobody can guess what is in the column.
fn is_random(column: &str) -> bool {
    ["hash", "digest", "token"].iter().any(|word| column.contains(word))
}

/// Whether a foreign key has the column: what it may hold is then for another table to say.
fn is_referring(ground: &Ground, table: &str, column: &str) -> bool {
    ground.parts(Kind::Constraint).any(|(of, _, facts)| {
        let definition = facts.get("definition").map_or("", String::as_str);
        of == table && definition.starts_with("FOREIGN KEY") && listed(definition).any(|name| name == column)
    })
}

/// Foreign keys of the tenant and another column, made ones of the other column alone. A service has `privilege` on
/// the side whose change shows it: INSERT on the one that refers, or DELETE on the other.
fn references(ground: &Ground, privilege: &str, action: &str) -> Vec<Site> {
    let reachable = tables(ground, privilege);
    let sites = ground.parts(Kind::Constraint).filter_map(|(of, name, facts)| {
        let definition = facts.get("definition")?.strip_prefix("FOREIGN KEY ")?;
        let (_, target) = definition.split_once(" REFERENCES ")?;
        let target = target.split('(').next()?;
        let shown = if privilege == "DELETE" { target } else { of };
        let table: &Table<'_> = reachable.iter().find(|table| table.name == shown)?;
        let [tenant, column] = listed(definition).collect::<Vec<_>>()[..] else { return None };
        let [_, key] = listed(definition.split_once(" REFERENCES ")?.1).collect::<Vec<_>>()[..] else {
            return None;
        };
        (quote_ident(tenant) == table.column).then_some(())?;
        let is_plain = |of: &str| {
            ground.catalog.get(Kind::Table, of).is_some_and(|facts| !facts.contains_key("partition key"))
        };
        (is_plain(of) && is_plain(target)).then_some(())?;
        let change = format!(
            "alter table {target} add unique ({key});\nalter table {of} drop constraint {name};\n\
             alter table {of} add foreign key ({column}) references {target} ({key}){action}",
            of = sql(of),
            target = sql(target),
            name = sql(name),
        );
        ground.changed(table.name, &format!("{of}.{name}"), &change)
    });
    sites.collect()
}
