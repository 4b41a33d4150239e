//! `tenancy.reachable-role`: what a role sees that becomes another.

use super::attack::Attack;
use super::reach::{Reach, reached};
use super::tables::Relation;
use super::wording::{rows, sight};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::quote_ident;
use crate::server::Capability;

/// No role that a service can become sees more than the service does.
pub(in crate::check) struct ReachableRole;

impl Check for ReachableRole {
    fn id(&self) -> &'static str {
        "tenancy.reachable-role"
    }

    fn summary(&self) -> &'static str {
        "no role that a service can become reads the rows of other tenants"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Each role of `tenancy.roles` is bound by policies: it is neither a superuser nor has it \
                     BYPASSRLS. It logs in, says SET ROLE to every role that it may become, sets a tenant, and reads \
                     every table of tenants; it sees no row of others that it does not see as itself. Where a role \
                     is there only to become others, as PostgREST's `authenticator` is, that is by design, and a \
                     note.",
            matters: "Policies and privileges are asked of the current role. A membership that was granted for a \
                      migration and never taken back lets every injected statement choose another role first.",
            remedy: "Revoke the membership, or since Postgres 16 grant it `with set false`. Take SUPERUSER and \
                     BYPASSRLS from roles that services connect as; give them to roles that people log in as.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::REACHABLE_ROLE
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`shop_app`, and sets tenant A for its transaction",
            runs: "set role shop_support; select note from orders",
            gets: "the notes of A, and those of B",
            because: "`shop_app` is a member of `shop_support`, which has a policy of its own that admits every row",
            fix: "drop policy support on orders",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.reachable-role").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut logins: Vec<String> = attack.roles.iter().map(|role| attack.login_of(role).to_owned()).collect();
    logins.sort();
    logins.dedup();
    let reached = reached(&mut attack.control, &logins).await?;
    let stores: Vec<Relation> =
        attack.relations.iter().filter(|relation| relation.is_store()).cloned().collect();
    for reach in reached.iter().filter(|reach| reach.may_become) {
        let mut session = attack.session(&reach.role, true).await?;
        let before = format!("set local role {}; ", quote_ident(&reach.other));
        let mut first = None;
        let mut shown = 0_usize;
        for relation in &stores {
            attack.count_probes(2);
            let probed = session.count_after(&before, relation, &attack.tenants).await?;
            let Ok(counts) = probed.outcome else { continue };
            let others = attack.others_in(relation, &counts);
            if others == 0 {
                continue;
            }
            // What it sees as itself is told of by others.
            let itself = session.count(relation, &attack.tenants).await?.outcome;
            if itself.is_ok_and(|counts| attack.others_in(relation, &counts) >= others) {
                continue;
            }
            shown += 1;
            first.get_or_insert((relation, probed.sql, counts, others));
        }
        let Some((relation, sql, counts, others)) = first else { continue };
        let evidence = attack.shown(relation, &reach.role, sql, sight(&counts, others));
        let finding = finding(&attack, reach, relation, shown, others, evidence);
        attack.findings.push(finding);
    }
    Ok(attack.verdict())
}

fn finding(
    attack: &Attack,
    reach: &Reach,
    relation: &Relation,
    shown: usize,
    others: i64,
    evidence: Vec<Evidence>,
) -> Finding {
    let Reach { role, other, .. } = reach;
    // Nobody attacks as a role that has no privileges of its own: it is there to become others.
    let is_door = !attack.roles.contains(role);
    let why = match (reach.is_super, reach.is_free) {
        (true, _) => ", a superuser",
        (_, true) => ", which has BYPASSRLS",
        _ => "",
    };
    let more = if shown > 1 { format!(" and in {} more", shown - 1) } else { String::new() };
    Finding {
        check: "tenancy.reachable-role".into(),
        class: if is_door { Class::TrustBoundary } else { Class::Mistake },
        severity: if is_door { Severity::Note } else { Severity::Error },
        subject: Subject::new("role", role),
        message: format!(
            "`{role}` may become `{other}`{why}, and then reads {} of other tenants in `{}`{more}",
            rows(others),
            relation.name
        ),
        help: if is_door {
            format!("by design, where who decides on the role is to be trusted with `{other}`")
        } else {
            format!("`revoke {} from {}`", quote_ident(other), quote_ident(role))
        },
        evidence,
    }
}
