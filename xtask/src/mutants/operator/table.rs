//! Tables changed by hand.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{parent, plain, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::ident::quote_ident;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("table.drop", |ground| {
        tables(ground, |_| true, |table| format!("drop table {table} cascade"))
    }),
    Operator::live("table.rename", |ground| {
        let sites = ground.tables().map(|(name, _)| {
            let new = quote_ident(&format!("{}_mutant", plain(parent(name).1)));
            Site::live(name, format!("alter table {} rename to {new}", sql(name)))
        });
        sites.collect()
    }),
    Operator::live("table.add-column", |ground| {
        tables(ground, |_| true, |table| format!("alter table {table} add column mutant integer"))
    }),
    Operator::live("table.unlog", |ground| {
        // The server takes no notice of it on a partitioned table, and refuses where a logged one refers to it.
        let is_plain =
            |facts: &Facts| !facts.contains_key("partition key") && !facts.contains_key("persistence");
        tables(ground, is_plain, |table| format!("alter table {table} set unlogged"))
    }),
    Operator::live("table.re-own", |ground| {
        // Whose it should be is only known where somebody is said to migrate.
        let is_known = ground.project.migrations.migrator_role.is_some();
        let is_owned =
            |facts: &Facts| is_known && facts.get("owner").is_none_or(|owner| owner != "pg_monitor");
        tables(ground, is_owned, |table| format!("alter table {table} owner to pg_monitor"))
    }),
    Operator::live("table.identity-of-rows", |ground| {
        let is_default = |facts: &Facts| !facts.contains_key("replica identity");
        tables(ground, is_default, |table| format!("alter table {table} replica identity full"))
    }),
    Operator::live("row-security.disable", |ground| {
        tables(
            ground,
            |facts| has(facts, "enabled"),
            |table| format!("alter table {table} disable row level security"),
        )
    }),
    Operator::live("row-security.unforce", |ground| {
        tables(
            ground,
            |facts| has(facts, "forced"),
            |table| format!("alter table {table} no force row level security"),
        )
    }),
    Operator::live("row-security.enable", |ground| {
        tables(
            ground,
            |facts| !has(facts, "enabled"),
            |table| format!("alter table {table} enable row level security"),
        )
    }),
    Operator::live("partition.detach", |ground| {
        let partitions = ground.catalog.of_kind(Kind::Table).filter_map(|(name, facts)| {
            let of = facts.get("partition of")?;
            Some(Site::live(name, format!("alter table {} detach partition {}", sql(of), sql(name))))
        });
        partitions.collect()
    }),
];

fn has(facts: &Facts, what: &str) -> bool {
    facts.get("row security").is_some_and(|security| security.contains(what))
}

fn tables(ground: &Ground, is_site: impl Fn(&Facts) -> bool, change: impl Fn(&str) -> String) -> Vec<Site> {
    let tables = ground.tables().filter(|(_, facts)| is_site(facts));
    tables.map(|(name, _)| Site::live(name, change(&sql(name)))).collect()
}
