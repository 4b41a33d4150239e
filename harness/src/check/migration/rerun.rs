//! `migration.rerun`: a second run changes nothing.

use super::traces::{Traces, Written};
use crate::catalog::diff;
use crate::check::first_run::{FirstRun, State};
use crate::check::{Check, Context, Example, Explanation, Need, Project, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::quote_literal;

/// Applying the migrations again changes nothing.
pub(in crate::check) struct Rerun;

impl Check for Rerun {
    fn id(&self) -> &'static str {
        "migration.rerun"
    }

    fn summary(&self) -> &'static str {
        "a second run of the migrations changes nothing"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The runner is run again on the database that it has just migrated: it succeeds, the catalog is \
                     the same as before, and no table was written to but the runner's own history. That is seen \
                     on the server, by its transaction ids and its counters of rows, so it holds for any tool. It \
                     does not say that each file could be run twice: no runner does that.",
            matters: "Deployments are retried, and every instance of a service may start with a migration. A second \
                      run that seeds again doubles rows; one that recreates functions or grants takes locks in \
                      the middle of the day.",
            remedy: "Let a tool with a history apply the files, or write seeds with `on conflict do nothing` and keep \
                     what is run every time out of the migration command.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.rerun":
            "bad_fails.sql", "bad_rows.sql", "bad_schema.sql", "good.sql",
            "good_runner.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let run = context.first_run().await?;
    let first = run.state()?;
    let turn = run.turn.lock().await;
    let before = Traces::read(&run.db).await?;
    let second = run.migrator.apply(&run.db).await;
    let after = Traces::read(&run.db).await?;
    drop(turn);
    let shown = run.migrator.shown(context.project());
    let step = |result: String| Evidence::step(format!("{shown}, a second time"), result);

    let mut findings = Vec::new();
    if let Err(error) = second {
        let message = "a second run of the migrations fails".to_owned();
        findings.push(finding(
            run,
            context.project(),
            Severity::Error,
            message,
            vec![step(error.report_without_help())],
        ));
    }
    let changes = diff(&first.catalog, &State::read(&run.db, &run.migrator).await?.catalog);
    if !changes.is_empty() {
        let seen: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let message = "a second run of the migrations changes the schema".to_owned();
        findings.push(finding(run, context.project(), Severity::Error, message, vec![step(seen.join("\n"))]));
    }
    let written: Vec<Written> = after
        .written_since(&before)
        .into_iter()
        .filter(|written| !run.migrator.is_history(&written.table))
        .collect();
    // Whoever spent no transaction id wrote nothing, whatever the counters of a busy server say. What was written
    // to catalogs by a change of the schema is told already.
    let (own, system): (Vec<&Written>, Vec<&Written>) =
        written.iter().partition(|written| written.table.schema != "pg_catalog");
    if after.ids_since(&before) > 0 {
        let tell = |tables: &[&Written], severity, what: &str| {
            let message = format!("a second run of the migrations {what}");
            let mut evidence = vec![step(format!("{} transaction ids spent", after.ids_since(&before)))];
            evidence.extend(tables.iter().map(|written| counters(run, written)));
            finding(run, context.project(), severity, message, evidence)
        };
        if !own.is_empty() {
            findings.push(tell(&own, Severity::Error, "writes rows again"));
        } else if !system.is_empty() && changes.is_empty() && findings.is_empty() {
            findings.push(tell(&system, Severity::Warning, "replaces objects that were there already"));
        }
    }
    Ok(Verdict::of(findings))
}

fn finding(
    run: &FirstRun,
    project: &Project,
    severity: Severity,
    message: String,
    evidence: Vec<Evidence>,
) -> Finding {
    let kind = if run.migrator.migrations().command_line().is_some() { "command" } else { "migrations" };
    Finding {
        check: Rerun.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new(kind, run.migrator.shown(project)),
        message,
        help: "let a tool with a history apply the files; take what runs every time out of the command"
            .into(),
        evidence,
    }
}

/// The counters, for whoever wants to see them move.
fn counters(run: &FirstRun, written: &Written) -> Evidence {
    let Written { table, rows: (inserted, updated, deleted) } = written;
    Evidence::as_role(
        run.db.server().endpoint().role(),
        format!(
            "select n_tup_ins, n_tup_upd, n_tup_del from pg_stat_all_tables where relid = {}::regclass",
            quote_literal(&table.sql())
        ),
        format!("{inserted} inserted, {updated} updated, {deleted} deleted by the second run"),
    )
}
