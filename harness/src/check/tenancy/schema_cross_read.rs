//! `tenancy.schema-cross-read`: whether a tenant's role reaches another tenant's schema.

use super::canary;
use super::direct::joined;
use super::probe::{Session, Why};
use super::roles::{done_by, grouped, listed};
use super::schemas::{self, Place, Role, Table, Tenant};
use super::search;
use super::trial;
use super::wording::rows;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::fixture::rows::{Rows, Step, Wish};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;
use std::collections::BTreeMap;

/// No tenant's role reaches what another tenant keeps in its schema.
pub(in crate::check) struct SchemaCrossRead;

impl Check for SchemaCrossRead {
    fn id(&self) -> &'static str {
        "tenancy.schema-cross-read"
    }

    fn summary(&self) -> &'static str {
        "where each tenant has a schema, no tenant's role reaches another's"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For every two schemas like `tenancy.schemas`, a session of the one tenant's role tries to read, insert, \
                     update, delete and truncate each table of the other, and reads views; then it searches everything \
                     else that it may read for texts that were written into the other's tables. The session logs in as \
                     the project does: as the role itself, or as a role that may SET ROLE to it. Tenants that \
                     `tenancy.onboard` creates are attacked too. A tenant's role is one that is named for it, or may use \
                     no other tenant's schema.",
            matters: "Between schemas nothing but privileges keeps tenants apart. A grant to PUBLIC, a grant in a hurry to \
                      the wrong role, or a view in a shared schema opens one tenant to all.",
            remedy: "Grant each schema and its tables to the tenant's own role only, in the procedure that creates tenants, \
                     and nothing to PUBLIC.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`gateway`, and becomes A's role",
            runs: "select text from tenant_globex.notes",
            gets: "what globex noted",
            because: "the schema and its table are granted to PUBLIC, which every role is part of",
            fix: "revoke all on schema tenant_globex from public",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::TenantSchemas, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::SCHEMA_CROSS_READ
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const CHECK: &str = "tenancy.schema-cross-read";

/// How much was tried.
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
    let mut findings = Vec::new();
    let mut tried = Tried::default();
    for place in &mut places {
        attack(place, &mut findings, &mut tried).await?;
    }
    // What is so in one database and in the other is said once.
    let mut known: Vec<(Subject, String)> = Vec::new();
    findings.retain(|finding: &Finding| {
        let key = (finding.subject.clone(), finding.message.clone());
        let is_new = !known.contains(&key);
        known.push(key);
        is_new
    });
    let probes = Measurement::count(CHECK, "probes", tried.probes);
    Ok(Verdict::of(findings).with_measurements([probes, trial::controls(CHECK, tried.controls)]))
}

async fn attack(place: &mut Place, findings: &mut Vec<Finding>, tried: &mut Tried) -> Result<()> {
    let together = shared_by_all(place).await?;
    if place.tenants.iter().all(|tenant| tenant.roles.is_empty()) && !together.is_empty() {
        findings.push(one_role(place, &together));
        return Ok(());
    }
    for tenant in &place.tenants {
        if !tenant.roles.iter().any(|role| role.login.is_some()) {
            findings.push(schemas::uncovered(
                CHECK,
                tenant,
                "it has no role that somebody can log in as or become",
            ));
        } else if !reads_own(place, tenant, tried).await? {
            findings.push(schemas::uncovered(
                CHECK,
                tenant,
                "its role does not even read a table of its own",
            ));
        }
    }
    let mut sessions = Vec::new();
    for tenant in &place.tenants {
        for role in &tenant.roles {
            let session = place.session(role).await?;
            sessions.extend(session.map(|session| (tenant.schema.clone(), role.clone(), session)));
        }
    }
    for other in &place.tenants {
        for table in other.tables.iter().filter(|table| !table.is_enabled) {
            let mut each = Vec::new();
            for (_, role, session) in sessions.iter_mut().filter(|(schema, ..)| *schema != other.schema) {
                each.push((role.name.clone(), try_all(session, table, tried).await?));
            }
            for (names, done) in grouped(each).into_iter().filter(|(_, done)| !done.is_empty()) {
                let role = sessions.iter().map(|(_, role, _)| role).find(|role| names.contains(&role.name));
                findings.extend(role.map(|role| reached(place, role, &names, table, &done)));
            }
        }
    }
    let mut rows_of = Rows::read(&mut place.control).await?;
    for tenant in place.tenants.clone() {
        elsewhere(place, &mut rows_of, &tenant, findings, tried).await?;
    }
    Ok(())
}

