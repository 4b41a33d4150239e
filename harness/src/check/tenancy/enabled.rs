//! `tenancy.enabled`: whether the tables of tenants have row-level security at all.

use super::attack::Attack;
use super::roles::{done_by, grouped, listed};
use super::tables::Relation;
use super::wording::{remedy, rows, sight};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::Severity;
use crate::server::Capability;

/// Every table of tenants that a role can read has row-level security enabled.
pub(in crate::check) struct Enabled;

impl Check for Enabled {
    fn id(&self) -> &'static str {
        "tenancy.enabled"
    }

    fn summary(&self) -> &'static str {
        "every table of tenants that a role can read has row-level security enabled"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Of each table with the tenant's column it is asked whether row-level security is enabled. Where \
                     it is not, the roles of `tenancy.roles` log in, set a tenant, and count the rows of others that \
                     they see. Partitions and children are left to `tenancy.partition-child` and \
                     `tenancy.inheritance`.",
            matters: "Policies are not asked as long as row-level security is off, and it is off on every new table. \
                      A table that a later migration adds is open to every tenant until somebody notices.",
            remedy: "`alter table … enable row level security`, and `force` it, in the migration that creates the \
                     table; or revoke the privilege from roles that do not need it.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::ENABLED
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select note from invoices",
            gets: "the notes of A, and those of B",
            because: "`invoices` came with a later migration, which created the policy and forgot to enable it",
            fix: "alter table invoices enable row level security",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.enabled").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut sessions = attack.sessions(true).await?;
    let is_open =
        |relation: &&Relation| relation.is_store() && !relation.is_enabled && relation.ancestors.is_empty();
    let open: Vec<Relation> = attack.relations.iter().filter(is_open).cloned().collect();
    for relation in open {
        let mut seen = Vec::new();
        for session in sessions.iter_mut().filter(|session| relation.readers.contains(&session.role)) {
            attack.count_probes(1);
            seen.push((session.role.clone(), session.count(&relation, &attack.tenants).await?));
        }
        for (roles, probed) in grouped(seen) {
            let first = roles.first().cloned().unwrap_or_default();
            let counts = match probed.outcome {
                Ok(counts) => counts,
                Err(refusal) => {
                    attack.note_refused(&relation, &roles, &refusal);
                    continue;
                }
            };
            let others = attack.others_in(&relation, &counts);
            if others == 0 {
                attack.note_unshown(&relation, &roles);
                continue;
            }
            let evidence = attack.shown(&relation, &first, probed.sql, sight(&counts, others));
            let message = format!(
                "row-level security is off on `{}`: with a tenant set {} {} {} of other tenants",
                relation.name,
                listed(&roles),
                done_by(&roles, "reads"),
                rows(others)
            );
            attack.accuse(Severity::Error, &relation, message, remedy(&relation, &attack.spelling), evidence);
        }
    }
    Ok(attack.verdict())
}
