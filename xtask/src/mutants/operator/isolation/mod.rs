//! One more file that opens a tenant's rows to others: not only another schema, but a leak that is shown.

mod detour;
mod key;
mod policy;

use super::{Ground, Operator, Site};
use crate::mutants::sql::{grant, is_given, parent, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::check::{TenancyModel, matches};
use pgharness::ident::{quote_ident, quote_literal};

pub(super) const OPERATORS: [&[Operator]; 3] = [policy::OPERATORS, detour::OPERATORS, key::OPERATORS];

/// So many databases are opened by each operator.
const MOST: usize = 8;

/// A table of tenants' rows, and a role of theirs that may reach it.
struct Table<'a> {
    name: &'a str,
    facts: &'a Facts,
    /// The table, quoted.
    sql: String,
    /// The schema that it is in, quoted.
    schema: String,
    /// The tenant's column, quoted.
    column: String,
    /// The tenant's setting, as a literal.
    setting: String,
    /// A role of a service with the privilege that was asked for.
    role: String,
}

impl Table<'_> {
    fn is_partitioned(&self) -> bool {
        self.facts.contains_key("partition key")
    }
}

/// The tables of tenants on which a role of a service has `privilege`, each with one that does.
fn tables<'a>(ground: &'a Ground, privilege: &str) -> Vec<Table<'a>> {
    let Some(tenancy) = ground.project.tenancy.as_ref().filter(|tenancy| tenancy.model == TenancyModel::Rls)
    else {
        return Vec::new();
    };
    let Some(setting) = &tenancy.setting else { return Vec::new() };
    let holder = |table: &str| {
        tenancy.roles.iter().find(|role| {
            ground.catalog.of_kind(Kind::Grant).any(|(name, facts)| {
                grant(name).is_some_and(|(kind, on, to)| kind == Kind::Table && on == table && to == *role)
                    && facts.get("privileges").is_some_and(|given| is_given(given, privilege))
            })
        })
    };
    let is_exempt = |table: &str| tenancy.exempt.iter().any(|pattern| matches(pattern, table));
    let tables = ground.guarded(tenancy).filter(|(name, _)| !is_exempt(name)).filter_map(|(name, facts)| {
        Some(Table {
            name,
            facts,
            sql: sql(name),
            schema: sql(parent(name).0),
            column: quote_ident(&tenancy.column),
            setting: quote_literal(setting),
            role: quote_ident(holder(name)?),
        })
    });
    tables.collect()
}

/// One site for each table of tenants on which a service has `privilege`.
fn each(ground: &Ground, privilege: &str, change: impl Fn(&Table<'_>) -> Option<String>) -> Vec<Site> {
    let sites = tables(ground, privilege).into_iter().filter_map(|table| {
        let change = change(&table)?;
        ground.changed(table.name, table.name, &change)
    });
    sites.collect()
}
