//! `tenancy.partition-child`: whether a partition is reached directly, past its parent's policies.

use super::attack::Attack;
use super::direct;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::Severity;
use crate::server::Capability;

/// No partition can be used directly to get past its parent's policies.
pub(in crate::check) struct PartitionChild;

impl Check for PartitionChild {
    fn id(&self) -> &'static str {
        "tenancy.partition-child"
    }

    fn summary(&self) -> &'static str {
        "no partition is a way past the policies of the table that it belongs to"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` names each partition itself, with a tenant set, and tries to read, insert, \
                     update and delete rows of another tenant, as far as it has the privileges. The transcript shows what \
                     the same role sees by way of the parent.",
            matters: "A partition does not inherit row-level security: who names the partition is asked only for the \
                      partition's own policies. `grant … on all tables` and default privileges open it without anybody \
                      meaning to.",
            remedy: "Grant privileges on the parent only, which is all that a query through the parent needs; or enable \
                     row-level security on each partition, in the procedure that makes them.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select what from events_2025",
            gets: "what happened at A, and what happened at B",
            because: "the policy is on `events`, and a partition does not inherit it",
            fix: "revoke all on events_2024, events_2025 from web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::PARTITION_CHILD
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.partition-child").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    // A partition that has partitions of its own is both.
    let is_partition =
        |kind: &str, has_parent: bool| kind == "partition" || (kind == "partitioned table" && has_parent);
    let partitions: Vec<_> = attack
        .relations
        .iter()
        .filter(|relation| is_partition(relation.kind, !relation.ancestors.is_empty()))
        .cloned()
        .collect();
    if partitions.is_empty() {
        return Ok(Verdict::skipped("no table of tenants has partitions"));
    }
    let ran = direct::attack(&mut attack, &partitions, Severity::Error).await?;
    attack.count_controls(ran);
    Ok(attack.verdict())
}
