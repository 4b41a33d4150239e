//! `tenancy.onboarded`: whether a tenant that the project's procedure brings in is as closed as the others.

use super::attack::Attack;
use super::probe::Counts;
use super::roles::{done_by, grouped, listed, subject};
use super::tables::{self, Relation};
use super::transcript::transcript;
use super::wording::{remedy, rows};
use crate::check::onboarding::calls;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity};
use crate::fixture::rows::{Rows, Wish};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};

/// What comes into being with a tenant is closed to the others.
pub(in crate::check) struct OnboardedTenant;

impl Check for OnboardedTenant {
    fn id(&self) -> &'static str {
        "tenancy.onboarded"
    }

    fn summary(&self) -> &'static str {
        "what comes into being with a new tenant is closed to the others"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "`tenancy.onboard` brings in two tenants. Every role of `tenancy.roles` then reads, with another tenant set and \
                     with none, each table with the tenant's column that came into being with them, and each that it may read \
                     only since; it sees no row of theirs. Where tenants have schemas of their own, \
                     `tenancy.schema-cross-read` does the same.",
            matters: "A procedure that gives each tenant a partition or a table of its own makes new tables long after anybody \
                      looked at the schema: none of them has row-level security unless the procedure sees to it.",
            remedy: "Let the procedure enable row-level security on what it makes, and grant nothing on it that the parent's \
                     privileges do not already give.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select item from orders_globex",
            gets: "what globex, a new tenant, has ordered",
            because: "each tenant gets a partition, and the procedure grants it to the service without a policy",
            fix: "alter default privileges revoke select on tables from web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Onboarding, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::ONBOARDED
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.onboarded").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let Some(onboard) = attack.tenancy.onboard.clone() else {
        return Ok(Verdict::skipped("needs `tenancy.onboard`"));
    };
    if attack.tenancy.schemas.is_some() {
        return Ok(Verdict::skipped("each tenant has a schema: `tenancy.schema-cross-read` onboards two"));
    }
    let steps = match bring_in(&mut attack, &onboard).await? {
        Ok(steps) => steps,
        Err(reason) => return Ok(Verdict::skipped(reason)),
    };
    let (mut probes, mut controls) = (0, 0);
    let opened = opened(&mut attack).await?;
    let is_known = |relation: &Relation| attack.relations.iter().any(|known| known.name == relation.name);
    let new: Vec<Relation> = opened.iter().filter(|relation| !is_known(relation)).cloned().collect();
    attack.relations.extend(new);
    for relation in opened {
        controls += usize::from(fill(&mut attack, &relation).await?);
        let mut leaks = Vec::new();
        for role in relation.readers.clone() {
            for has_context in [true, false] {
                probes += 1;
                let mut session = attack.session(&role, has_context).await?;
                let seen = session.count(&relation, &attack.tenants).await?;
                let counts = seen.outcome.unwrap_or_default();
                let others = others(&attack, &relation, counts, has_context);
                if others > 0 {
                    let result =
                        format!("{} visible, {others} of them of other tenants", rows(counts.visible));
                    leaks.push((role.clone(), (has_context, seen.sql, result)));
                    break;
                }
            }
        }
        for (roles, leak) in grouped(leaks) {
            report(&mut attack, &steps, &relation, &roles, leak).await?;
        }
    }
    attack.count_probes(probes);
    attack.count_controls(controls);
    Ok(attack.verdict())
}

/// Whose rows were seen and should not have been.
fn others(attack: &Attack, relation: &Relation, counts: Counts, has_context: bool) -> i64 {
    match (has_context, counts.are_told_apart) {
        (true, true) => counts.others,
        (true, false) => (counts.visible - attack.truth(relation).own).max(0),
        (false, _) => counts.visible - counts.nobody,
    }
}

/// Runs the procedure for two tenants; gives the statements, or why it cannot be run here.
async fn bring_in(attack: &mut Attack, onboard: &str) -> Result<Result<Vec<String>, String>> {
    let mut reason = String::new();
    for calls in calls(onboard) {
        let count = "select count(*)::int8 from pg_roles";
        let before: i64 = scalar(attack, count).await?;
        attack.control.execute("begin").await?;
        match sqlx::raw_sql(AssertSqlSafe(calls.join("; "))).execute(&mut attack.control).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(answer)) => {
                reason = format!("`tenancy.onboard` failed (SQLSTATE {})", answer.code().unwrap_or_default());
                attack.control.execute("rollback").await?;
                continue;
            }
            Err(lost) => return Err(lost.into()),
        }
        // Roles belong to the whole server, which others use too.
        if scalar(attack, count).await? != before {
            attack.control.execute("rollback").await?;
            return Ok(Err(
                "`tenancy.onboard` creates roles, and tenants have no schemas (`tenancy.schemas`)".into(),
            ));
        }
        attack.control.execute("commit").await?;
        return Ok(Ok(calls));
    }
    Ok(Err(reason))
}

async fn scalar(attack: &mut Attack, sql: &'static str) -> Result<i64> {
    sqlx::query_scalar(sql)
        .fetch_one(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || "failed to count the roles".into())
}

/// The relations that are new, or that somebody may read only now.
async fn opened(attack: &mut Attack) -> Result<Vec<Relation>> {
    let mut relations = tables::read(&mut attack.control, &attack.tenancy).await?;
    tables::read_privileges(&mut attack.control, &attack.roles, &mut relations).await?;
    for relation in &mut relations {
        if let Some(known) = attack.relations.iter().find(|known| known.name == relation.name) {
            relation.readers = relation.readers.difference(&known.readers).cloned().collect();
        }
    }
    relations.retain(|relation| !relation.readers.is_empty());
    Ok(relations)
}

/// Sees to it that there is a row to see; whether there is.
async fn fill(attack: &mut Attack, relation: &Relation) -> Result<bool> {
    if relation.is_store() {
        let mut rows = Rows::read(&mut attack.control).await?;
        if let Ok(steps) = rows.add(&mut attack.control, &relation.name, &Wish::default()).await? {
            attack.seeds.journal.extend(steps);
        }
    }
    sqlx::query_scalar(AssertSqlSafe(format!("select exists (select from {})", relation.name.sql())))
        .fetch_one(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || format!("failed to look for a row of `{}`", relation.name))
}

async fn report(
    attack: &mut Attack,
    onboarding: &[String],
    relation: &Relation,
    roles: &[String],
    (has_context, sql, result): (bool, String, String),
) -> Result<()> {
    let Some(role) = roles.first() else { return Ok(()) };
    let session = attack.session(role, has_context).await?;
    let steps = onboarding.iter().map(|sql| Evidence::as_role(&attack.admin, sql, "a tenant"));
    let mut evidence: Vec<Evidence> = steps.collect();
    evidence.extend(attack.steps_for([relation.name.clone()].into()));
    evidence.extend(transcript(&session, vec![Evidence::as_role(role, sql, result)]));
    let context = if has_context { "with another tenant set" } else { "without a tenant" };
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: subject(relation.kind, &relation.name),
        message: format!(
            "{context} {} {} rows of a tenant that `tenancy.onboard` brought in, in `{}`",
            listed(roles),
            done_by(roles, "reads"),
            relation.name
        ),
        help: remedy(relation, &attack.spelling),
        evidence,
    });
    Ok(())
}
