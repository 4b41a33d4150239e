//! `tenancy.schema-search-path`: what a table's name without its schema leads to, and who can plant one.

use super::schemas::{self, Place, Tenant};
use super::trial;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;

/// A name without a schema leads a tenant to its own tables or to none.
pub(in crate::check) struct SchemaSearchPath;

impl Check for SchemaSearchPath {
    fn id(&self) -> &'static str {
        "tenancy.schema-search-path"
    }

    fn summary(&self) -> &'static str {
        "where each tenant has a schema, no `search_path` leads a tenant to what is another's or everybody's"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No tenant's role may create anything in a schema that is not its own. With the `search_path` of one tenant, \
                     as a client before it may have left it on a session, another tenant's role reaches no table by its \
                     bare name. With no `search_path` set, the bare names of a tenant's tables lead to no table that all \
                     tenants share. Functions that are there already are not read.",
            matters: "A name without its schema is whatever comes first on the path. A tenant who may create functions in \
                      `public` decides what runs for all others; a table in `public` with the name of a tenant's table \
                      collects the rows of whoever forgot the path.",
            remedy: "`revoke create on schema public from public`; no tables in `public` that tenants' schemas have too; set \
                     role and path together, and reset them together.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`acme_login`",
            runs: "create function public.total(bigint) …",
            gets: "a function that globex calls when it means its own",
            because: "every role may create in `public`, which is on everybody's path",
            fix: "revoke create on schema public from public",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::TenantSchemas, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::SCHEMA_SEARCH_PATH
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const CHECK: &str = "tenancy.schema-search-path";

/// How many schemas besides the tenants' are tried.
const SCHEMAS_MAX: usize = 50;

#[derive(Default)]
struct Tried {
    probes: usize,
    controls: usize,
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut places = match schemas::places(context).await? {
        Ok(places) => places,
        Err(verdict) => return Ok(verdict),
    };
    if places.iter().all(|place| place.tenants.iter().all(|tenant| tenant.roles.is_empty())) {
        return Ok(Verdict::skipped("no tenant has a role of its own"));
    }
    let mut findings: Vec<Finding> = Vec::new();
    let mut tried = Tried::default();
    for place in &mut places {
        let mut found = Vec::new();
        plantings(place, &mut found, &mut tried).await?;
        for (one, other) in place.pairs() {
            left(place, &one, &other, &mut found, &mut tried).await?;
        }
        for tenant in place.tenants.clone() {
            unset(place, &tenant, &mut found, &mut tried).await?;
        }
        for finding in found {
            if !findings
                .iter()
                .any(|known| known.subject == finding.subject && known.severity == finding.severity)
            {
                findings.push(finding);
            }
        }
    }
    let probes = Measurement::count(CHECK, "probes", tried.probes);
    Ok(Verdict::of(findings).with_measurements([probes, trial::controls(CHECK, tried.controls)]))
}

/// Schemas that a tenant may create in, and that are not its own.
async fn plantings(place: &mut Place, findings: &mut Vec<Finding>, tried: &mut Tried) -> Result<()> {
    let all: Vec<String> = sqlx::query_scalar(
        "select nspname::text from pg_namespace
         where nspname !~ '^pg_' and nspname <> 'information_schema' order by nspname = 'public' desc, nspname collate \"C\"",
    )
    .fetch_all(&mut place.control)
    .await
    .attempt(ErrorKind::Database, || "failed to list the schemas".into())?;
    for tenant in &place.tenants {
        for role in &tenant.roles {
            let Some(mut session) = place.session(role).await? else { continue };
            for schema in all.iter().filter(|schema| **schema != tenant.schema).take(SCHEMAS_MAX) {
                tried.probes += 1;
                let sql = format!(
                    "create function {}.pgharness_planted() returns integer language sql as 'select 1'",
                    quote_ident(schema)
                );
                let probed = session.try_out(&[], sql).await?;
                if probed.outcome.is_err() {
                    continue;
                }
                let is_tenants = place.schemas.contains(schema);
                let login = role.login.clone().unwrap_or_default();
                let steps = ["begin".to_owned(), probed.sql, "rollback".to_owned()]
                    .map(|sql| Evidence::as_role(&login, sql, "done"));
                findings.push(Finding {
                    check: CHECK.into(),
                    class: Class::Mistake,
                    severity: if is_tenants || schema == "public" { Severity::Error } else { Severity::Warning },
                    subject: Subject::new("schema", schema),
                    message: if is_tenants {
                        format!("`{}`, a role of another tenant, may create in schema `{schema}`", role.name)
                    } else {
                        format!(
                            "`{}`, a tenant's role, may create in schema `{schema}`: what it plants there, others run",
                            role.name
                        )
                    },
                    help: format!(
                        "`revoke create on schema {0} from public`, and from {1}",
                        quote_ident(schema),
                        quote_ident(&role.name)
                    ),
                    evidence: place.transcript(role, steps.to_vec()),
                });
            }
        }
    }
    Ok(())
}

