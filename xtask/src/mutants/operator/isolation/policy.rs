//! Policies that let through too much, or nothing.

use super::{Ground, MOST, Operator, Site, Table, each, tables};
use crate::mutants::sql::sql;
use pgharness::catalog::{Facts, Kind};

const CROSS_READ: &[&str] = &["tenancy.cross-read"];
const DEAD: &[&str] = &["tenancy.dead-policy"];

pub(in crate::mutants::operator) const OPERATORS: &[Operator] = &[
    Operator::files("tenant.policy-open", CROSS_READ, MOST, |ground| {
        policies(ground, "SELECT", |table, name, _| {
            Some(format!("alter policy {name} on {} using (true)", table.sql))
        })
    }),
    Operator::files("tenant.policy-another", CROSS_READ, MOST, |ground| {
        each(ground, "SELECT", |table| {
            Some(format!("create policy mutant on {} for select using (true)", table.sql))
        })
    }),
    Operator::files("tenant.policy-joined", &["tenancy.permissive-or"], MOST, |ground| {
        each(ground, "SELECT", |table| {
            let Table { sql, column, .. } = table;
            Some(format!("create policy mutant on {sql} using ({column} is not null)"))
        })
    }),
    Operator::files("tenant.security-off", CROSS_READ, MOST, |ground| {
        each(ground, "SELECT", |table| Some(format!("alter table {} disable row level security", table.sql)))
    }),
    Operator::files("tenant.open-without", &["tenancy.no-context"], MOST, |ground| {
        widened(ground, |table| format!("nullif(current_setting({}, true), '') is null", table.setting))
    }),
    Operator::files("tenant.open-empty", &["tenancy.empty-context"], MOST, |ground| {
        widened(ground, |table| format!("current_setting({}, true) = ''", table.setting))
    }),
    Operator::files("tenant.open-malformed", &["tenancy.malformed-context"], MOST, |ground| {
        policies(ground, "SELECT", |table, name, facts| {
            let Table { sql, setting, .. } = table;
            let using = facts.get("using")?;
            Some(format!(
                "alter policy {name} on {sql} using (case when current_setting({setting}, true) ~ '[g-z]' then true \
                 else {using} end)"
            ))
        })
    }),
    Operator::files("tenant.open-unowned", &["tenancy.null-tenant"], MOST, |ground| {
        policies(ground, "SELECT", |table, name, facts| {
            let Table { sql, column, .. } = table;
            let using = facts.get("using")?;
            let key = ground.primary_key(table.name)?;
            Some(format!(
                "alter table {sql} drop constraint {key} cascade, alter column {column} drop not null;\n\
                 alter policy {name} on {sql} using ({using} or {column} is null)"
            ))
        })
    }),
    Operator::files("tenant.insert-unchecked", &["tenancy.cross-insert"], MOST, |ground| {
        policies(ground, "INSERT", |table, name, _| {
            Some(format!("alter policy {name} on {} with check (true)", table.sql))
        })
    }),
    Operator::files("tenant.insert-open", &["tenancy.cross-insert"], MOST, |ground| {
        each(ground, "INSERT", |table| {
            Some(format!("create policy mutant on {} for insert with check (true)", table.sql))
        })
    }),
    Operator::files("tenant.update-open", &["tenancy.cross-update"], MOST, |ground| {
        each(ground, "UPDATE", |table| {
            Some(format!("create policy mutant on {} using (true) with check (true)", table.sql))
        })
    }),
    Operator::files("tenant.delete-open", &["tenancy.cross-delete"], MOST, |ground| {
        each(ground, "DELETE", |table| Some(format!("create policy mutant on {} using (true)", table.sql)))
    }),
    Operator::files("tenant.policy-closed", DEAD, MOST, |ground| {
        policies(ground, "SELECT", |table, name, _| {
            Some(format!("alter policy {name} on {} using (false)", table.sql))
        })
    }),
    Operator::files("tenant.policy-missing", DEAD, MOST, |ground| {
        policies(ground, "SELECT", |table, name, _| Some(format!("drop policy {name} on {}", table.sql)))
    }),
    Operator::files("tenant.policy-elsewhere", DEAD, MOST, |ground| {
        policies(ground, "SELECT", |table, name, _| {
            Some(format!("alter policy {name} on {} to pg_monitor", table.sql))
        })
    }),
    // The planner believes what a function says of itself.
    Operator::files("tenant.context-constant", &["tenancy.stale-plan"], MOST, |ground| {
        policies(ground, "SELECT", |table, name, _| {
            let Table { sql, schema, column, setting, .. } = table;
            let kind = ground.type_of(table.name, column)?;
            Some(format!(
                "create function {schema}.mutant() returns {kind} language sql immutable \
                 return nullif(current_setting({setting}, true), '')::{kind};\n\
                 grant execute on function {schema}.mutant() to public;\n\
                 alter policy {name} on {sql} using ({column} = {schema}.mutant())"
            ))
        })
    }),
];

/// The policies for everybody and every verb on tables on which a service has `privilege`.
fn policies(
    ground: &Ground,
    privilege: &str,
    change: impl Fn(&Table<'_>, &str, &Facts) -> Option<String>,
) -> Vec<Site> {
    let tables = tables(ground, privilege);
    let is = |facts: &Facts, fact: &str, value: &str| facts.get(fact).is_some_and(|is| is == value);
    let sites = ground.parts(Kind::Policy).filter_map(|(of, name, facts)| {
        (is(facts, "command", "all") && is(facts, "roles", "public")).then_some(())?;
        let table = tables.iter().find(|table| table.name == of)?;
        ground.changed(of, &format!("{of}.{name}"), &change(table, &sql(name), facts)?)
    });
    sites.collect()
}

/// Policies that let through rows on another condition too.
fn widened(ground: &Ground, condition: impl Fn(&Table<'_>) -> String) -> Vec<Site> {
    policies(ground, "SELECT", |table, name, facts| {
        let using = facts.get("using")?;
        Some(format!("alter policy {name} on {} using ({using} or {})", table.sql, condition(table)))
    })
}
