//! Functions and procedures changed by hand.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{parent, plain, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::ident::{quote_ident, quote_literal};

const BOTH: &[Kind] = &[Kind::Function, Kind::Procedure];
const FUNCTIONS: &[Kind] = &[Kind::Function];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("routine.drop", |ground| {
        routines(ground, BOTH, |routine, _| Some(format!("drop {routine} cascade")))
    }),
    Operator::live("routine.rename", |ground| {
        let sites = of(ground, BOTH).map(|(kind, name, _)| {
            let own = parent(name.split('(').next().unwrap_or(name)).1;
            let new = quote_ident(&format!("m_{}", plain(own)));
            Site::live(name, format!("alter {kind} {} rename to {new}", sql(name)))
        });
        sites.collect()
    }),
    Operator::live("routine.definer", |ground| {
        routines(ground, BOTH, |routine, facts| {
            let security = if facts.contains_key("security") { "invoker" } else { "definer" };
            Some(format!("alter {routine} security {security}"))
        })
    }),
    Operator::live("routine.search-path", |ground| {
        routines(ground, BOTH, |routine, facts| {
            let has_path = facts.get("settings").is_some_and(|settings| settings.contains("search_path="));
            let change = if has_path { "reset search_path" } else { "set search_path = public" };
            Some(format!("alter {routine} {change}"))
        })
    }),
    Operator::live("routine.re-own", |ground| {
        let is_known = ground.project.migrations.migrator_role.is_some();
        routines(ground, BOTH, |routine, _| is_known.then(|| format!("alter {routine} owner to pg_monitor")))
    }),
    Operator::live("routine.body", |ground| {
        let sites = of(ground, BOTH).filter_map(|(_, name, facts)| {
            facts.get("language").filter(|language| *language == "plpgsql")?;
            let routine = quote_literal(&sql(name));
            let change = format!(
                "do $$ begin execute regexp_replace(pg_get_functiondef({routine}::regprocedure), '\\mend(\\s*;?\\s*\\$)', \
                 'perform 1; end\\1', 'i'); end $$"
            );
            Some(Site::live(name, change))
        });
        sites.collect()
    }),
    Operator::live("function.volatility", |ground| {
        routines(ground, FUNCTIONS, |routine, facts| {
            let volatility = if facts.contains_key("volatility") { "volatile" } else { "stable" };
            Some(format!("alter {routine} {volatility}"))
        })
    }),
    Operator::live("function.strict", |ground| {
        routines(ground, FUNCTIONS, |routine, facts| {
            let change = if facts.contains_key("strict") { "called on null input" } else { "strict" };
            Some(format!("alter {routine} {change}"))
        })
    }),
    Operator::live("function.leakproof", |ground| {
        let open = |facts: &Facts| !facts.contains_key("leakproof");
        routines(ground, FUNCTIONS, |routine, facts| {
            open(facts).then(|| format!("alter {routine} leakproof"))
        })
    }),
];

fn of<'a>(ground: &'a Ground, kinds: &'a [Kind]) -> impl Iterator<Item = (Kind, &'a str, &'a Facts)> {
    kinds.iter().flat_map(|kind| ground.catalog.of_kind(*kind).map(|(name, facts)| (*kind, name, facts)))
}

/// `change` is told `function "a"."f"(integer)`.
fn routines(ground: &Ground, kinds: &[Kind], change: impl Fn(&str, &Facts) -> Option<String>) -> Vec<Site> {
    let sites = of(ground, kinds).filter_map(|(kind, name, facts)| {
        Some(Site::live(name, change(&format!("{kind} {}", sql(name)), facts)?))
    });
    sites.collect()
}
