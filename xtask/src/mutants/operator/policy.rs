//! Policies and triggers changed by hand.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{plain, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::ident::quote_ident;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("policy.drop", |ground| {
        of(ground, Kind::Policy, |_| true, |table, name, _| format!("drop policy {name} on {table}"))
    }),
    Operator::live("policy.rename", |ground| {
        of(
            ground,
            Kind::Policy,
            |_| true,
            |table, name, plain| {
                format!("alter policy {name} on {table} rename to {}", quote_ident(&format!("m_{plain}")))
            },
        )
    }),
    Operator::live("policy.widen", |ground| {
        let has_using = |facts: &Facts| facts.get("using").is_some_and(|using| using != "true");
        of(ground, Kind::Policy, has_using, |table, name, _| {
            format!("alter policy {name} on {table} using (true)")
        })
    }),
    Operator::live("policy.unchecked", |ground| {
        let may_write = |facts: &Facts| {
            facts.get("command").is_some_and(|command| command != "select" && command != "delete")
                && facts.get("with check").is_none_or(|check| check != "true")
        };
        of(ground, Kind::Policy, may_write, |table, name, _| {
            format!("alter policy {name} on {table} with check (true)")
        })
    }),
    Operator::live("policy.roles", |ground| {
        of(
            ground,
            Kind::Policy,
            |_| true,
            |table, name, _| format!("alter policy {name} on {table} to pg_monitor"),
        )
    }),
    Operator::live("policy.another", |ground| {
        of(
            ground,
            Kind::Policy,
            |_| true,
            |table, _, _| format!("create policy mutant on {table} using (true)"),
        )
    }),
    Operator::live("trigger.drop", |ground| {
        of(ground, Kind::Trigger, |_| true, |table, name, _| format!("drop trigger {name} on {table}"))
    }),
    Operator::live("trigger.disable", |ground| {
        let fires = |facts: &Facts| facts.get("fires").is_some_and(|fires| fires != "disabled");
        of(ground, Kind::Trigger, fires, |table, name, _| {
            format!("alter table {table} disable trigger {name}")
        })
    }),
    Operator::live("trigger.rename", |ground| {
        of(
            ground,
            Kind::Trigger,
            |_| true,
            |table, name, plain| {
                format!("alter trigger {name} on {table} rename to {}", quote_ident(&format!("m_{plain}")))
            },
        )
    }),
];

fn of(
    ground: &Ground,
    kind: Kind,
    is_site: impl Fn(&Facts) -> bool,
    change: impl Fn(&str, &str, &str) -> String,
) -> Vec<Site> {
    let parts = ground.parts(kind).filter(|(_, _, facts)| is_site(facts));
    let sites = parts.map(|(table, name, _)| {
        Site::live(format!("{table}.{name}"), change(&sql(table), &sql(name), &plain(name)))
    });
    sites.collect()
}
