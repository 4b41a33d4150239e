//! One more file that opens a tenant's rows to others: not only another schema, but a leak that is shown.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{grant, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::check::{TenancyModel, matches};
use pgharness::ident::quote_literal;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::files("tenant.policy-open", &["tenancy.cross-read"], 6, |ground| {
        policies(ground, "SELECT", &["all", "select"], |table, name, _, _| {
            Some(format!("alter policy {name} on {table} using (true)"))
        })
    }),
    Operator::files("tenant.policy-another", &["tenancy.cross-read"], 6, |ground| {
        policies(ground, "SELECT", &["all", "select"], |table, _, _, _| {
            Some(format!("create policy mutant on {table} for select using (true)"))
        })
    }),
    Operator::files("tenant.security-off", &["tenancy.cross-read"], 6, |ground| {
        policies(ground, "SELECT", &["all", "select"], |table, _, _, _| {
            Some(format!("alter table {table} disable row level security"))
        })
    }),
    Operator::files("tenant.open-without", &["tenancy.no-context"], 6, |ground| {
        policies(ground, "SELECT", &["all", "select"], |table, name, facts, setting| {
            let using = facts.get("using")?;
            let setting = quote_literal(setting);
            Some(format!(
                "alter policy {name} on {table} using ({using} or nullif(current_setting({setting}, true), '') is null)"
            ))
        })
    }),
    Operator::files("tenant.write-unchecked", &["tenancy.cross-insert"], 6, |ground| {
        policies(ground, "INSERT", &["all", "insert"], |table, name, _, _| {
            Some(format!("alter policy {name} on {table} with check (true)"))
        })
    }),
];

/// The policies of the tenants' tables with which a tenant's role may do `privilege`.
fn policies(
    ground: &Ground,
    privilege: &str,
    commands: &[&str],
    change: impl Fn(&str, &str, &Facts, &str) -> Option<String>,
) -> Vec<Site> {
    let Some(tenancy) = ground.project.tenancy.as_ref().filter(|tenancy| tenancy.model == TenancyModel::Rls)
    else {
        return Vec::new();
    };
    let Some(setting) = &tenancy.setting else { return Vec::new() };
    let may = |table: &str| {
        ground.catalog.of_kind(Kind::Grant).any(|(name, facts)| {
            let Some((Kind::Table, on, to)) = grant(name) else { return false };
            let is_given = |privileges: &String| {
                privileges.starts_with("ALL") || privileges.split(", ").any(|given| given == privilege)
            };
            on == table
                && tenancy.roles.iter().any(|role| role == to)
                && facts.get("privileges").is_some_and(is_given)
        })
    };
    let is_tenants = |table: &str| {
        let column = format!("{table}.{}", tenancy.column);
        ground.catalog.get(Kind::Column, &column).is_some()
            && !tenancy.exempt.iter().any(|pattern| matches(pattern, table))
    };
    let sites = ground.parts(Kind::Policy).filter_map(|(table, name, facts)| {
        let is_wanted = commands.iter().any(|command| facts.get("command").is_some_and(|is| is == command));
        (is_wanted && is_tenants(table) && may(table)).then_some(())?;
        let change = change(&sql(table), &sql(name), facts, setting)?;
        let role = ground.role(ground.catalog.get(Kind::Table, table)?);
        let folder = ground.files.followed_by(ground.files.migrations.len(), &format!("{role}{change};"))?;
        Some(Site::files(format!("{table}.{name}"), folder))
    });
    sites.collect()
}
