//! `tenancy.matview`: whether a materialized view shows the rows of all tenants.

use super::attack::Attack;
use super::derived::{Words, attack_one, read};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::Evidence;
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};

/// No materialized view of tables of tenants is readable by a service.
pub(in crate::check) struct Matview;

impl Check for Matview {
    fn id(&self) -> &'static str {
        "tenancy.matview"
    }

    fn summary(&self) -> &'static str {
        "no materialized view shows a tenant the rows of others"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every materialized view above tables of tenants is refreshed, and read by each role of \
                     `tenancy.roles` that may, with a tenant set. Rows of another tenant are known by the tenant's \
                     column, or by a text that only those rows hold; one that shows the same to two tenants and to \
                     none is a warning.",
            matters: "A materialized view keeps what whoever refreshed it saw, which is everything, and row-level \
                      security cannot be enabled on it. Reading it asks no policy.",
            remedy: "Revoke the privilege, and grant a view above it with the tenant's condition and \
                     `security_barrier`; or keep a table with policies in its place.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::MATVIEW
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select note from order_notes",
            gets: "the notes of A, and those of B",
            because: "a materialized view keeps what its owner saw, and no policy can be put on it",
            fix: "revoke select on order_notes from web_app",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.matview").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut sessions = attack.sessions(true).await?;
    for view in read(&mut attack, "m").await? {
        let name = view.name.sql();
        let refresh = format!("refresh materialized view {name}");
        let result = match attack.control.execute(AssertSqlSafe(refresh.as_str())).await {
            Ok(_) => "done".to_owned(),
            // It is attacked as it is.
            Err(sqlx::Error::Database(answer)) => {
                format!("SQLSTATE {}", answer.code().unwrap_or_default())
            }
            Err(lost) => return Err(lost.into()),
        };
        let words = Words {
            kind: "materialized view",
            because: "it keeps what whoever refreshed it saw, and no policy can bind it".into(),
            help: format!(
                "`revoke select on {name}` from the role, and grant a view above it with the tenant's condition"
            ),
            before: &[Evidence::as_role(&attack.admin, refresh, result)],
        };
        attack_one(&mut attack, &mut sessions, &view, &words).await?;
    }
    Ok(attack.verdict())
}
