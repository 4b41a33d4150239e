//! `access.role-attributes`: power of a service's role that no table's privileges show.

use super::roles::{self, Role};
use crate::check::attempt::{Attempt, attempt, prepare, transcript};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, TenancyModel, Verdict};
use crate::database::TestDb;
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, PgConnection};

/// The roles of services have no power over the server, and no way to it.
pub(in crate::check) struct RoleAttributes;

const ID: &str = "access.role-attributes";

impl Check for RoleAttributes {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "the roles of services have no power over the server, and no way to it"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No role that `[roles]`, `[tenancy]` or `[access.matrix]` names, but the one that migrates, is \
                     SUPERUSER, BYPASSRLS, CREATEROLE, CREATEDB or REPLICATION, or may read, write or run what it likes \
                     by a role of the server's own (`pg_read_all_data`, `pg_write_server_files`, …); and none can become \
                     such a role by SET ROLE, over however many memberships. What can be shown within a transaction is: \
                     the role logs in and does it. BYPASSRLS is an error for the roles of `tenancy.roles`, and else a warning: \
                     some are meant to work for all tenants. Where no role is declared, the check is skipped.",
            matters: "Grants and policies bind ordinary roles. A hole in a service is worth what its role is worth: with \
                      `pg_execute_server_program` that is the machine, with CREATEROLE before Postgres 16 nearly every \
                      other role.",
            remedy: "Give services roles with LOGIN and nothing else, and no membership that is not needed. NOINHERIT is no \
                     protection: SET ROLE remains. What needs such power goes into a SECURITY DEFINER function that does \
                     one thing.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "whoever got into the web application, and so `admin_web`",
            runs: "create role backdoor login",
            gets: "a role of their own, which outlives the repair of the application",
            because: "the role was created with CREATEROLE, for a page that nobody uses any more",
            fix: "alter role admin_web nocreaterole",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::ROLE_ATTRIBUTES
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// Power, how the catalog says it of `m`, what it is good for, and what shows it.
struct Power {
    name: &'static str,
    /// A predefined role, and not an attribute.
    is_role: bool,
    column: &'static str,
    gives: &'static str,
    shows: Option<&'static str>,
    severity: Severity,
}

const fn attribute(
    name: &'static str,
    column: &'static str,
    gives: &'static str,
    shows: Option<&'static str>,
    severity: Severity,
) -> Power {
    Power { name, is_role: false, column, gives, shows, severity }
}

const fn member(
    name: &'static str,
    gives: &'static str,
    shows: Option<&'static str>,
    severity: Severity,
) -> Power {
    Power { name, is_role: true, column: "false", gives, shows, severity }
}

const POWERS: [Power; 12] = [
    attribute(
        "SUPERUSER",
        "rolsuper",
        "is bound by no privilege and no policy",
        Some("select count(*) from pg_catalog.pg_authid"),
        Severity::Error,
    ),
    attribute("BYPASSRLS", "rolbypassrls", "is bound by no policy", None, Severity::Warning),
    attribute(
        "CREATEROLE",
        "rolcreaterole",
        "creates roles, and before Postgres 16 gives itself others",
        Some("create role pgharness_made"),
        Severity::Warning,
    ),
    attribute("CREATEDB", "rolcreatedb", "creates databases until the disk is full", None, Severity::Warning),
    attribute("REPLICATION", "rolreplication", "copies the whole server", None, Severity::Warning),
    member(
        "pg_execute_server_program",
        "runs programs as the server's user",
        Some("create temp table pgharness_made (line text); copy pgharness_made from program 'true'"),
        Severity::Error,
    ),
    member(
        "pg_write_server_files",
        "writes files as the server's user",
        Some("copy (select 1) to '/dev/null'"),
        Severity::Error,
    ),
    member(
        "pg_read_server_files",
        "reads files as the server's user",
        Some("create temp table pgharness_made (line text); copy pgharness_made from '/dev/null'"),
        Severity::Error,
    ),
    member("pg_write_all_data", "writes every table", None, Severity::Warning),
    member("pg_read_all_data", "reads every table", None, Severity::Warning),
    member("pg_signal_backend", "ends the sessions of other roles", None, Severity::Warning),
    member("pg_maintain", "locks and rewrites every table", None, Severity::Warning),
];

async fn run(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let services = roles::services(project);
    if services.is_empty() {
        return Ok(Verdict::skipped("needs `[roles]` or `tenancy.roles`: which roles services connect as"));
    }
    let tenancy = project.tenancy.as_ref().filter(|tenancy| tenancy.model == TenancyModel::Rls);
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let known = roles::known(&mut control).await?;
    prepare(&mut control).await?;
    let mut findings = Vec::new();
    for role in roles::named(&known, services)? {
        for (power, via) in powers(&mut control, &role).await? {
            let shown = show(&db, &role, power, &via).await?;
            // Who is meant to work for all tenants may be meant to be bound by no policy.
            let is_of_tenants = tenancy.is_some_and(|tenancy| match tenancy.roles.as_slice() {
                [] => via == role.name,
                roles => roles.contains(&role.name),
            });
            let severity =
                if power.name == "BYPASSRLS" && is_of_tenants { Severity::Error } else { power.severity };
            findings.push(finding(&role, power, &via, severity, shown));
        }
    }
    Ok(Verdict::of(findings))
}

/// The power that `role` has, and which role it has it by.
async fn powers(control: &mut PgConnection, role: &Role) -> Result<Vec<(&'static Power, String)>> {
    let mut found = Vec::new();
    for power in &POWERS {
        let condition = if power.is_role {
            format!("m.rolname = {}", quote_literal(power.name))
        } else {
            format!("m.{}", power.column)
        };
        // The nearest of several ways: its own, then the first by name. A superuser is a member of everything.
        let sql = format!(
            "select m.rolname::text from pg_catalog.pg_roles r join pg_catalog.pg_roles m
                on m.oid = r.oid or (not r.rolsuper and pg_catalog.pg_has_role(r.oid, m.oid, 'member'))
             where r.rolname = {} and {condition} order by m.oid <> r.oid, m.rolname limit 1",
            quote_literal(&role.name)
        );
        let via: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_optional(&mut *control)
            .await
            .attempt(ErrorKind::Database, || format!("failed to read the power of `{}`", role.name))?;
        found.extend(via.map(|via| (power, via)));
    }
    Ok(found)
}

/// The statements that show it, and what came of them.
async fn show(db: &TestDb, role: &Role, power: &Power, via: &str) -> Result<Vec<Evidence>> {
    let become_it = (via != role.name).then(|| format!("set local role {}", quote_ident(via)));
    if let Some(sql) = power.shows {
        let mut session = roles::session(db, role).await?;
        let whole = become_it.iter().map(String::as_str).chain([sql]).collect::<Vec<_>>().join("; ");
        let answers = attempt(&mut session, &[Attempt { sql: whole, watched: None }]).await?;
        let answer = answers.first().map(ToString::to_string).unwrap_or_default();
        let before = become_it.into_iter().collect();
        return Ok(transcript(&role.name, before, sql, answer));
    }
    let (who, what) = (quote_literal(&role.name), quote_literal(via));
    let sql = if power.is_role {
        format!("select pg_has_role({who}, {what}, 'member')")
    } else {
        format!(
            "select {} and pg_has_role({who}, rolname, 'member') from pg_roles where rolname = {what}",
            power.column
        )
    };
    Ok(vec![Evidence::as_role(&role.name, sql, "true")])
}

fn finding(role: &Role, power: &Power, via: &str, severity: Severity, evidence: Vec<Evidence>) -> Finding {
    let (name, gives) = (&role.name, power.gives);
    let (how, help) = match (power.is_role, via == role.name) {
        (true, _) => (
            format!("is a member of `{}`", power.name),
            format!("`revoke {} from …`: the role, or who it is a member of", power.name),
        ),
        (false, true) => (
            format!("is {}", power.name),
            format!("`alter role {} no{}`", quote_ident(name), power.name.to_lowercase()),
        ),
        (false, false) => (
            format!("may become `{via}`, which is {}", power.name),
            format!(
                "`revoke {} from {}`, or from who stands between them",
                quote_ident(via),
                quote_ident(name)
            ),
        ),
    };
    Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("role", name.clone()),
        message: format!("`{name}`, which a service connects as, {how}: it {gives}"),
        help,
        evidence,
    }
}
