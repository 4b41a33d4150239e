//! Roles with more power than a service needs, or less: they are the server's, so each has one of its own.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{parent, sql};
use pgharness::ident::quote_ident;
use std::collections::BTreeSet;

/// So many servers are started by each operator.
const MOST: usize = 3;
const ATTRIBUTES: &[&str] = &["access.role-attributes"];
const OWNER: &[&str] = &["access.owner-login"];

pub(super) const OPERATORS: &[Operator] = &[
    Operator::files("role.superuser", ATTRIBUTES, MOST, |ground| attribute(ground, "superuser")),
    Operator::files("role.bypassrls", ATTRIBUTES, MOST, |ground| attribute(ground, "bypassrls")),
    Operator::files("role.createrole", ATTRIBUTES, MOST, |ground| attribute(ground, "createrole")),
    Operator::files("role.createdb", ATTRIBUTES, MOST, |ground| attribute(ground, "createdb")),
    Operator::files("role.replication", ATTRIBUTES, MOST, |ground| attribute(ground, "replication")),
    Operator::files("role.server-files", ATTRIBUTES, MOST, |ground| {
        services(ground, |role| format!("grant pg_read_server_files to {role}"))
    }),
    Operator::files("role.owner", OWNER, MOST, |ground| {
        let owners: BTreeSet<&String> = ground.tables().filter_map(|(_, facts)| facts.get("owner")).collect();
        let owners = owners.into_iter().map(|owner| quote_ident(owner)).collect::<Vec<_>>().join(", ");
        services(ground, |role| format!("grant {owners} to {role}"))
    }),
    Operator::files("role.sees-all", &["tenancy.cross-read"], MOST, |ground| {
        tenants(ground, |role| format!("alter role {role} bypassrls; grant pg_read_all_data to {role}"))
    }),
    Operator::files("role.becomes", &["tenancy.reachable-role"], MOST, |ground| {
        tenants(ground, |role| {
            format!(
                "create role mutant bypassrls; grant pg_read_all_data to mutant; \
                 alter role {role} noinherit; grant mutant to {role}"
            )
        })
    }),
    Operator::files("role.no-timeouts", &["operations.capacity"], MOST, |ground| {
        services(ground, |role| format!("alter role {role} reset all"))
    }),
    Operator::files("role.no-connection", &["operations.readiness"], MOST, |ground| {
        services(ground, |role| format!("alter role {role} connection limit 0"))
    }),
    Operator::files("table.of-service", &["tenancy.owner"], MOST, |ground| owned(ground, "")),
    Operator::files("table.unforced", &["tenancy.forced"], MOST, |ground| {
        owned(ground, "no force row level security")
    }),
];

fn attribute(ground: &Ground, attribute: &str) -> Vec<Site> {
    services(ground, |role| format!("alter role {role} {attribute}"))
}

/// The roles of the matrix, each changed in a server of its own.
fn services(ground: &Ground, change: impl Fn(&str) -> String) -> Vec<Site> {
    changed(ground, ground.project.access.matrix.keys(), change)
}

/// The roles that work for one tenant at a time.
fn tenants(ground: &Ground, change: impl Fn(&str) -> String) -> Vec<Site> {
    changed(ground, ground.project.tenancy.iter().flat_map(|tenancy| &tenancy.roles), change)
}

fn changed<'a>(
    ground: &Ground,
    roles: impl Iterator<Item = &'a String>,
    change: impl Fn(&str) -> String,
) -> Vec<Site> {
    let sites = roles.map(|role| {
        let change = change(&quote_ident(role));
        Site::files(role, ground.files.folder.clone().prepared_by(format!("{change};\n")))
    });
    sites.collect()
}

/// Tables of tenants that belong to a role which a service connects as.
fn owned(ground: &Ground, change: &str) -> Vec<Site> {
    let Some(tenancy) = &ground.project.tenancy else { return Vec::new() };
    let Some(service) = tenancy.roles.first() else { return Vec::new() };
    let service = quote_ident(service);
    let sites = ground.guarded(tenancy).filter_map(|(table, facts)| {
        let owner = quote_ident(facts.get("owner")?);
        let name = sql(table);
        let first = if change.is_empty() { String::new() } else { format!("alter table {name} {change};\n") };
        let schema = sql(parent(table).0);
        let change = format!(
            "{first}grant usage, create on schema {schema} to {service};\nalter table {name} owner to {service}"
        );
        let folder = ground.followed_by_owner(facts, &change)?;
        Some(Site::files(table, folder.prepared_by(format!("grant {service} to {owner};\n"))))
    });
    sites.collect()
}
