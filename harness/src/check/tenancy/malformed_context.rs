//! `tenancy.malformed-context`: what a session sees whose tenant is no tenant.

use super::attack::Attack;
use super::wrong_context::read_with;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::server::Capability;

/// With something in the setting that is no tenant no row is to be seen.
pub(in crate::check) struct MalformedContext;

/// What is no tenant of anybody, but may be taken for a word, a pattern or a piece of SQL.
const VALUES: [&str; 12] =
    ["not-a-tenant", "null", "NULL", "none", "undefined", "*", "%", "_%", " ", "{}", "' or '1'='1", "; --"];

impl Check for MalformedContext {
    fn id(&self) -> &'static str {
        "tenancy.malformed-context"
    }

    fn summary(&self) -> &'static str {
        "a session whose tenant is no tenant is refused, or sees no row"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in and reads each table with row-level security with what is \
                     no tenant in the setting: words that programs write for nothing (`null`, `undefined`), patterns \
                     (`%`, `*`), white space, pieces of SQL, and the beginning of another tenant's name with a `%` \
                     behind it. The server refuses, or there is no row; with a tenant there are that tenant's. What \
                     can be read with no tenant at all is left to `tenancy.no-context`.",
            matters: "A client that sends `undefined`, a header that was never checked, a policy that says LIKE or \
                      puts its query together as text: each turns a mistake into somebody else's rows.",
            remedy: "Compare with `=`, and cast the setting to the column's type, so that the server refuses what is \
                     none; never LIKE, never EXECUTE with the setting in the text.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::MALFORMED_CONTEXT
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, with a `%` in the header that it takes the tenant from",
            runs: "select note from orders",
            gets: "the notes of everybody",
            because: "the policy compares with LIKE, for which `%` is like anything",
            fix: "alter policy tenant_isolation on orders
                using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let attack = match Attack::prepare(context, "tenancy.malformed-context").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut values: Vec<String> = VALUES.map(String::from).to_vec();
    // The first letter at least, and never the whole.
    let other = attack.tenants.other.chars();
    let beginning: String = other.take((attack.tenants.other.chars().count() / 2).max(1)).collect();
    values.extend([format!("{beginning}%"), beginning]);
    values.retain(|value| *value != attack.tenants.own && *value != attack.tenants.other);
    let help = "compare with `=`, and cast the setting to the column's type, so that the server refuses what is no tenant";
    read_with(attack, &values, help).await
}
