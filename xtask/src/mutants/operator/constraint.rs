//! Constraints changed by hand.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{parent, plain, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::ident::quote_ident;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("constraint.drop", |ground| {
        constraints(
            ground,
            |_, _| true,
            |table, name, _| Some(format!("alter table {table} drop constraint {name} cascade")),
        )
    }),
    Operator::live("constraint.rename", |ground| {
        let sites = ground.parts(Kind::Constraint).map(|(table, name, _)| {
            let new = quote_ident(&format!("m_{}", plain(name)));
            let change = format!("alter table {} rename constraint {} to {new}", sql(table), sql(name));
            Site::live(format!("{table}.{name}"), change)
        });
        sites.collect()
    }),
    Operator::live("constraint.un-validate", |ground| {
        // The server has no such thing for a foreign key of a partitioned table.
        let can_be = |table: &str, facts: &Facts| {
            starts(facts, "CHECK") || starts(facts, "FOREIGN KEY") && !is_partitioned(ground, table)
        };
        constraints(ground, can_be, |table, name, definition| {
            Some(remade(table, name, &format!("{definition} not valid")))
        })
    }),
    Operator::live("check.loosen", |ground| {
        constraints(
            ground,
            |_, facts| starts(facts, "CHECK"),
            |table, name, definition| {
                let condition = definition.strip_prefix("CHECK (")?.strip_suffix(')')?;
                Some(remade(table, name, &format!("check (({condition}) or true)")))
            },
        )
    }),
    Operator::live("foreign-key.action", |ground| {
        constraints(
            ground,
            |_, facts| starts(facts, "FOREIGN KEY"),
            |table, name, definition| {
                let (before, action) = match definition.split_once(" ON DELETE ") {
                    Some((before, _)) => (before, ""),
                    None => (definition.split(" DEFERRABLE").next()?, " on delete cascade"),
                };
                Some(remade(table, name, &format!("{before}{action}")))
            },
        )
    }),
    Operator::live("foreign-key.defer", |ground| {
        let can_be = |_: &str, facts: &Facts| {
            starts(facts, "FOREIGN KEY")
                && facts.get("definition").is_some_and(|definition| !definition.contains("DEFERRABLE"))
        };
        constraints(ground, can_be, |table, name, _| {
            Some(format!("alter table {table} alter constraint {name} deferrable initially deferred"))
        })
    }),
    Operator::live("domain.loosen", |ground| {
        let sites = ground.catalog.of_kind(Kind::Constraint).filter_map(|(name, _)| {
            let (domain, own) = parent(name);
            ground.catalog.get(Kind::Domain, domain)?;
            Some(Site::live(name, format!("alter domain {} drop constraint {}", sql(domain), sql(own))))
        });
        sites.collect()
    }),
];

fn constraints(
    ground: &Ground,
    is_site: impl Fn(&str, &Facts) -> bool,
    change: impl Fn(&str, &str, &str) -> Option<String>,
) -> Vec<Site> {
    let constraints = ground.parts(Kind::Constraint).filter(|(table, _, facts)| is_site(table, facts));
    let sites = constraints.filter_map(|(table, name, facts)| {
        let change = change(&sql(table), &sql(name), facts.get("definition")?)?;
        Some(Site::live(format!("{table}.{name}"), change))
    });
    sites.collect()
}

fn starts(facts: &Facts, with: &str) -> bool {
    facts.get("definition").is_some_and(|definition| definition.starts_with(with))
}

fn is_partitioned(ground: &Ground, table: &str) -> bool {
    ground.catalog.get(Kind::Table, table).is_some_and(|facts| facts.contains_key("partition key"))
}

/// The constraint with another definition.
fn remade(table: &str, name: &str, definition: &str) -> String {
    format!("alter table {table} drop constraint {name}, add constraint {name} {definition}")
}
