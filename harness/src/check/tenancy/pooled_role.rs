//! `tenancy.pooled-role`: what a client of a transaction pooler can do that the one before became another role.

use super::attack::Attack;
use super::pooled::{Pooled, count, more};
use super::roles::listed;
use super::tables::Relation;
use super::wording::rows;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::quote_ident;
use crate::server::{Capability, PgBouncer};

/// A role that one client became shows the next client no more than its own.
pub(in crate::check) struct PooledRole;

impl Check for PooledRole {
    fn id(&self) -> &'static str {
        "tenancy.pooled-role"
    }

    fn summary(&self) -> &'static str {
        "behind a transaction pooler a role that a client became shows the next one no rows"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, and two clients share its session, as they do behind a pooler \
                     in transaction mode; where PgBouncer is installed, the same is done through one. The first becomes \
                     each role that it may (SET ROLE, SET SESSION AUTHORIZATION), and goes. The second says nothing of \
                     itself and reads every relation: it sees no more than a client with a session of its own. Temporary \
                     tables, prepared statements and advisory locks are left behind too, and are not looked at here.",
            matters: "SET ROLE outlives COMMIT. A service that becomes the owner for a moment, or a tenant's own role, \
                      leaves that behind in the pooler, and the next request has its rights: those of another tenant, or \
                      of somebody whom no policy binds.",
            remedy: "Use `set local role` in a transaction; grant a service no membership in roles that own tables or are \
                     free of policies, and let tables be forced: `alter table … force row level security`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.pooled-role":
            "bad.sql", "bad_tenant_role.sql", "good.sql", "good_forced.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`pooled_web` twice, through PgBouncer in transaction mode: the first client says `set role \
                       pooled_owner` and goes",
            runs: "select item from orders",
            gets: "the orders of all tenants, in the second client's name",
            because: "SET ROLE outlives COMMIT, and the owner of a table is bound by its policies only if they are forced",
            fix: "alter table orders force row level security",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.pooled-role").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut probes = 0;
    for role in attack.roles.clone() {
        let others = others(&mut attack, &role).await?;
        if others.is_empty() {
            continue;
        }
        let all = attack.relations.clone();
        let relations: Vec<&Relation> = all.iter().collect();
        let direct = Pooled::by_session(&attack, &role);
        let Some(fresh) = direct.after(&[], &relations).await? else { continue };
        let pooler = Pooled::by_pgbouncer(&attack, &role).await?;
        for other in others {
            for verb in ["set role", "set session authorization"] {
                let statement = format!("{verb} {}", quote_ident(&other));
                probes += relations.len();
                let Some(after) = direct.after(std::slice::from_ref(&statement), &relations).await? else {
                    continue;
                };
                let leaked = more(&relations, &fresh, &after);
                let Some((relation, visible)) = leaked.first() else { continue };
                let through = match &pooler {
                    None => None,
                    Some(pooler) => pooler.after(std::slice::from_ref(&statement), &relations).await?,
                };
                let is_through = through.is_some_and(|after| !more(&relations, &fresh, &after).is_empty());
                let finding = finding(&attack, &role, &other, statement, (relation, *visible), is_through);
                attack.findings.push(finding);
                break;
            }
        }
    }
    attack.count_probes(probes);
    let verdict = attack.verdict();
    Ok(if PgBouncer::is_installed() {
        verdict
    } else {
        verdict.with_remark("not tried through a transaction pooler, since `pgbouncer` is not installed")
    })
}

/// The roles that `role` is a member of: whether it may become them, the server says.
async fn others(attack: &mut Attack, role: &str) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select rolname::text from pg_roles
         where rolname <> $1 and rolname !~ '^pg_' and pg_has_role($1::name, oid, 'member') order by rolname",
    )
    .bind(role)
    .fetch_all(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list what `{role}` is a member of"))
}

fn finding(
    attack: &Attack,
    role: &str,
    other: &str,
    statement: String,
    (relation, visible): (&Relation, i64),
    is_through: bool,
) -> Finding {
    let mut evidence = attack.seeding(relation);
    evidence.push(Evidence::as_role(role, statement, ""));
    let way = if is_through {
        "the same through PgBouncer in transaction mode"
    } else {
        "as a transaction pooler does"
    };
    evidence.push(Evidence::step("the next client is given the session, and says nothing of itself", way));
    // Whoever pastes it says so for the session.
    evidence.push(Evidence::as_role(other, count(relation), format!("{} visible", rows(visible))));
    Finding {
        check: attack.check.into(),
        class: Class::TrustBoundary,
        severity: Severity::Warning,
        subject: Subject::new("role", role),
        message: format!(
            "a client that became {} leaves that to the next one of `{role}`, who then reads {} of `{}` without a tenant",
            listed(&[other.to_owned()]),
            rows(visible),
            relation.name
        ),
        help: format!(
            "`set local role` in a transaction; or `revoke {} from {}`",
            quote_ident(other),
            quote_ident(role)
        ),
        evidence,
    }
}
