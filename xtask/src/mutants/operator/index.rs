//! Indexes changed by hand.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{parent, plain, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::ident::quote_ident;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("index.drop", |ground| {
        indexes(ground, |name, _| Some(format!("drop index {}", sql(name))))
    }),
    Operator::live("index.rename", |ground| {
        indexes(ground, |name, _| {
            let new = quote_ident(&format!("m_{}", plain(parent(name).1)));
            Some(format!("alter index {} rename to {new}", sql(name)))
        })
    }),
    Operator::live("index.narrow", |ground| {
        indexes(ground, |name, definition| {
            let definition = match definition.split_once(" WHERE ") {
                Some((before, condition)) => format!("{before} WHERE ({condition}) and 1 > 0"),
                None => format!("{definition} WHERE 1 > 0"),
            };
            Some(remade(name, &definition))
        })
    }),
    Operator::live("index.un-unique", |ground| {
        indexes(ground, |name, definition| {
            let rest = definition.strip_prefix("CREATE UNIQUE INDEX")?;
            Some(remade(name, &format!("create index{rest}")))
        })
    }),
    Operator::live("index.unique", |ground| {
        indexes(ground, |name, definition| {
            let rest =
                definition.strip_prefix("CREATE INDEX").filter(|rest| rest.contains(" USING btree "))?;
            let table = ground.catalog.get(Kind::Index, name)?.get("table")?;
            // Rows that are in the way are not what this is about.
            let made = remade(name, &format!("create unique index{rest}"));
            Some(format!("truncate {} cascade; {made}", sql(table)))
        })
    }),
];

/// Indexes of tables that are no partitions.
fn indexes(ground: &Ground, change: impl Fn(&str, &str) -> Option<String>) -> Vec<Site> {
    let is_own = |facts: &Facts| {
        let table = facts.get("table").and_then(|table| ground.catalog.get(Kind::Table, table));
        table.is_some_and(|table| !table.contains_key("partition of")) && !facts.contains_key("partition of")
    };
    let indexes = ground.catalog.of_kind(Kind::Index).filter(|(_, facts)| is_own(facts));
    indexes
        .filter_map(|(name, facts)| Some(Site::live(name, change(name, facts.get("definition")?)?)))
        .collect()
}

/// The index with another definition.
fn remade(name: &str, definition: &str) -> String {
    format!("drop index {}; {definition}", sql(name))
}
