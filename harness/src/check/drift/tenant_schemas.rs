//! `drift.tenant-schemas`: where each tenant has a schema, all of them are alike.

use super::committed::committable;
use super::evidence;
use super::reader::Live;
use crate::catalog::{Catalog, Change, Kind, Object, What, diff, schema_of, unquoted};
use crate::check::onboarding::with_two_tenants;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict, matches};
use crate::error::Result;
use crate::finding::{Evidence, Finding};
use std::collections::BTreeMap;

/// All schemas of tenants are alike.
pub(in crate::check) struct TenantSchemas;

impl Check for TenantSchemas {
    fn id(&self) -> &'static str {
        "drift.tenant-schemas"
    }

    fn summary(&self) -> &'static str {
        "where each tenant has a schema, all of them are alike"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The schemas whose names are like `tenancy.schemas` hold the same objects with the same facts, \
                     apart from the tenant's name in those of schemas, roles and texts: those that migrations and \
                     fixtures bring about, and two that `tenancy.onboard` creates; and those of a live database \
                     (`pgharness drift --live URL`) among themselves. What most of them have in common is taken for \
                     what is meant.",
            matters: "A migration that visits the schemas of all tenants, and a procedure that creates one for the \
                      next, are two descriptions of one thing. Where they part, the newest tenants lack a column that \
                      the code uses, or the oldest an index.",
            remedy: "Change the procedure together with the migration that visits the schemas that exist.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::TenantSchemas]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("drift.tenant-schemas":
            "bad_forgotten.sql", "bad_grant.sql", "bad_live.sql", "bad_onboarded.sql", "good.sql",
            "good_onboarded.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let Some((tenancy, pattern)) =
        project.tenancy.as_ref().and_then(|tenancy| Some((tenancy, tenancy.schemas.as_deref()?)))
    else {
        return Ok(Verdict::skipped("`tenancy.schemas` is not set"));
    };
    let db = context.database().await?;
    let mut connection = db.connection().await?;
    let existing = Catalog::read(&mut connection).await?;
    let mut tenants = tenants(&committable(project, existing), pattern);
    if let Some(onboard) = &tenancy.onboard {
        let other = with_two_tenants(context, onboard).await?;
        let made = Catalog::read(&mut other.db.connection().await?).await?;
        for (schema, made) in self::tenants(&committable(project, made), pattern) {
            tenants.entry(schema).or_insert(made);
        }
    }
    let mut places = vec![(None, tenants)];
    if let Some(url) = &project.live {
        let live = Live::read(url).await?;
        let place = format!("live database `{}`", live.database);
        places.push((Some(place), self::tenants(&committable(project, live.catalog), pattern)));
    }
    let most = places.iter().map(|(_, tenants)| tenants.len()).max().unwrap_or_default();
    if most < 2 {
        return Ok(Verdict::skipped(format!(
            "{} like `{pattern}` (`tenancy.schemas`): nothing to compare",
            count(most)
        )));
    }
    let mut findings = Vec::new();
    // What was onboarded in another database is not to be seen in the project's.
    let role = db.server().endpoint().role();
    let role = tenancy.onboard.is_none().then_some(role);
    for (place, tenants) in &places {
        let role = role.filter(|_| place.is_none());
        let Some((norm, meant)) = most_common(tenants) else { continue };
        for (schema, tenant) in tenants {
            let changes = diff(meant, tenant);
            findings
                .extend(changes.iter().map(|change| finding(change, norm, schema, (role, place.as_deref()))));
        }
    }
    Ok(Verdict::of(findings))
}

fn count(schemas: usize) -> &'static str {
    if schemas == 0 { "there is no schema" } else { "there is one schema" }
}

/// What stands for the tenant in names and texts.
const TENANT: &str = "{tenant}";

/// The objects of each schema that is like `pattern`, by its name, with [`TENANT`] in place of the tenant.
fn tenants(catalog: &Catalog, pattern: &str) -> BTreeMap<String, Catalog> {
    let schemas =
        catalog.of_kind(Kind::Schema).map(|(name, _)| name).filter(|name| matches(pattern, &unquoted(name)));
    schemas
        .map(|schema| {
            let tenant = Tenant::of(schema, pattern);
            let objects = catalog.objects().filter_map(|(kind, name, facts)| {
                let shown = tenant.hidden_in(name);
                let is_own = schema_of(kind, name) == Some(schema) || (kind == Kind::Role && shown != name);
                is_own.then(|| {
                    facts.iter().fold(Object::new(kind, shown), |object, (fact, value)| {
                        object.with_fact(fact, tenant.hidden_in(value))
                    })
                })
            });
            (schema.to_owned(), Catalog::new(objects))
        })
        .collect()
}

