//! `migration.history`: what is recorded is what there is.

use super::transcript::transcript;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use std::collections::BTreeSet;

/// Every file is recorded once, and nothing else is.
pub(in crate::check) struct HistoryCheck;

impl Check for HistoryCheck {
    fn id(&self) -> &'static str {
        "migration.history"
    }

    fn summary(&self) -> &'static str {
        "the history has every applied file once, in order, and nothing else"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "After a run from zero the history, in the form of the format's own tool, has every file once, in the \
                     order in which they were applied, and nothing else; and that tool's rules of what is half-applied, \
                     edited or missing find nothing to complain of. What a command records is its own affair.",
            matters: "The history decides what the next deployment applies. A migration that edits it, or that is not \
                      recorded, is applied again, or never.",
            remedy: "Leave the tool's table alone in migrations; where files were squashed, let the tool do it.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.history": "bad_edited.sql", "bad_forgotten.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let run = context.first_run().await?;
    run.state()?;
    let migrations = run.migrator.migrations();
    if migrations.command_line().is_some() {
        return Ok(Verdict::skipped("a command keeps its own history"));
    }
    let shown = run.migrator.shown(context.project());
    let files: Vec<String> = migrations.iter().map(|migration| migration.name().to_owned()).collect();
    let role = run.migrator.role(&run.db);
    let applied: Vec<String> =
        migrations.iter().map(|migration| transcript(context.project(), migration)).collect();
    let tell = |message: String, seen: String| {
        Verdict::of(vec![Finding {
            check: HistoryCheck.id().into(),
            class: Class::Mistake,
            severity: Severity::Error,
            subject: Subject::new("migrations", shown.clone()),
            message,
            help: "let no migration write to the table of its own tool".into(),
            evidence: vec![
                Evidence::as_role(role, applied.join("\n"), "applied"),
                Evidence::step(format!("the history of {shown}"), seen),
            ],
        }])
    };
    let recorded = match run.migrator.applied(&run.db).await {
        Ok(recorded) => recorded,
        Err(error) => return Ok(tell("the history cannot be read".into(), error.report_without_help())),
    };
    if recorded != files {
        let (has, wants): (BTreeSet<&String>, BTreeSet<&String>) =
            (recorded.iter().collect(), files.iter().collect());
        let names =
            |some: Vec<&&String>| some.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let (lost, new) = (names(wants.difference(&has).collect()), names(has.difference(&wants).collect()));
        let message = match (lost.is_empty(), new.is_empty()) {
            (false, _) => format!("the history forgets {lost}, which was applied"),
            (true, false) => format!("the history has {new}, of which there is no file"),
            (true, true) => "the history has the files in another order than they were applied in".into(),
        };
        return Ok(tell(message, recorded.join("\n")));
    }
    match run.migrator.pending(&run.db).await {
        Ok(0) => Ok(Verdict::of(Vec::new())),
        Ok(pending) => Ok(tell("what was applied is pending".into(), format!("{pending} pending"))),
        Err(error) => Ok(tell("the history is at odds with the files".into(), error.report_without_help())),
    }
}
