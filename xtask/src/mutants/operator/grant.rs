//! Rights given and taken by hand.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{grant, grantee, parent, sql};
use pgharness::catalog::Kind;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("grant.revoke", |ground| {
        grants(ground, |on, to, privileges| match privileges {
            // It is the default that was taken back.
            "none" => Some(format!("grant all{on} to {to}")),
            _ => Some(format!("revoke all{on} from {to} cascade")),
        })
    }),
    Operator::live("grant.pass-on", |ground| {
        grants(ground, |on, to, privileges| {
            let is_giveable = to != "public" && privileges != "none" && !privileges.contains("grant option");
            is_giveable.then(|| format!("grant all{on} to {to} with grant option"))
        })
    }),
    Operator::live("grant.widen", |ground| {
        grants(ground, |on, to, privileges| {
            let is_part = !privileges.starts_with("ALL") && privileges != "none" && privileges != "EXECUTE";
            is_part.then(|| format!("grant all{on} to {to}"))
        })
    }),
    Operator::live("grant.public", |ground| {
        let sites = ground
            .tables()
            .map(|(name, _)| Site::live(name, format!("grant select on table {} to public", sql(name))));
        sites.collect()
    }),
    Operator::live("grant.column", |ground| {
        let sites = ground.columns().map(|(table, column, _)| {
            let change = format!("grant select ({}) on table {} to pg_monitor", sql(column), sql(table));
            Site::live(format!("{table}.{column}"), change)
        });
        sites.collect()
    }),
    Operator::live("schema.open", |ground| {
        let sites = ground
            .catalog
            .of_kind(Kind::Schema)
            .map(|(name, _)| Site::live(name, format!("grant create on schema {} to public", sql(name))));
        sites.collect()
    }),
];

/// Grants on what can be granted on: `change` is told ` on table "a"."b"`, the grantee and the privileges.
fn grants(ground: &Ground, change: impl Fn(&str, &str, &str) -> Option<String>) -> Vec<Site> {
    let sites = ground.catalog.of_kind(Kind::Grant).filter_map(|(name, facts)| {
        let (kind, object, to) = grant(name)?;
        let on = match kind {
            Kind::Table | Kind::View | Kind::MaterializedView | Kind::ForeignTable => {
                format!(" on table {}", sql(object))
            }
            Kind::Column => {
                let (table, column) = parent(object);
                format!(" ({}) on table {}", sql(column), sql(table))
            }
            Kind::Schema | Kind::Sequence | Kind::Function | Kind::Procedure | Kind::Type | Kind::Domain => {
                format!(" on {kind} {}", sql(object))
            }
            _ => return None,
        };
        Some(Site::live(name, change(&on, &grantee(to), facts.get("privileges")?)?))
    });
    sites.collect()
}
