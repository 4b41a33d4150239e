//! `migration.down`: what undoes a migration undoes it.

use super::transcript::psql_quoted;
use crate::catalog::{Catalog, diff};
use crate::check::first_run::State;
use crate::check::walk::{NO_STEPS, Step, Walk};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::script::Script;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Down files take back what their migrations did, which can be done again.
pub(in crate::check) struct Down;

impl Check for Down {
    fn id(&self) -> &'static str {
        "migration.down"
    }

    fn summary(&self) -> &'static str {
        "where a migration can be undone, undoing and doing it again gives the same schema"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "From the last migration to the first, what undoes it is run, and then the migration again: both \
                     succeed, the schema after undoing is the one before the migration, and the schema after doing it \
                     again is the same as the first time. Where a migration cannot be undone, those before it are not \
                     looked at. Rows are not compared: a dropped column does not come back with its values.",
            matters: "A down file is written once and run never, until the night on which a deployment has to be taken \
                      back. Then it fails half-way, or leaves a type behind on which the next attempt fails.",
            remedy: "Undo in reverse order all that the migration does, types and functions included; or delete the down \
                     file, if nobody is ever going to run it.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.down": "bad_fails.sql", "bad_leaves.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let Some(walk) = context.walk().await? else { return Ok(Verdict::skipped(NO_STEPS)) };
    if walk.steps().all(|step| step.migration.down.is_none()) {
        return Ok(Verdict::skipped("no migration has a way back"));
    }
    let db = context.vacant().await?;
    walk.migrator.apply(&db).await?;
    let mut session = walk.migrator.session(&db).await?;
    let mut findings = Vec::new();
    for step in walk.steps().rev() {
        let Some(down) = &step.migration.down else { break };
        let mut turns = [
            ("undoing", down, step.before_catalog()),
            ("doing again", &step.migration.script, step.after_catalog()),
            ("undoing again", down, step.before_catalog()),
        ]
        .into_iter();
        let fault = loop {
            let Some((what, script, expected)) = turns.next() else { break None };
            if let Err(error) = run(&mut session, script).await {
                break Some(finding(
                    context,
                    walk,
                    &step,
                    down,
                    &format!("{what} it fails"),
                    error.to_string(),
                ));
            }
            let state = State::read(&db, &walk.migrator).await?;
            if let Some(changes) = differences(expected, &state.catalog) {
                break Some(finding(
                    context,
                    walk,
                    &step,
                    down,
                    &format!("{what} it gives another schema"),
                    changes,
                ));
            }
        };
        if let Some(fault) = fault {
            findings.push(fault);
            break;
        }
    }
    let _ = session.close().await;
    Ok(Verdict::of(findings))
}

/// Runs a script as its statements ask for: in one transaction where they can be.
async fn run(session: &mut PgConnection, script: &Script) -> sqlx::Result<()> {
    const IN_A_TRANSACTION: &str = "25001";
    let whole = sqlx::raw_sql(AssertSqlSafe(script.text().to_owned())).execute(&mut *session).await;
    let refused = |error: &sqlx::Error| {
        error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == IN_A_TRANSACTION)
    };
    match whole {
        Err(error) if refused(&error) => {
            for statement in script.statements() {
                sqlx::raw_sql(AssertSqlSafe(statement.text.to_owned())).execute(&mut *session).await?;
            }
        }
        other => {
            other?;
        }
    }
    sqlx::raw_sql("reset all; reset role").execute(session).await?;
    Ok(())
}

fn differences(expected: &Catalog, found: &Catalog) -> Option<String> {
    let changes: Vec<String> = diff(expected, found).iter().map(ToString::to_string).collect();
    (!changes.is_empty()).then(|| changes.join("\n"))
}

fn finding(
    context: &Context,
    walk: &Walk,
    step: &Step<'_>,
    down: &Script,
    what: &str,
    seen: String,
) -> Finding {
    let name = step.migration.name();
    let shown = crate::check::migrator::shown_path(context.project(), down.path());
    let sql = match down.is_whole() {
        true => format!("\\i {}", psql_quoted(&shown)),
        false => format!("-- {}, the way back\n{}", down.name(), down.shown()),
    };
    Finding {
        check: Down.id().into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("migration", name),
        message: format!("`{name}` can be undone, they say: {what}"),
        help: "mend what undoes it, or take it away".into(),
        evidence: vec![Evidence::as_role(walk.migrator.role(&walk.db), sql, seen)],
    }
}
