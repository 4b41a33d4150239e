//! `tenancy.permissive-or`: whether one policy opens what another closes.

use super::attack::Attack;
use super::policies::{Policy, of_reader};
use super::probe::Session;
use super::roles::{done_by, grouped, listed};
use super::tables::Relation;
use super::wording::{rows, sight};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::Severity;
use crate::ident::quote_ident;
use crate::server::Capability;

/// No permissive policy lets a tenant see what the others keep from it.
pub(in crate::check) struct PermissiveOr;

impl Check for PermissiveOr {
    fn id(&self) -> &'static str {
        "tenancy.permissive-or"
    }

    fn summary(&self) -> &'static str {
        "no permissive policy widens what another one keeps apart"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Where several permissive policies are asked when a role reads a table, the role logs in, sets a \
                     tenant, and reads. If it sees rows of others, each of these policies is dropped in turn, in a \
                     transaction that is rolled back, and the role reads again: the policy without which it sees none \
                     is named. A table with a single policy that is too wide is `tenancy.cross-read`'s.",
            matters: "Permissive policies are joined with OR. A second one, for support staff or for a public flag, \
                      makes the first one void for every role that both are for, and each looks right by itself.",
            remedy: "Write the tenant's policy `as restrictive`, or give every permissive policy its condition; name \
                     roles with TO, so that a policy for staff is asked for staff only.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::PERMISSIVE_OR
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select note from orders",
            gets: "the notes of A, and those of B",
            because: "the policy `support` was meant for staff, but is for everybody: policies are joined with OR",
            fix: "alter policy support on orders to app_owner",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.permissive-or").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut sessions = attack.sessions(true).await?;
    let mut admin = attack.admin_session().await?;
    let guarded = attack.guarded();
    for relation in &guarded {
        let mut seen = Vec::new();
        for session in sessions.iter_mut().filter(|session| relation.readers.contains(&session.role)) {
            let (_, mut asked) = of_reader(&mut attack.control, &relation.name, &session.role).await?;
            asked.retain(|policy| policy.is_permissive);
            if asked.len() < 2 {
                continue;
            }
            attack.count_probes(1);
            let probed = session.count(relation, &attack.tenants).await?;
            let Ok(counts) = probed.outcome else { continue };
            let others = attack.others_in(relation, &counts);
            if others == 0 {
                if let Some(reason) = attack.lacks(relation) {
                    attack.note_uncovered(relation, std::slice::from_ref(&session.role), &reason);
                }
                continue;
            }
            let culprits = culprits(&mut attack, &mut admin, relation, &session.role, &asked, others).await?;
            // A role that policies do not bind is told of by `tenancy.forced`.
            if !culprits.is_empty() {
                seen.push((session.role.clone(), (probed.sql, counts, others, culprits)));
            }
        }
        for (roles, (sql, counts, others, culprits)) in grouped(seen) {
            let first = roles.first().cloned().unwrap_or_default();
            let evidence = attack.shown(relation, &first, sql, sight(&counts, others));
            let message = format!(
                "with a tenant set {} {} {} of other tenants in `{}`: {}",
                listed(&roles),
                done_by(&roles, "reads"),
                rows(others),
                relation.name,
                named(&culprits)
            );
            let help = "permissive policies are joined with OR: give this one the tenant's condition, name with TO the \
                        roles that it is for, or make the tenant's policy restrictive";
            attack.accuse(Severity::Error, relation, message, help.into(), evidence);
        }
    }
    Ok(attack.verdict())
}

/// The policies without which fewer rows of others are seen; all of them, where each alone shows as many. Nothing
/// where policies do not bind the role anyhow.
async fn culprits(
    attack: &mut Attack,
    admin: &mut Session,
    relation: &Relation,
    role: &str,
    asked: &[Policy],
    others: i64,
) -> Result<Vec<String>> {
    let mut culprits = Vec::new();
    for policy in asked {
        if others_without(attack, admin, relation, role, std::slice::from_ref(policy)).await? < others {
            culprits.push(policy.name.clone());
        }
    }
    if culprits.is_empty() && others_without(attack, admin, relation, role, asked).await? < others {
        culprits.extend(asked.iter().map(|policy| policy.name.clone()));
    }
    Ok(culprits)
}

/// How many rows of others `role` sees when these policies are gone; they come back with the end of the transaction.
async fn others_without(
    attack: &mut Attack,
    admin: &mut Session,
    relation: &Relation,
    role: &str,
    gone: &[Policy],
) -> Result<i64> {
    let table = relation.name.sql();
    let drops: Vec<String> =
        gone.iter().map(|policy| format!("drop policy {} on {table}; ", quote_ident(&policy.name))).collect();
    let before = format!("{}set local role {}; ", drops.concat(), quote_ident(role));
    attack.count_probes(1);
    let probed = admin.count_after(&before, relation, &attack.tenants).await?;
    Ok(probed.outcome.map_or(0, |counts| attack.others_in(relation, &counts)))
}

fn named(policies: &[String]) -> String {
    let quoted: Vec<String> = policies.iter().map(|policy| format!("`{policy}`")).collect();
    match quoted.as_slice() {
        [one] => format!("the policy {one} widens the others"),
        several => format!("the policies {} each show them", several.join(" and ")),
    }
}
