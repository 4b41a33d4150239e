//! `tenancy.schema-role`: what roles of tenants, and those that become them, may become.

use super::schemas::{self, Place, Role};
use super::trial;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;

/// No tenant's role is a way into another's, and a login without a tenant is nobody.
pub(in crate::check) struct SchemaRole;

impl Check for SchemaRole {
    fn id(&self) -> &'static str {
        "tenancy.schema-role"
    }

    fn summary(&self) -> &'static str {
        "where each tenant has a role, it is no member of another's, and a login without SET ROLE reads nothing"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No role of a tenant is a member of another tenant's role. A login that becomes tenants by SET ROLE reads no \
                     tenant's table before it does. A note says which logins those are: on a session of theirs two \
                     clients follow one another as on a pool, and the second finds the role that the first left, and may \
                     SET ROLE to any other tenant's, also from within a tenant's role. Tenants that `tenancy.onboard` \
                     creates are looked at too.",
            matters: "A role is what a tenant's queries run as: whoever is a member of two is two tenants. A login that \
                      inherits the rights of all tenants makes a forgotten SET ROLE a query over somebody's tables.",
            remedy: "Never grant one tenant's role to another. Create the login NOINHERIT before it is granted the tenants' \
                     roles (from Postgres 16 on a grant may say `with inherit false`). Let the pool RESET ROLE, or DISCARD \
                     ALL, when a connection comes back, and use SET LOCAL ROLE behind a pooler that hands out transactions.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`acme_member`",
            runs: "select text from tenant_globex.notes",
            gets: "what globex noted",
            because: "acme's role was made a member of globex's, and inherits its rights",
            fix: "revoke globex_member from acme_member",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::TenantSchemas, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::SCHEMA_ROLE
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const CHECK: &str = "tenancy.schema-role";

async fn run(context: &Context) -> Result<Verdict> {
    let mut places = match schemas::places(context).await? {
        Ok(places) => places,
        Err(verdict) => return Ok(verdict),
    };
    if places.iter().all(|place| place.tenants.iter().all(|tenant| tenant.roles.is_empty())) {
        return Ok(Verdict::skipped("no tenant has a role of its own"));
    }
    let mut findings: Vec<Finding> = Vec::new();
    let (mut probes, mut controls) = (0, 0);
    for place in &mut places {
        let mut found = members(place).await?;
        for login in place.gateways() {
            let (more, is_left) = pooled(place, &login).await?;
            found.extend(inherits(place, &login, &mut probes).await?);
            found.extend(more);
            controls += usize::from(is_left);
        }
        for finding in found {
            if !findings.iter().any(|known| known.subject == finding.subject && known.class == finding.class)
            {
                findings.push(finding);
            }
        }
    }
    let probes = Measurement::count(CHECK, "probes", probes);
    Ok(Verdict::of(findings).with_measurements([probes, trial::controls(CHECK, controls)]))
}

/// Roles of tenants that are members of other tenants'.
async fn members(place: &mut Place) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (one, other) in place.pairs() {
        for role in &one.roles {
            for target in other.roles.iter().filter(|target| target.name != role.name) {
                let sql = format!(
                    "select pg_has_role({}, {}, 'member')",
                    quote_literal(&role.name),
                    quote_literal(&target.name)
                );
                let is_member: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.as_str()))
                    .fetch_one(&mut place.control)
                    .await
                    .attempt(ErrorKind::Database, || {
                        format!("failed to read the memberships of `{}`", role.name)
                    })?;
                // A login for all tenants is none of them, though it may be named for one.
                if !is_member {
                    continue;
                }
                let mut evidence = place.onboarding.clone();
                evidence.push(Evidence::as_role(&place.admin, sql, "true"));
                findings.push(Finding {
                    check: CHECK.into(),
                    class: Class::Mistake,
                    severity: Severity::Error,
                    subject: Subject::new("role", &role.name),
                    message: format!(
                        "`{}`, a tenant's role, is a member of `{}`, another tenant's",
                        role.name, target.name
                    ),
                    help: format!("`revoke {} from {}`", quote_ident(&target.name), quote_ident(&role.name)),
                    evidence,
                });
            }
        }
    }
    Ok(findings)
}

/// A login that has the rights of tenants before it becomes one.
async fn inherits(place: &Place, login: &str, probes: &mut usize) -> Result<Option<Finding>> {
    let itself = Role { name: login.to_owned(), login: Some(login.to_owned()) };
    let Some(mut session) = place.session(&itself).await? else { return Ok(None) };
    let mut steps = Vec::new();
    let mut tenants = 0;
    for tenant in &place.tenants {
        for table in &tenant.tables {
            *probes += 1;
            let probed = session.try_out(&[], format!("select count(*) from {}", table.name.sql())).await?;
            if probed.outcome.is_ok() {
                steps.push(Evidence::as_role(login, probed.sql, "not refused, and no SET ROLE was run"));
                tenants += 1;
                break;
            }
        }
    }
    Ok((tenants > 1).then(|| Finding {
        check: CHECK.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("role", login),
        message: format!("`{login}` reads the tables of all tenants before any SET ROLE: one that is forgotten is not noticed"),
        help: format!(
            "create {} NOINHERIT before it is granted the tenants' roles; from Postgres 16 on, grant them `with inherit false`",
            quote_ident(login)
        ),
        evidence: place.transcript(&itself, steps),
    }))
}

/// Two clients on one session, as behind a pool; and whether the second found what the first had left.
async fn pooled(place: &Place, login: &str) -> Result<(Option<Finding>, bool)> {
    let roles: Vec<&Role> = place
        .tenants
        .iter()
        .filter_map(|tenant| tenant.roles.iter().find(|role| role.login.as_deref() == Some(login)))
        .collect();
    let [first, second, ..] = roles.as_slice() else { return Ok((None, false)) };
    let Some(mut session) = place.session(first).await? else { return Ok((None, false)) };
    let who = "select current_user";
    let left = session.try_out(&[], who).await?;
    let is_left = left.outcome.is_ok_and(|gave| gave.lines == [first.name.clone()]);
    let become_other = format!("set local role {}", quote_ident(&second.name));
    let other = session.try_out(&[], format!("{become_other}; {who}")).await?;
    let becomes = other.outcome.is_ok_and(|gave| gave.lines == [second.name.clone()]);
    if !is_left && !becomes {
        return Ok((None, false));
    }
    let step = |sql: String, result: String| Evidence::as_role(login, sql, result);
    let steps = vec![
        Evidence::step("the first client hands the session back without RESET ROLE", ""),
        step(who.into(), format!("{}: the second client is the first one's tenant", first.name)),
        step(
            format!("set role {}", quote_ident(&second.name)),
            format!("not refused: it is now `{}`", second.name),
        ),
        step("reset role".into(), format!("not refused: it is `{login}` again")),
    ];
    let finding = Finding {
        check: CHECK.into(),
        class: Class::TrustBoundary,
        severity: Severity::Note,
        subject: Subject::new("role", login),
        message: format!(
            "a session of `{login}` becomes any tenant, also from within a tenant's role, and stays it for the next client"
        ),
        help:
            "let the pool run RESET ROLE when a connection comes back, and let no tenant send SQL of its own"
                .into(),
        evidence: place.transcript(first, steps),
    };
    Ok((Some(finding), is_left))
}