/// The path of `one`, left on a session that `other` gets.
async fn left(
    place: &Place,
    one: &Tenant,
    other: &Tenant,
    findings: &mut Vec<Finding>,
    tried: &mut Tried,
) -> Result<()> {
    let Some(role) = other.roles.iter().find(|role| role.login.is_some()) else { return Ok(()) };
    let Some(mut session) = place.session(role).await? else { return Ok(()) };
    let path = |schema: &str| format!("set local search_path = {}", quote_ident(schema));
    for table in &other.tables {
        let read = format!("select count(*) from {}", quote_ident(&table.name.name));
        tried.probes += 1;
        // The control: with its own path the name leads somewhere.
        let own = session.try_out(&[], format!("{}; {read}", path(&other.schema))).await?;
        tried.controls += usize::from(own.outcome.is_ok());
        if session.try_out(&[], format!("{}; {read}", path(&one.schema))).await?.outcome.is_err() {
            continue;
        }
        let login = role.login.clone().unwrap_or_default();
        let steps = vec![
            Evidence::as_role(
                &login,
                format!("set search_path = {}", quote_ident(&one.schema)),
                "left by the client before",
            ),
            Evidence::as_role(
                &login,
                read,
                format!("not refused: it reads `{}.{}`", one.schema, table.name.name),
            ),
        ];
        findings.push(Finding {
            check: CHECK.into(),
            class: Class::Mistake,
            severity: Severity::Error,
            subject: Subject::new(table.kind, format!("{}.{}", one.schema, table.name.name)),
            message: format!(
                "with the `search_path` of another tenant left on the session, `{}` reads `{}.{}`",
                role.name, one.schema, table.name.name
            ),
            help: format!(
                "take from {} what it may do in {}",
                quote_ident(&role.name),
                quote_ident(&one.schema)
            ),
            evidence: place.transcript(role, steps),
        });
    }
    Ok(())
}

/// Bare names of a tenant's tables, where no path was set.
async fn unset(place: &Place, tenant: &Tenant, findings: &mut Vec<Finding>, tried: &mut Tried) -> Result<()> {
    let Some(role) = tenant.roles.iter().find(|role| role.login.is_some()) else { return Ok(()) };
    let Some(mut session) = place.session(role).await? else { return Ok(()) };
    for table in &tenant.tables {
        tried.probes += 1;
        let sql = format!(
            "select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.oid = to_regclass({}) and n.nspname <> {} \
             and (has_any_column_privilege(c.oid, 'select') or has_any_column_privilege(c.oid, 'insert'))",
            quote_literal(&quote_ident(&table.name.name)),
            quote_literal(&tenant.schema)
        );
        let probed = session.try_out(&[], sql).await?;
        let Ok(gave) = probed.outcome else { continue };
        let Some(schema) = gave.lines.first() else { continue };
        let login = role.login.clone().unwrap_or_default();
        let is_tenants = place.schemas.contains(schema);
        findings.push(Finding {
            check: CHECK.into(),
            class: Class::Mistake,
            severity: if is_tenants { Severity::Error } else { Severity::Warning },
            subject: Subject::new("table", format!("{schema}.{}", table.name.name)),
            message: format!(
                "where nobody has set `search_path`, `{}` means `{schema}.{}` to `{}`, which is not its own",
                table.name.name, table.name.name, role.name
            ),
            help: "give tables that tenants share other names than those that each tenant has".into(),
            evidence: place.transcript(role, vec![Evidence::as_role(&login, probed.sql, schema.clone())]),
        });
    }
    Ok(())
}
