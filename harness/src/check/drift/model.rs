//! `drift.model`: the project's own generator agrees with the migrations.

use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::postgres::command_path;
use crate::process::{Finished, Program};
use crate::script::{environment, last_lines};
use std::time::Duration;

/// How long the command may take: it may compile.
const DEADLINE: Duration = Duration::from_secs(280);

/// What a shell answers for a program that it does not find, or may not run.
const NOT_FOUND: [i32; 2] = [126, 127];

/// The project's own generator agrees with the migrations.
pub(in crate::check) struct ModelDrift;

impl Check for ModelDrift {
    fn id(&self) -> &'static str {
        "drift.model"
    }

    fn summary(&self) -> &'static str {
        "the project's own model agrees with the migrations"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The command of `snapshot.model` succeeds on a migrated and seeded database: `alembic check`, \
                     `cargo sqlx prepare --check`, or `diesel print-schema | diff - src/schema.rs`. It runs in the \
                     project's folder and is told of the database by `DATABASE_URL` and libpq's variables, as the \
                     role that applies migrations; the database is the check's own and is thrown away. What the \
                     command compares is the command's affair.",
            matters: "The code believes in a model of the schema: an ORM's classes, a generated file, statements that \
                      were checked at some time. Where the migrations went on without it, it fails at run time, on \
                      the first query that uses what differs.",
            remedy: "Generate the model anew and commit it with the migration, or write the migration that the model \
                     asks for.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Model]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("drift.model": "bad_column.sql", "good.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let Some(line) = &project.snapshot.model else {
        return Ok(Verdict::skipped("`snapshot.model` names no command"));
    };
    let db = context.database().await?;
    let options = match &project.migrations.migrator_role {
        Some(role) => db.options_as(role),
        None => db.options(),
    };
    // In the order of what happened.
    let mut program = Program::shell(&format!("{{ {line}\n}} 2>&1"))
        .current_dir(crate::check::databases::absolute(&project.dir)?)
        .deadline(DEADLINE)
        .ends_with_us();
    for (name, value) in environment(&options, command_path(db.server().installation()).await) {
        program = program.env(name, value);
    }
    let Finished { status, stdout, .. } = program.run_async().await?;
    let said = last_lines(&stdout, &options);
    if status.success() {
        return Ok(Verdict::of(Vec::new()));
    }
    if status.code().is_some_and(|code| NOT_FOUND.contains(&code)) {
        let message = format!("the command of `snapshot.model` cannot be run: `{line}`: {status}{said}");
        return Err(Error::new(ErrorKind::Environment, message).with_help("install what it needs"));
    }
    Ok(Verdict::of(vec![Finding {
        check: ModelDrift.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("command", line.clone()),
        message: "the project's own model does not agree with the migrations".into(),
        help: "generate the model anew, or write the migration that it asks for".into(),
        evidence: vec![Evidence::step(line.clone(), format!("{status}{said}"))],
    }]))
}
