//! `operations.history`: what is recorded in a live database, against the files.

use crate::check::migrator::Migrator;
use crate::check::place::Place;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use std::collections::BTreeSet;

/// How many files the evidence names.
const FILES_MAX: usize = 10;

/// What a live database has recorded is what the files say.
pub(in crate::check) struct LiveHistory;

impl Check for LiveHistory {
    fn id(&self) -> &'static str {
        "operations.history"
    }

    fn summary(&self) -> &'static str {
        "a live database has recorded each migration as the files have it"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The history of the live database, in the form of the format's own tool, is read and held against \
                     the files: nothing is recorded of which there is no file, nothing is half-applied, and no file has \
                     changed since it was applied, as far as its tool keeps checksums. What is pending is told. It \
                     takes no lock. What a command records is its own affair.",
            matters: "The next deployment applies what the history does not have. A file that was edited since is not \
                      applied again, and a row without a file stops most tools.",
            remedy: "Restore the file as it was applied, and write what was changed as a new one. Deploy what is pending \
                     before anything that needs it.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Live]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.history":
            "bad_edited.sql", "bad_half_applied.sql", "bad_no_file.sql", "bad_pending.sql", "bad_strange_table.sql", "good.sql",
            "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let migrator = Migrator::of(project)?;
    if migrator.migrations().command_line().is_some() {
        return Ok(Verdict::skipped("a command keeps its own history"));
    }
    let place = Place::of(context).await?;
    let options = place.guarded();
    let shown = place.shown();
    place.close().await;
    let tell = |severity, subject: &str, message: String, help: &str, seen: String| Finding {
        check: LiveHistory.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("migration", subject),
        message,
        help: help.into(),
        evidence: vec![Evidence::step(format!("the history of {shown}"), seen)],
    };
    let entries = match migrator.history_by(&options).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::Migration => {
            let message = format!("the history of {shown} is not that of these migrations");
            let help = error.help().unwrap_or("is it the right database?").to_owned();
            return Ok(Verdict::of(vec![tell(
                Severity::Error,
                &migrator.shown(project),
                message,
                &help,
                error.report_without_help(),
            )]));
        }
        Err(error) => return Err(error),
    };
    let files: BTreeSet<&str> = migrator.migrations().iter().map(|migration| migration.name()).collect();
    let recorded: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut findings = Vec::new();
    for entry in &entries {
        if !files.contains(entry.name.as_str()) {
            findings.push(tell(
                Severity::Error,
                &entry.name,
                format!("`{}` is recorded in {shown}, and there is no such file", entry.name),
                "is this the release that runs there? restore the file that was applied",
                format!("version {}, applied at {}", entry.version, entry.applied_at),
            ));
        } else if !entry.complete {
            findings.push(tell(
                Severity::Error,
                &entry.name,
                format!("`{}` is half-applied in {shown}", entry.name),
                "look what is missing, complete it by hand, and mend the row",
                format!("version {} is recorded as not complete", entry.version),
            ));
        }
    }
    let pending: Vec<&str> = migrator
        .migrations()
        .iter()
        .map(|migration| migration.name())
        .filter(|name| !recorded.contains(name))
        .collect();
    if findings.is_empty()
        && let Err(error) = migrator.pending_by(&options).await
    {
        findings.push(refused(&error, &shown, tell));
    }
    if let Some(first) = pending.first() {
        let some = pending.iter().take(FILES_MAX).copied().collect::<Vec<_>>().join(", ");
        findings.push(tell(
            Severity::Warning,
            first,
            format!("{} of {} migrations are not applied in {shown}", pending.len(), files.len()),
            "apply them (`pgharness migrate`, or the project's own tool) before a release that needs them",
            format!("not recorded: {some}"),
        ));
    }
    Ok(Verdict::of(findings))
}

/// What the runner would refuse to go on with.
fn refused(
    error: &Error,
    shown: &str,
    tell: impl Fn(Severity, &str, String, &str, String) -> Finding,
) -> Finding {
    let help = error.help().unwrap_or("restore the files as they were applied").to_owned();
    let message = format!("the history of {shown} is at odds with the files");
    tell(Severity::Error, "history", message, &help, error.report_without_help())
}
