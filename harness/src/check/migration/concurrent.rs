//! `migration.concurrent`: several migrators at once.

use super::crowd::{Ended, let_loose};
use super::schedules;
use crate::catalog::diff;
use crate::check::first_run::State;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use std::path::Path;

/// How many migrate at once.
const MIGRATORS: usize = 4;

/// Several migrators at once do what one does.
pub(in crate::check) struct Concurrent;

impl Check for Concurrent {
    fn id(&self) -> &'static str {
        "migration.concurrent"
    }

    fn summary(&self) -> &'static str {
        "four migrators at once do what one does, and none fails"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Four processes that apply the migrations to one empty database at the same moment all succeed, \
                     and what comes of it is what one of them alone brings about: the same catalog, as many rows in \
                     every table, each file once in the history. The first is held back until all have come as \
                     far, so that they really meet. Where the server is one of our own and the program was built with \
                     the feature `explore`, two and then three migrators are also driven statement by statement (a command \
                     only if it came this far without fault), \
                     through every order in which one turn is taken away, for a few seconds: all succeed, and the \
                     history is that of one. The measurements `migration.concurrent.orders` and `…not_tried` say how many orders \
                     were tried and how many at least were not. For the built-in runner it is an error, since that promises it; \
                     for a command it is a warning, unless `migrations.concurrent = true` promises it too: many \
                     well-known tools take no lock.",
            matters: "Three instances of a service start at once after a deployment, and each migrates first. Without \
                      a lock one of them applies a file that another is applying: it fails with \"already exists\" \
                      and takes the deployment with it, or a backfill runs twice.",
            remedy: "Migrate from one place (a job before the deployment), or take an advisory lock around the tool: \
                     by asking again and again (`pg_try_advisory_lock`), never by waiting within the server, for \
                     which `create index concurrently` waits in turn.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.concurrent": "bad_ends_sessions.sql", "bad_no_lock.sql", "good.sql", "good_command.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let first = context.first_run().await?;
    let alone = first.state()?;
    let migrator = &first.migrator;
    let is_command = migrator.migrations().command_line().is_some();
    let program = match context.program() {
        Some(program) => program,
        None if is_command => Path::new("pgharness"),
        None => return Ok(Verdict::skipped("needs the program `pgharness`, of which it starts several")),
    };
    let db = context.vacant().await?;
    let before = schedules::shared(&db).await?;
    let ended = let_loose(MIGRATORS, &db, migrator, program).await?;
    let together = State::read(&db, migrator).await?;

    let mut findings = Vec::new();
    let shown = migrator.shown(context.project());
    let severity = match is_command && !context.project().migrations.concurrent {
        true => Severity::Warning,
        false => Severity::Error,
    };
    let mut tell = |message: String, result: String| {
        let step = Evidence::step(format!("{shown}, in {MIGRATORS} processes at once"), result);
        findings.push(Finding {
            check: Concurrent.id().into(),
            class: Class::Mistake,
            severity,
            subject: Subject::new(if is_command { "command" } else { "migrations" }, shown.clone()),
            message,
            help: "migrate from one place, or take a lock around the tool; `pgharness explain \
                   migration.concurrent` says how"
                .into(),
            evidence: vec![step],
        });
    };
    let failed: Vec<&Ended> = ended.iter().filter(|one| !one.is_success).collect();
    if let [one, ..] = failed[..] {
        tell(format!("{} of {MIGRATORS} migrators at once fail", failed.len()), one.said.clone());
    }
    let changes = diff(&alone.catalog, &together.catalog);
    if !changes.is_empty() {
        let seen: Vec<String> = changes.iter().map(ToString::to_string).collect();
        tell(format!("{MIGRATORS} migrators at once bring about another schema than one"), seen.join("\n"));
    }
    let rows = other_rows(alone, &together);
    if !rows.is_empty() {
        tell(format!("{MIGRATORS} migrators at once write other rows than one"), rows.join("\n"));
    }
    if let Some(twice) = migrator.applied_otherwise(&migrator.options(&db)).await? {
        tell(format!("{MIGRATORS} migrators at once leave another history than one"), twice);
    }
    // That a command takes no lock need not be shown twice: it starts anew for every order.
    if is_command && !failed.is_empty() {
        return Ok(Verdict::of(findings));
    }
    let driven = schedules::drive(context, severity, &db, &before).await?;
    findings.extend(driven.findings);
    Ok(Verdict::of(findings).with_measurements(driven.measurements))
}

/// The tables that both have, with other numbers of rows.
fn other_rows(alone: &State, together: &State) -> Vec<String> {
    let differs = |(table, rows): (&String, &i64)| {
        let other = together.rows.get(table)?;
        (rows != other).then(|| format!("{table}: {rows} rows by one, {other} by several"))
    };
    alone.rows.iter().filter_map(differs).collect()
}
