//! `tenancy.view-bypass`: whether a view shows what its reader may not see.

use super::attack::Attack;
use super::derived::{Words, attack_one, read};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::server::Capability;

/// No view shows a tenant more than the tables beneath it do.
pub(in crate::check) struct ViewBypass;

impl Check for ViewBypass {
    fn id(&self) -> &'static str {
        "tenancy.view-bypass"
    }

    fn summary(&self) -> &'static str {
        "no view shows a tenant rows that the tables beneath it hide"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every view above tables of tenants is read by each role of `tenancy.roles` that may, with a \
                     tenant set, whether it has the tenant's column or not: rows of another tenant are known by that \
                     column, or by a text that only those rows hold. Sums and counts hold no such text: a view that \
                     shows the same to two tenants and to none is a warning.",
            matters: "A view reads with the rights of its owner, and asks the policies that bind the owner: none, if \
                      that is a superuser or owns the tables. So the view that a report was given shows the report of \
                      everybody, though row-level security is enabled and forced on each table.",
            remedy: "`alter view … set (security_invoker = true)`: it then reads with the rights and the policies of \
                     its reader. Or have a role own it that policies bind.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::VIEW_BYPASS
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select note from order_notes",
            gets: "the notes of A, and those of B",
            because: "the view reads with the rights of its owner, whom no policy binds",
            fix: "alter view order_notes set (security_invoker = true)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.view-bypass").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut sessions = attack.sessions(true).await?;
    for view in read(&mut attack, "v").await? {
        let (name, owner) = (view.name.sql(), &view.owner);
        let because = match (view.is_invoker, view.is_owner_free) {
            (true, _) => "what it reads shows them to its reader".to_owned(),
            (false, true) => format!("it reads with the rights of its owner `{owner}`, whom no policy binds"),
            (false, false) => format!("it reads with the rights of its owner `{owner}`"),
        };
        let help = if view.is_invoker {
            "look at what it reads: another view, a function or a table without policies".to_owned()
        } else {
            format!(
                "`alter view {name} set (security_invoker = true)`: it then shows what its reader may see"
            )
        };
        let words = Words { kind: "view", because, help, before: &[] };
        attack_one(&mut attack, &mut sessions, &view, &words).await?;
    }
    Ok(attack.verdict())
}
