//! `tenancy.null-tenant`: who sees the rows that belong to no tenant.

use super::attack::Attack;
use super::roles::{done_by, grouped, listed};
use super::wording::{rows, shared_rows};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::Severity;
use crate::server::Capability;

/// Rows without a tenant are seen by nobody who set none.
pub(in crate::check) struct NullTenant;

impl Check for NullTenant {
    fn id(&self) -> &'static str {
        "tenancy.null-tenant"
    }

    fn summary(&self) -> &'static str {
        "rows that belong to no tenant are not there for whoever set none"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Tables whose tenant's column admits null, or the empty string, get rows without a tenant. Every \
                     role of `tenancy.roles` logs in and counts those that it sees: never having set a tenant, with \
                     the setting empty, as a pooled session is left, and with a tenant. Without a tenant it sees \
                     none. That a session with an empty setting sees them, or a tenant, is a warning: they are no \
                     tenant's, and may be shared on purpose.",
            matters: "`is not distinct from` takes null for null: a session that forgot its tenant gets the rows that \
                      a half-finished import, a deleted tenant or an operator left without one, and can often add \
                      more. So does `''` where the column is text.",
            remedy: "Make the column `not null`, with a check that it is not empty; compare with `=`, since null \
                     equals nothing. Keep rows that all tenants share in a table of their own.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::NULL_TENANT
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets no tenant",
            runs: "select note from orders",
            gets: "the notes of all orders whose tenant is null",
            because: "the policy says `is not distinct from`, for which null is null",
            fix: "alter policy tenant_isolation on orders
                using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.null-tenant").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut homeless = attack.guarded();
    homeless.retain(|relation| attack.truth(relation).nobody > 0);
    let mut ways = Vec::new();
    for role in &attack.roles {
        // Each in a session of its own: once a setting was set there is no way back to never.
        ways.push([
            (attack.session(role, false).await?, "having set no tenant", Severity::Error),
            (
                attack.session_in(role, Some(attack.context_of(""))).await?,
                "with an empty tenant",
                Severity::Warning,
            ),
            (attack.session(role, true).await?, "with a tenant set", Severity::Warning),
        ]);
    }
    for relation in &homeless {
        let mut seen = Vec::new();
        for (session, how, severity) in ways.iter_mut().flatten() {
            let role = session.role.clone();
            if !relation.readers.contains(&role) || seen.iter().any(|(known, _)| *known == role) {
                continue;
            }
            attack.count_probes(1);
            let probed = session.count(relation, &attack.tenants).await?;
            // Who sees the rows of others too is told of elsewhere.
            if let Ok(counts) = probed.outcome
                && counts.nobody > 0
                && counts.others == 0
            {
                seen.push((role, (probed.sql, counts, *how, *severity, session.context.clone())));
            }
        }
        for (roles, (sql, counts, how, severity, context)) in grouped(seen) {
            let first = roles.first().cloned().unwrap_or_default();
            let result = format!("{} visible, {} of them of no tenant", rows(counts.visible), counts.nobody);
            let evidence = attack.shown_in(context.as_ref(), relation, &first, sql, result);
            let message = format!(
                "{how} {} {} {} of no tenant in `{}`",
                listed(&roles),
                done_by(&roles, "reads"),
                rows(counts.nobody),
                relation.name
            );
            let help = match severity {
                Severity::Error => format!(
                    "compare `{}` with `=` and not with `is not distinct from`, or make it not null and not empty",
                    relation.column
                ),
                _ => shared_rows(relation),
            };
            attack.accuse(severity, relation, message, help, evidence);
        }
    }
    Ok(attack.verdict())
}