/// Roles that somebody can log in as, and that may use the schemas of several tenants.
async fn shared_by_all(place: &mut Place) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select r.rolname::text from pg_roles r
         where r.rolcanlogin and not r.rolsuper and r.rolname !~ '^pg_'
            and (select count(*) from unnest($1) other where has_schema_privilege(r.oid, other, 'usage')) > 1
         order by r.rolname collate \"C\"",
    )
    .bind(&place.schemas)
    .fetch_all(&mut place.control)
    .await
    .attempt(ErrorKind::Database, || "failed to look for roles that use several tenants' schemas".into())
}

fn one_role(place: &Place, roles: &[String]) -> Finding {
    let who = listed(roles);
    let role = roles.first().cloned().unwrap_or_default();
    let uses = place.tenants.iter().take(2).map(|tenant| {
        let sql = format!("select has_schema_privilege({}, 'usage')", quote_literal(&tenant.schema));
        Evidence::as_role(&role, sql, "true")
    });
    Finding {
        check: CHECK.into(),
        class: Class::TrustBoundary,
        severity: Severity::Warning,
        subject: Subject::new("role", &role),
        message: format!(
            "{who} may use the schemas of all tenants: nothing but `search_path` keeps them apart"
        ),
        help:
            "if that is meant, allow it; else give each tenant a role of its own, and let the pool SET ROLE"
                .into(),
        evidence: place.onboarding.iter().cloned().chain(uses).collect(),
    }
}

/// The control: a tenant's role reads a table of its own.
async fn reads_own(place: &Place, tenant: &Tenant, tried: &mut Tried) -> Result<bool> {
    for role in &tenant.roles {
        let Some(mut session) = place.session(role).await? else { continue };
        for table in &tenant.tables {
            let sql = format!("select count(*) from {}", table.name.sql());
            if session.try_out(&[], sql).await?.outcome.is_ok() {
                tried.controls += 1;
                return Ok(true);
            }
        }
    }
    Ok(tenant.tables.is_empty())
}