/// The catalog that most of them have, with the first schema that has it.
fn most_common(tenants: &BTreeMap<String, Catalog>) -> Option<(&str, &Catalog)> {
    let shared = |catalog: &Catalog| tenants.values().filter(|other| *other == catalog).count();
    let most = tenants.values().map(shared).max()?;
    tenants
        .iter()
        .find(|(_, catalog)| shared(catalog) == most)
        .map(|(schema, catalog)| (schema.as_str(), catalog))
}

/// How a tenant is known.
struct Tenant {
    /// Its schema, as the catalog writes it and without quotes.
    schema: [String; 2],
    /// What stands for `*` in the pattern.
    key: String,
}

impl Tenant {
    fn of(schema: &str, pattern: &str) -> Tenant {
        let bare = unquoted(schema);
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        let key = bare
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .unwrap_or_default()
            .to_owned();
        Tenant { schema: [schema.to_owned(), bare], key }
    }

    /// `text` without the tenant's name: its schema, also as a part of another name (`app_tenant_a`), and its key where
    /// that is a whole literal or the part of a name after an underscore.
    fn hidden_in(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for name in &self.schema {
            shown = replaced(&shown, name);
        }
        if self.key.is_empty() {
            shown
        } else {
            shown.replace(&format!("'{}'", self.key), &format!("'{TENANT}'"))
        }
    }
}

/// `text` with [`TENANT`] in place of `name` where that is no part of a longer word; underscores part words.
fn replaced(text: &str, name: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, tail) = rest.split_at(at);
        let after = &tail[name.len()..];
        let is_part = shown.chars().chain(before.chars()).next_back().is_some_and(char::is_alphanumeric)
            || after.chars().next().is_some_and(char::is_alphanumeric);
        shown.push_str(before);
        shown.push_str(if is_part { name } else { TENANT });
        rest = after;
    }
    shown + rest
}

/// The schemas lie in the project's database, where `role` sees them, or else in `place` or in one of the check's own.
fn finding(
    change: &Change,
    norm: &str,
    schema: &str,
    (role, place): (Option<&str>, Option<&str>),
) -> Finding {
    let named = |name: &str| change.name.replace(TENANT, &unquoted(name));
    let own = Change { name: named(schema), ..change.clone() };
    let object = evidence::object(&own);
    let (message, seen) = match &change.what {
        What::Added => (
            format!("{object} has nothing like it in schema `{norm}`"),
            ["not there", "there"].map(String::from),
        ),
        What::Removed => {
            (format!("{object} is missing; schema `{norm}` has it"), ["there", "not there"].map(String::from))
        }
        What::Changed { fact, from, to } => (
            format!("{object} has another `{fact}` than in schema `{norm}`"),
            [from, to].map(|value| format!("{fact}: {}", value.as_deref().unwrap_or("none"))),
        ),
    };
    let [there, here] = seen;
    let place = place.map(|place| format!("{place}, ")).unwrap_or_default();
    let step = |name: String, result| match role {
        Some(role) => Evidence::as_role(role, evidence::look(change.kind, &name), result),
        None => Evidence::step(format!("{place}{} {name}", change.kind), result),
    };
    let evidence = vec![step(named(norm), there), step(own.name.clone(), here)];
    let help =
        "change the procedure that creates tenants together with the migration that visits those that exist";
    evidence::finding(TenantSchemas.id(), &own, change.severity(), message, help, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tenant_a", "tenant_a.t", "{tenant}.t")]
    #[case("tenant_a", "tenant_ab.t", "tenant_ab.t")]
    #[case("tenant_a", "table tenant_a.t to app_tenant_a", "table {tenant}.t to app_{tenant}")]
    #[case("tenant_a", "mytenant_a", "mytenant_a")]
    #[case("tenant_a", "CHECK (key = 'a'::text)", "CHECK (key = '{tenant}'::text)")]
    #[case("\"tenant_a-b\"", "\"tenant_a-b\".t", "{tenant}.t")]
    #[case("\"tenant_a-b\"", "role \"app_tenant_a-b\"", "role \"app_{tenant}\"")]
    fn the_tenant_is_hidden(#[case] schema: &str, #[case] text: &str, #[case] expect: &str) {
        assert_eq!(Tenant::of(schema, "tenant_*").hidden_in(text), expect);
    }

    #[test]
    fn what_most_have_is_meant() {
        let catalog = |name: &str| Catalog::new([Object::new(Kind::Table, name)]);
        let tenants: BTreeMap<String, Catalog> = [("a", "x"), ("b", "y"), ("c", "y")]
            .map(|(schema, table)| (schema.to_owned(), catalog(table)))
            .into();
        assert_eq!(most_common(&tenants), Some(("b", &catalog("y"))));
        assert_eq!(most_common(&BTreeMap::new()), None);
    }
}
