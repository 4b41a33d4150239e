//! `tenancy.dead-policy`: whether a tenant sees its own rows.

use super::attack::Attack;
use super::policies::of_reader;
use super::probe::{Counts, Refusal, Why};
use super::roles::{done_by, grouped, listed, subject};
use super::tables::Relation;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Finding, Severity};
use crate::server::Capability;

/// Where a role may read a table, it sees the rows of its own tenant.
pub(in crate::check) struct DeadPolicy;

impl Check for DeadPolicy {
    fn id(&self) -> &'static str {
        "tenancy.dead-policy"
    }

    fn summary(&self) -> &'static str {
        "a role that may read a table sees the rows of its own tenant"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets a tenant, and counts its own rows in each table with \
                     row-level security that it may read. Where it sees none although there are some, or is refused, \
                     the policies say why: there is none, none is for this role, or all are restrictive. It is no \
                     leak, and never more than a note.",
            matters: "A table that nobody can read looks safe, and all other checks of it prove nothing. It is \
                      noticed in production, by a page that stays empty; and then a policy is written in a hurry.",
            remedy: "Write a permissive policy for the role and the command: restrictive ones only narrow what \
                     permissive ones admit. Or revoke the privilege, if nobody is meant to read.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::DEAD_POLICY
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select note from orders",
            gets: "nothing, though A has orders",
            because: "the only policy is restrictive: it narrows what a permissive one admits, and there is none",
            fix: "create policy anyone on orders using (true)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.dead-policy").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut sessions = attack.sessions(true).await?;
    let guarded = attack.guarded_and_tenants();
    for relation in &guarded {
        let mut dead = Vec::new();
        for session in sessions.iter_mut().filter(|session| relation.readers.contains(&session.role)) {
            if let Some(reason) = attack.lacks_own(relation) {
                attack.note_uncovered(relation, std::slice::from_ref(&session.role), &reason);
                continue;
            }
            attack.count_probes(1);
            let probed = session.count(relation, &attack.tenants).await?;
            match &probed.outcome {
                Ok(counts) if is_seen(counts) => {}
                Err(refusal) if refusal.why == Why::Circumstances => {
                    attack.note_refused(relation, std::slice::from_ref(&session.role), refusal);
                }
                outcome => {
                    let why = why(&mut attack, relation, &session.role, outcome).await?;
                    dead.push((session.role.clone(), (why, probed)));
                }
            }
        }
        for (roles, (why, probed)) in grouped(dead) {
            let first = roles.first().cloned().unwrap_or_default();
            let result = match &probed.outcome {
                Ok(_) => format!("no row of `{}`", relation.name),
                Err(refusal) => refusal.to_string(),
            };
            let evidence = attack.shown(relation, &first, probed.sql, result);
            attack.findings.push(Finding {
                check: "tenancy.dead-policy".into(),
                class: Class::DeadPolicy,
                severity: Severity::Note,
                subject: subject(relation.kind, &relation.name),
                message: format!(
                    "{} may read `{}` but {}: {why}",
                    listed(&roles),
                    relation.name,
                    done_by(&roles, "sees not even its own tenant's rows")
                ),
                help: "write a permissive policy for the role, or revoke the privilege".into(),
                evidence,
            });
        }
    }
    Ok(attack.verdict())
}

fn is_seen(counts: &Counts) -> bool {
    counts.own > 0 || (!counts.are_told_apart && counts.visible > 0)
}

/// What the policies have to do with it.
async fn why(
    attack: &mut Attack,
    relation: &Relation,
    role: &str,
    outcome: &Result<Counts, Refusal>,
) -> Result<String> {
    let (all, asked) = of_reader(&mut attack.control, &relation.name, role).await?;
    Ok(if all == 0 {
        "row-level security is enabled, and there is no policy".into()
    } else if asked.is_empty() {
        format!("none of its {all} policies is for this role and SELECT")
    } else if !asked.iter().any(|policy| policy.is_permissive) {
        "its policies are restrictive, and there is no permissive one to narrow".into()
    } else if let Err(refusal) = outcome {
        format!("a policy raises an error ({refusal})")
    } else {
        "no policy admits a row in the context of this tenant".into()
    })
}
