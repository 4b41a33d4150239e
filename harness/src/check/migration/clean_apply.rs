//! `migration.clean-apply`: from nothing to the schema.

use super::transcript::transcript;
use crate::check::first_run::FirstRun;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::{Error, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::migration;

/// Of whoever may not do what it tries.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// The migrations apply to an empty database, as the role that will apply them.
pub(in crate::check) struct CleanApply;

impl Check for CleanApply {
    fn id(&self) -> &'static str {
        "migration.clean-apply"
    }

    fn summary(&self) -> &'static str {
        "all migrations apply to an empty database, as the migrator's role"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "On a new server, with nothing but what `postgres.bootstrap` and `postgres.extensions` bring, \
                     every migration applies in order as `migrations.migrator_role`. Where no role is declared they \
                     are applied by a superuser, which proves less: a missing right shows in production only. \
                     Nothing is said of a database that already holds rows.",
            matters: "Every new environment begins with an empty database: the next developer, the next region, the \
                      restore after a disaster. Migrations that were only ever applied one by one to a database that \
                      was there before them often do not apply from the beginning.",
            remedy: "Mend the statement that the finding shows, or the one before it that should have created what it \
                     needs. What only a superuser may do (roles, some extensions) belongs into \
                     `postgres.bootstrap`, which the harness runs as superuser before.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.clean-apply":
            "bad_order.sql", "bad_right.sql", "bad_syntax.sql", "good.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let migrations = &context.project().migrations;
    if migrations.command.is_none() {
        let problems = migration::problems(&migrations.dir, migrations.format.unwrap_or_default())?;
        if problems.iter().any(|problem| problem.fatal) {
            return Ok(Verdict::skipped("the folder has unsafe names: see `migration.filename`"));
        }
    }
    let run = context.first_run().await?;
    let Some(failure) = &run.failure else { return Ok(Verdict::of(Vec::new())) };
    Ok(Verdict::of(vec![finding(context, run, failure).await?]))
}

async fn finding(context: &Context, run: &FirstRun, failure: &Error) -> Result<Finding> {
    let (project, migrator) = (context.project(), &run.migrator);
    let whom = migrator.whom(&run.db);
    let help = failure.help().unwrap_or_else(|| match failure.sqlstate().as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => {
            "grant what it needs in `postgres.bootstrap`, or do there what only a superuser may"
        }
        _ => "mend what the server complains about",
    });
    let help = help.to_owned();
    let answer = failure.report_without_help();
    let new = |subject: Subject, message: String, evidence: Vec<Evidence>| Finding {
        check: CleanApply.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject,
        message,
        help,
        evidence,
    };
    if let Some(line) = migrator.migrations().command_line() {
        let message = format!("the command fails on an empty database, as {whom}");
        return Ok(new(Subject::new("command", line), message, vec![Evidence::step(line, answer)]));
    }
    let applied = migrator.applied(&run.db).await.unwrap_or_default();
    let role = migrator.role(&run.db);
    let mut evidence = Vec::new();
    if !applied.is_empty() {
        let find = |name: &String| migrator.migrations().iter().find(|migration| migration.name() == name);
        let sql: Vec<String> =
            applied.iter().filter_map(find).map(|migration| transcript(project, migration)).collect();
        evidence.push(Evidence::as_role(role, sql.join("\n"), "applied"));
    }
    let next = migrator.migrations().iter().nth(applied.len());
    Ok(match next.filter(|migration| answer.contains(&format!("`{}`", migration.name()))) {
        Some(migration) => {
            let name = migration.name();
            evidence.push(Evidence::as_role(role, transcript(project, migration), answer));
            let message = format!("`{name}` fails on an empty database, as {whom}");
            new(Subject::new("migration", name), message, evidence)
        }
        // Not a file's fault: the history's table, the role, a lock.
        None => {
            let shown = migrator.shown(project);
            evidence.push(Evidence::step(format!("migrations of {shown} as {role}"), answer));
            let message = format!("the migrations cannot be applied to an empty database, as {whom}");
            new(Subject::new("migrations", shown), message, evidence)
        }
    })
}
