//! `tenancy.empty-context`: what a session sees whose tenant is the empty string.

use super::attack::Attack;
use super::wrong_context::read_with;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::server::Capability;

/// With an empty tenant no row is to be seen.
pub(in crate::check) struct EmptyContext;

impl Check for EmptyContext {
    fn id(&self) -> &'static str {
        "tenancy.empty-context"
    }

    fn summary(&self) -> &'static str {
        "a session whose tenant is the empty string sees no tenant's row"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets the tenant to the empty string, and reads each table \
                     with row-level security. It sees no tenant's row, or the server refuses; with a tenant it does see \
                     that tenant's rows. What can be read with no tenant at all is left to `tenancy.no-context`, and rows \
                     of nobody to `tenancy.null-tenant`.",
            matters: "A setting that was set with SET LOCAL is not unset when the transaction ends: it is `''`. So \
                      every session of a pool that served somebody before is in this state, and not in the one \
                      that a fresh session of a test is in. A policy that asks for null lets it pass.",
            remedy: "Have `''` mean nobody: `nullif(current_setting('app.tenant_id', true), '')`. A condition such as \
                     `current_setting(…) = '' or …` admits everybody; remove it. Refuse empty tenants with a check.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::EMPTY_CONTEXT
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, through a pool, in a session that served tenant A before",
            runs: "select note from orders",
            gets: "the notes of everybody",
            because: "the setting is '' now, not null, and the policy takes '' for an administrator",
            fix: "alter policy tenant_isolation on orders
                using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let attack = match Attack::prepare(context, "tenancy.empty-context").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut values = vec![String::new(), attack.context_of("").1];
    values.dedup();
    let help = format!(
        "have the empty string mean nobody: `{}`, and admit nobody for it",
        attack.spelling.expression()
    );
    read_with(attack, &values, &help).await
}
