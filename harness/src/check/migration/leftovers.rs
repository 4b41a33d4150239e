//! `migration.leftovers`: nothing half-done stays behind.

use super::transcript::transcript;
use crate::catalog::{Facts, Kind};
use crate::check::drift::look;
use crate::check::first_run::FirstRun;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::migration::{Delivery, Migration};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use std::collections::BTreeMap;

/// The migrations leave nothing half-done.
pub(in crate::check) struct Leftovers;

impl Check for Leftovers {
    fn id(&self) -> &'static str {
        "migration.leftovers"
    }

    fn summary(&self) -> &'static str {
        "no INVALID index, no NOT VALID constraint, no setting that leaks into the next file"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "When all migrations are applied, every index is valid, every constraint is validated, no partition \
                     is being detached, and no trigger of a foreign key is switched off. And where the files are run in \
                     one session, as many tools do, each leaves the session's settings and role as it found them.",
            matters: "An INVALID index costs every write and serves no query. A NOT VALID constraint says nothing of the \
                      rows that were there before, and the planner does not believe it. A `set search_path` or `set \
                      role` that stays decides, with some tools and not with others, where the next file's tables go \
                      and who owns them.",
            remedy: "Create the index on every partition and attach it, or build it anew; `alter table … validate \
                     constraint` in a later migration; `set local` instead of `set`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.leftovers":
            "bad_history.sql", "bad_index.sql", "bad_not_valid.sql", "bad_role.sql", "bad_setting.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let run = context.first_run().await?;
    let catalog = &run.state()?.catalog;
    let role = run.db.server().endpoint().role();
    let mut findings = Vec::new();
    for (kind, name, facts) in catalog.objects() {
        if let Some((severity, what, help)) = half_done(kind, facts) {
            findings.push(Finding {
                check: Leftovers.id().into(),
                class: Class::Mistake,
                severity,
                subject: Subject::new(kind.name(), name),
                message: format!("{kind} `{name}` {what} when all migrations are applied"),
                help: help.into(),
                evidence: vec![Evidence::as_role(role, look(kind, name), what)],
            });
        }
    }
    let (leaks, stopped_at) = leaks(context, run).await?;
    findings.extend(leaks);
    let verdict = Verdict::of(findings);
    Ok(match stopped_at {
        None => verdict,
        Some(name) => verdict.with_remark(format!(
            "settings that leak were not looked for from `{name}` on, which fails where all files run in one session"
        )),
    })
}

/// How bad an object's state is, what it is, and what to do.
fn half_done(kind: Kind, facts: &Facts) -> Option<(Severity, &'static str, &'static str)> {
    let is = |fact: &str, value: &str| facts.get(fact).is_some_and(|found| found == value);
    match kind {
        Kind::Index if is("valid", "no") => Some((
            Severity::Error,
            "is INVALID",
            "build it anew (`reindex index concurrently`), or attach the indexes of all partitions",
        )),
        Kind::Constraint if is("index", "invalid") => Some((
            Severity::Error,
            "has an INVALID index",
            "build the index anew, or attach those of all partitions",
        )),
        Kind::Constraint if is("valid", "no") => Some((
            Severity::Warning,
            "is NOT VALID",
            "`alter table … validate constraint …` in a later migration: writes go on meanwhile",
        )),
        Kind::Column if facts.get("nullable").is_some_and(|nullable| nullable.contains("not valid")) => {
            Some((
                Severity::Warning,
                "has a NOT NULL that is NOT VALID",
                "`alter table … validate constraint …` in a later migration",
            ))
        }
        Kind::Constraint
            if facts.get("enforcement").is_some_and(|enforcement| enforcement.contains("disabled")) =>
        {
            Some((Severity::Error, "is switched off", "`alter table … enable trigger all`"))
        }
        Kind::Table if facts.contains_key("detach") => {
            Some((Severity::Error, "is half detached", "`alter table … detach partition … finalize`"))
        }
        _ => None,
    }
}

/// The files that leave a session other than they found it, when all are run in one session; and the file that fails
/// there, behind which nothing is seen.
async fn leaks(context: &Context, run: &FirstRun) -> Result<(Vec<Finding>, Option<String>)> {
    let migrations = run.migrator.migrations();
    if migrations.is_empty() {
        return Ok((Vec::new(), None));
    }
    let db = context.vacant().await?;
    // A file may speak of the table in which its tool keeps the history.
    run.migrator.create_history(&db).await?;
    let mut session = run.migrator.session(&db).await?;
    let (mut findings, mut stopped_at) = (Vec::new(), None);
    let mut before = settings(&mut session).await?;
    for migration in migrations.iter() {
        // With what an earlier file left it may fail here where it does not with our runner: that file is named.
        if apply(&mut session, migration).await.is_err() {
            stopped_at = Some(migration.name().to_owned());
            break;
        }
        let after = settings(&mut session).await?;
        for (setting, value) in &after {
            if before.get(setting) != Some(value) {
                findings.push(leak(context, run, migration, setting, value));
            }
        }
        before = after;
    }
    let _ = session.close().await;
    Ok((findings, stopped_at))
}

/// Runs a file as a tool does that knows nothing of the session.
async fn apply(session: &mut PgConnection, migration: &Migration) -> sqlx::Result<()> {
    match migration.delivery {
        Delivery::Transaction => {
            let text = format!("begin; {}\n; commit", migration.sql());
            let outcome = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *session).await;
            if outcome.is_err() {
                sqlx::raw_sql("rollback").execute(session).await?;
            }
            outcome.map(|_| ())
        }
        Delivery::Statements => {
            for statement in migration.script.statements() {
                sqlx::raw_sql(AssertSqlSafe(statement.text.to_owned())).execute(&mut *session).await?;
            }
            Ok(())
        }
        Delivery::Message => {
            sqlx::raw_sql(AssertSqlSafe(migration.sql().to_owned())).execute(session).await.map(|_| ())
        }
    }
}

/// What a session was told, with its role.
async fn settings(session: &mut PgConnection) -> Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select name, setting from pg_catalog.pg_settings where source = 'session'
         union all select 'role', pg_catalog.current_setting('role')",
    )
    .persistent(false)
    .fetch_all(session)
    .await?;
    Ok(rows.into_iter().collect())
}

fn leak(context: &Context, run: &FirstRun, migration: &Migration, setting: &str, value: &str) -> Finding {
    let name = migration.name();
    Finding {
        check: Leftovers.id().into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("migration", name),
        message: format!(
            "`{name}` leaves `{setting}` set for the file after it, where both run in one session"
        ),
        help: format!(
            "`set local {setting} = …` ends with the file's transaction; or `reset {setting}` at its end"
        ),
        evidence: vec![
            Evidence::as_role(
                run.migrator.role(&run.db),
                transcript(context.project(), migration),
                "applied",
            ),
            Evidence::as_role(run.migrator.role(&run.db), format!("show {setting}"), value),
        ],
    }
}
