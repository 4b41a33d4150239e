//! `tenancy.trust-boundary`: who decides whose session it is.

use super::attack::Attack;
use super::probe::Session;
use super::roles::listed;
use super::tables::Relation;
use super::wording::rows;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Finding, Severity, Subject};
use crate::ident::quote_literal;
use crate::server::Capability;

/// Says who can be any tenant.
pub(in crate::check) struct TrustBoundary;

impl Check for TrustBoundary {
    fn id(&self) -> &'static str {
        "tenancy.trust-boundary"
    }

    fn summary(&self) -> &'static str {
        "who can set the tenant can be any tenant: whom the design trusts"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets one tenant, then another, and reads the other's rows. \
                     Where that works, the service is trusted to set the right tenant, and the policies guard against \
                     its forgetting, not against its lying. That is by design wherever a setting names the tenant: \
                     one note for the setting, never more.",
            matters: "It is where isolation ends: a statement that an attacker can inject sets any tenant it likes. \
                      Whoever reads that policies keep tenants apart should know from whom.",
            remedy: "Nothing, if the service puts no input into SQL. Else bind the tenant to what the session cannot \
                     change: a role for each tenant, or a signed token that the policy verifies.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::TRUST_BOUNDARY
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, with tenant A set, and SQL injected into its search field",
            runs: "select set_config('app.tenant_id', '…B…', true); select note from orders",
            gets: "the notes of B",
            because: "the policy believes the setting, and every session may set it: this is by design",
            fix: "create table logins (role name primary key, tenant_id uuid not null);
                insert into logins values ('web_app', 'a0000000-0000-4000-8000-000000000001');
                grant select on logins to web_app;
                alter policy tenant_isolation on orders
                    using (tenant_id = (select l.tenant_id from logins l where l.role = session_user))",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.trust-boundary").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let guarded = attack.guarded();
    let mut roles = Vec::new();
    let mut shown: Option<(Session, &Relation, String, i64)> = None;
    for mut session in attack.sessions(true).await? {
        let role = session.role.clone();
        for relation in guarded.iter().filter(|relation| relation.readers.contains(&role)) {
            attack.count_probes(2);
            let hidden = session.count_others(relation, &attack.tenants).await?.outcome;
            if hidden != Ok(0) {
                continue;
            }
            let (setting, value) = attack.context_of(&attack.tenants.other);
            let turn =
                format!("select set_config({}, {}, true); ", quote_literal(&setting), quote_literal(&value));
            let probed = session.count_others_after(&turn, relation, &attack.tenants).await?;
            if let Ok(count) = probed.outcome
                && count > 0
            {
                roles.push(role);
                shown.get_or_insert((session, relation, probed.sql, count));
                break;
            }
        }
    }
    if let Some((session, relation, sql, count)) = shown {
        let result = format!("{} of the other tenant", rows(count));
        let evidence = attack.shown(relation, &session.role, sql, result);
        attack.findings.push(Finding {
            check: "tenancy.trust-boundary".into(),
            class: Class::TrustBoundary,
            severity: Severity::Note,
            subject: Subject::new("setting", &attack.setting),
            message: format!(
                "whoever sends SQL as {} can be any tenant: the session itself sets `{}`",
                listed(&roles),
                attack.setting
            ),
            help:
                "by design, where the service sets it and puts no input into SQL; allow it with that reason"
                    .into(),
            evidence,
        });
    }
    Ok(attack.verdict())
}
