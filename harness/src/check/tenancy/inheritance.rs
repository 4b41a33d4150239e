//! `tenancy.inheritance`: whether a table that inherits is reached directly, past its parent's policies.

use super::attack::Attack;
use super::direct;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::Severity;
use crate::server::Capability;

/// No table that inherits can be used directly to get past its parent's policies.
pub(in crate::check) struct Inheritance;

impl Check for Inheritance {
    fn id(&self) -> &'static str {
        "tenancy.inheritance"
    }

    fn summary(&self) -> &'static str {
        "no table that inherits is a way past the policies of its parent"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` names each table that inherits from another itself, with a tenant set, and \
                     tries to read, insert, update and delete rows of another tenant, as far as it has the privileges. The \
                     transcript shows what the same role sees by way of the parent. Partitions are those of \
                     `tenancy.partition-child`.",
            matters: "A child inherits columns and not policies: through the parent its rows are filtered, and by its own \
                      name they are not.",
            remedy: "Enable row-level security on each child, with the policy of its parent, or grant privileges on the \
                     parent only.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select plate from vehicles",
            gets: "the plates of A's cars, and of B's",
            because: "the policy is on `assets`, and a table that inherits from it does not inherit that",
            fix: "revoke all on vehicles from web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::INHERITANCE
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.inheritance").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let children: Vec<_> = attack
        .relations
        .iter()
        .filter(|relation| relation.kind == "table" && !relation.ancestors.is_empty())
        .cloned()
        .collect();
    if children.is_empty() {
        return Ok(Verdict::skipped("no table of tenants inherits from another"));
    }
    let ran = direct::attack(&mut attack, &children, Severity::Error).await?;
    attack.count_controls(ran);
    Ok(attack.verdict())
}
