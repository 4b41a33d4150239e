//! `structure.primary-key`: tables whose rows cannot be told apart.

use super::tables;
use crate::check::attempt::{Attempt, attempt};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};

/// Every table has what its rows are told apart by.
pub(in crate::check) struct PrimaryKey;

const ID: &str = "structure.primary-key";

impl Check for PrimaryKey {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "every table has a primary key, or another replica identity"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every table of the project's own has a primary key. One without is published, in a transaction that is \
                     undone, and a row of it is deleted: where that succeeds, because the table has another replica \
                     identity, nothing is said.",
            matters: "Without a key the same row can be there twice, and nobody can remove one of the two. The day that the \
                      table is published (a migration to another version, a warehouse, change data capture), every UPDATE \
                      and DELETE of it fails in production.",
            remedy: "Add a primary key; `add column id bigint generated always as identity primary key` rewrites the table. \
                     Where a unique index over NOT NULL columns is there, `replica identity using index` is enough.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "the application, on the day that a warehouse subscribes to its tables",
            runs: "delete from subscriptions where email = 'a@example.org'",
            gets: "cannot delete from table \"subscriptions\" because it does not have a replica identity",
            because: "the table has no primary key, which nothing had asked for until then",
            fix: "alter table subscriptions add primary key (email)",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::PRIMARY_KEY
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const PUBLISH: &str = "create publication pgharness_made for all tables";

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let keyless: Vec<_> = tables::read(context, &mut control)
        .await?
        .into_iter()
        .filter(|table| !table.has_primary_key && !table.is_foreign)
        .collect();
    if keyless.is_empty() {
        return Ok(Verdict::of(Vec::new()));
    }
    let admin = db.server().endpoint().role();
    let delete = |table: &tables::Table| format!("delete from {} where false", table.name.sql());
    control.execute("begin").await?;
    control
        .execute(AssertSqlSafe(PUBLISH))
        .await
        .attempt(ErrorKind::Database, || "failed to publish the tables".into())?;
    let attempts: Vec<Attempt> =
        keyless.iter().map(|table| Attempt { sql: delete(table), watched: None }).collect();
    let answers = attempt(&mut control, &attempts).await?;
    control.execute("rollback").await?;
    let refused = keyless.iter().zip(answers).filter(|(_, answer)| answer.code.as_deref() == Some("55000"));
    let findings = refused.map(|(table, answer)| Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("table", table.name.to_string()),
        message: format!("`{}` has no primary key: its rows cannot be told apart", table.name),
        help: format!("`alter table {} add primary key (…)`", table.name.sql()),
        evidence: vec![
            Evidence::as_role(admin, "begin", ""),
            Evidence::as_role(admin, PUBLISH, ""),
            Evidence::as_role(admin, delete(table), answer.to_string()),
            Evidence::as_role(admin, "rollback", ""),
        ],
    });
    Ok(Verdict::of(findings.collect()))
}