/// What was not refused: a verb, the statement, and what came of it.
type Done = Vec<(&'static str, String, String)>;

async fn try_all(session: &mut Session, table: &Table, tried: &mut Tried) -> Result<Done> {
    let name = table.name.sql();
    let mut statements = vec![("reads", format!("select count(*) from {name}"))];
    if matches!(table.kind, "table" | "partitioned table") {
        statements.push(("inserts into", format!("insert into {name} default values")));
        if let Some(column) = &table.column {
            statements.push(("updates", format!("update {name} set {} = default", quote_ident(column))));
        }
        statements.push(("deletes from", format!("delete from {name}")));
        statements.push(("truncates", format!("truncate {name}")));
    }
    let mut done = Done::new();
    for (verb, sql) in statements {
        tried.probes += 1;
        let probed = session.try_out(&[], sql).await?;
        match probed.outcome {
            Ok(gave) => {
                let count = match gave.lines.first().filter(|_| verb == "reads") {
                    Some(count) => count.parse().unwrap_or_default(),
                    None => i64::try_from(gave.affected).unwrap_or(i64::MAX),
                };
                done.push((verb, probed.sql, format!("not refused: {}", rows(count))));
            }
            Err(refusal) if refusal.code == "42501" || refusal.why == Why::Circumstances => {}
            // It went past the privileges: what stopped it is in the rows.
            Err(refusal) => done.push((verb, probed.sql, format!("not refused, but failed ({refusal})"))),
        }
    }
    Ok(done)
}

fn reached(place: &Place, role: &Role, names: &[String], table: &Table, done: &Done) -> Finding {
    let verbs: Vec<&str> = done.iter().map(|(verb, ..)| *verb).collect();
    let login = role.login.clone().unwrap_or_default();
    let mut steps = Vec::new();
    for (_, sql, result) in done {
        let step = |sql: &str, result: &str| Evidence::as_role(&login, sql, result);
        steps.extend([step("begin", ""), step(sql, result), step("rollback", "")]);
    }
    Finding {
        check: CHECK.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: schemas::subject(table),
        message: format!(
            "{}, of another tenant, {} `{}`",
            listed(names),
            joined(&verbs.iter().map(|verb| done_by(names, verb)).collect::<Vec<_>>()),
            table.name
        ),
        help: format!(
            "revoke what {} and PUBLIC may do in schema {}, and look at the procedure that creates tenants",
            listed(names),
            quote_ident(&table.name.schema)
        ),
        evidence: place.transcript(role, steps),
    }
}

/// Whether what is written into `tenant`'s tables turns up outside of its schema, where another tenant reads.
async fn elsewhere(
    place: &mut Place,
    rows_of: &mut Rows,
    tenant: &Tenant,
    findings: &mut Vec<Finding>,
    tried: &mut Tried,
) -> Result<()> {
    let mut planted: BTreeMap<usize, (&Table, Vec<Step>)> = BTreeMap::new();
    let tenant_number = place.tenants.iter().position(|one| one.schema == tenant.schema).unwrap_or_default();
    for (place_in_schema, table) in tenant.tables.iter().filter(|table| table.kind == "table").enumerate() {
        // What the tenants before wrote is still there.
        let number = 20_000 + 1_000 * tenant_number + place_in_schema;
        let values = canary::places(&mut place.control, &table.name, "", number).await?;
        let wish = Wish::default();
        let planting =
            canary::plant(&mut place.control, rows_of, &table.name, "true", &values, &wish).await?;
        if let Ok(steps) = planting {
            planted.insert(number, (table, steps));
        }
    }
    for (one, _) in place.pairs().into_iter().filter(|(_, other)| other.schema == tenant.schema) {
        for role in &one.roles {
            let Some(mut session) = place.session(role).await? else { continue };
            for readable in search::readable(&mut place.control, &role.name).await? {
                if place.schemas.contains(&readable.name.schema) {
                    continue;
                }
                tried.probes += 1;
                let Ok(found) = search::search(&mut session, &readable, "").await? else { continue };
                let from = found.canaries.iter().filter_map(|(number, _)| planted.get(number));
                let from: Vec<_> = from.collect();
                let Some((table, _)) = from.first() else { continue };
                let login = role.login.clone().unwrap_or_default();
                let planting = from.iter().flat_map(|(_, steps)| steps);
                let planting = planting
                    .map(|step| Evidence::as_role(&place.admin, step.sql.clone(), "done"))
                    .collect::<Vec<_>>();
                let own = found.canaries.iter().filter(|(number, _)| planted.contains_key(number));
                let count: i64 = own.map(|(_, count)| count).sum();
                let result = format!("{} with what was written there", rows(count));
                let step = Evidence::as_role(&login, found.sql.clone(), result);
                let mut evidence = place.transcript(role, vec![step]);
                evidence.splice(place.onboarding.len()..place.onboarding.len(), planting);
                findings.push(Finding {
                    check: CHECK.into(),
                    class: Class::Mistake,
                    severity: Severity::Error,
                    subject: Subject::new(readable.kind, readable.name.to_string()),
                    message: format!(
                        "`{}` reads in `{}` what another tenant wrote into `{}`",
                        role.name, readable.name, table.name
                    ),
                    help:
                        "what shows the rows of several tenants is not for their roles: revoke the privilege"
                            .into(),
                    evidence,
                });
            }
        }
    }
    Ok(())
}
