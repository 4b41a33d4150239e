//! `migration.clean-apply`: from nothing to the schema.

use crate::check::first_run::FirstRun;
use crate::check::migrator::shown_path;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::{Error, Result};
use crate::finding::{Evidence, Finding, Severity, Subject};
use crate::migration;

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
    let help = failure.help().unwrap_or("mend what the server complains about").to_owned();
    let answer = failure.report_without_help();
    let new = |subject: Subject, message: String, evidence: Vec<Evidence>| Finding {
        check: CleanApply.id().into(),
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
    let include = |name: &str| {
        let path = shown_path(project, &migrator.migrations().dir().join(name));
        format!("\\i {}", psql_quoted(&path))
    };
    let role = migrator.role(&run.db);
    let mut evidence = Vec::new();
    if !applied.is_empty() {
        let sql: Vec<String> = applied.iter().map(|name| include(name)).collect();
        evidence.push(Evidence::as_role(role, sql.join("\n"), "applied"));
    }
    let next = migrator.migrations().iter().nth(applied.len()).map(|migration| migration.name());
    Ok(match next.filter(|name| answer.contains(&format!("`{name}`"))) {
        Some(name) => {
            evidence.push(Evidence::as_role(role, include(name), answer));
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

/// An argument of a command of psql's own.
fn psql_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_quoted() {
        assert_eq!(psql_quoted("migrations/0001_a.sql"), "migrations/0001_a.sql");
        assert_eq!(psql_quoted("it's here/a.sql"), "'it''s here/a.sql'");
    }
}
