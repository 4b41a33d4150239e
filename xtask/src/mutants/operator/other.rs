//! What else a schema holds, changed by hand: views, sequences, types, schemas, default privileges, settings.

use super::{Ground, Operator, Site};
use crate::mutants::sql::{grantee, parent, plain, sql};
use pgharness::catalog::{Facts, Kind};
use pgharness::ident::quote_ident;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::live("view.drop", |ground| {
        of(ground, Kind::View, |name, _| Some(format!("drop view {} cascade", sql(name))))
    }),
    Operator::live("view.invoker", |ground| {
        of(ground, Kind::View, |name, facts| {
            let is_invoker = facts.get("options").is_some_and(|options| options.contains("security_invoker"));
            let change =
                if is_invoker { "reset (security_invoker)" } else { "set (security_invoker = true)" };
            Some(format!("alter view {} {change}", sql(name)))
        })
    }),
    Operator::live("sequence.increment", |ground| {
        of(ground, Kind::Sequence, |name, _| Some(format!("alter sequence {} increment by 7", sql(name))))
    }),
    Operator::live("sequence.cycle", |ground| {
        of(ground, Kind::Sequence, |name, facts| {
            let change = if facts.contains_key("cycle") { "no cycle" } else { "cycle" };
            Some(format!("alter sequence {} {change}", sql(name)))
        })
    }),
    Operator::live("type.label", |ground| {
        of(ground, Kind::Type, |name, facts| {
            facts.get("labels")?;
            Some(format!("alter type {} add value 'mutant'", sql(name)))
        })
    }),
    Operator::live("domain.default", |ground| {
        of(ground, Kind::Domain, |name, facts| {
            facts.get("default")?;
            Some(format!("alter domain {} drop default", sql(name)))
        })
    }),
    Operator::live("schema.rename", |ground| {
        of(ground, Kind::Schema, |name, _| {
            let new = quote_ident(&format!("m_{}", plain(parent(name).1)));
            Some(format!("alter schema {} rename to {new}", sql(name)))
        })
    }),
    Operator::live("schema.drop", |ground| {
        of(ground, Kind::Schema, |name, _| Some(format!("drop schema {} cascade", sql(name))))
    }),
    Operator::live("schema.re-own", |ground| {
        let is_known = ground.project.migrations.migrator_role.is_some();
        of(ground, Kind::Schema, |name, _| {
            is_known.then(|| format!("alter schema {} owner to pg_monitor", sql(name)))
        })
    }),
    Operator::live("default-privilege.change", |ground| {
        of(ground, Kind::DefaultPrivilege, |name, facts| {
            let (scope, rest) = name.strip_prefix("of ")?.split_once(" on ")?;
            let (objects, to) = rest.rsplit_once(" to ")?;
            let scope = match scope.split_once(" in ") {
                Some((role, schema)) => format!("for role {} in schema {}", grantee(role), sql(schema)),
                None => format!("for role {}", grantee(scope)),
            };
            let is_taken = facts.get("privileges").is_some_and(|privileges| privileges == "none");
            let change = match is_taken {
                true => format!("grant all on {objects} to {}", grantee(to)),
                false => format!("revoke all on {objects} from {}", grantee(to)),
            };
            Some(format!("alter default privileges {scope} {change}"))
        })
    }),
    Operator::live("database.setting", |_| {
        let change = "do $$ begin execute format('alter database %I set work_mem = ''7MB''', current_database()); end $$";
        vec![Site::live("database", change)]
    }),
];

fn of(ground: &Ground, kind: Kind, change: impl Fn(&str, &Facts) -> Option<String>) -> Vec<Site> {
    let objects = ground.catalog.of_kind(kind);
    objects.filter_map(|(name, facts)| Some(Site::live(name, change(name, facts)?))).collect()
}
