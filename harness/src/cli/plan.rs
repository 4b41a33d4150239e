//! `pgharness plan`: what `migrate` would do.

use super::target::Job;
use super::{Answer, block_on, check};
use crate::check::{Context, Deed, Held, Loss, manifest};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::migration::Migration;
use clap::Args;
use std::fmt::Write as _;
use std::path::Path;

/// Shows the pending migrations of a database; all of them where no database is named. Changes nothing.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    job: Job,
    /// Says of each what it will do: objects, locks, what is lost for good. It is tried on a database of our own.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "text", value_name = "FORM")]
    manifest: Option<check::Format>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let Arguments { job, manifest } = arguments;
    let loaded = job.source.load()?;
    let (pending, whose): (Vec<&Migration>, &str) = match job.target.find()? {
        Some((options, _)) => (block_on(async { loaded.runner().pending(&options).await })?, "the database"),
        None => match loaded.migrations.command_line() {
            None => (loaded.migrations.iter().collect(), "an empty database"),
            Some(line) => return Err(Error::usage(format!("what is pending is known to `{line}` only"))),
        },
    };
    if let Some(format) = manifest {
        return told(job, &pending, *format);
    }
    let mut text = format!("{} of {} pending on {whose}\n", pending.len(), loaded.migrations.len());
    let rows: Vec<[String; 4]> = pending.iter().map(|migration| row(migration)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    for [version, file, delivery, statements] in &rows {
        let [v, f, d] = widths;
        text.push_str(&format!("  {version:<v$}  {file:<f$}  {delivery:<d$}  {statements}\n"));
    }
    Ok(Answer { text, exit_code: 0 })
}

/// What `pending` will do, tried on a database of our own.
fn told(job: &Job, pending: &[&Migration], format: check::Format) -> Result<Answer> {
    let config = job.source.config()?;
    let context = Context::new(config.project()?).with_server(config.server()?);
    let versions = pending.iter().map(|migration| migration.version.to_string()).collect();
    let manifest = block_on(manifest(&context, &versions))?;
    let text = match format {
        check::Format::Text => match &manifest.migrations[..] {
            [] => "nothing is pending\n".to_owned(),
            deeds => deeds.iter().map(page).collect::<Vec<_>>().join("\n"),
        },
        check::Format::Json => {
            let text = serde_json::to_string_pretty(&manifest);
            text.attempt(ErrorKind::Environment, || "failed to write the manifest as JSON".into())? + "\n"
        }
    };
    Ok(Answer { text, exit_code: 0 })
}

/// What a migration will do, for people.
fn page(deed: &Deed) -> String {
    let Deed { name, delivery, is_atomic, unseen, .. } = deed;
    let fate = if *is_atomic { "" } else { "; what fails halfway stays half done" };
    let mut text = format!("{name}, {delivery}{fate}\n");
    let mut line = |title: &str, what: &str| {
        let _ = writeln!(text, "  {title:<9} {what}");
    };
    let lists = [("creates", &deed.created), ("changes", &deed.changed), ("drops", &deed.dropped)];
    for (title, objects) in lists {
        objects.iter().for_each(|object| line(title, object));
    }
    for Held { table, mode, keeps_readers, waits_forever } in &deed.locks {
        let who = if *keeps_readers { "nobody can read or write it" } else { "nobody can write to it" };
        let wait = if *waits_forever { ", and it waits for the lock without end" } else { "" };
        line("locks", &format!("{table}: {mode}, {who}{wait}"));
    }
    deed.rewritten.iter().for_each(|table| line("rewrites", table));
    deed.scanned.iter().for_each(|table| line("reads all", &format!("of {table}")));
    if *unseen > 0 {
        line("unseen", &format!("locks of statements that do not run in a transaction: {unseen}"));
    }
    for Loss { what, recovery } in &deed.lost {
        line("loses", &format!("{what}: {recovery}"));
    }
    text
}

/// Its version, its file, how it is sent, and how many statements it has.
fn row(migration: &Migration) -> [String; 4] {
    let count = migration.script.statements().len();
    let path = migration.path();
    let here = std::env::current_dir().unwrap_or_default();
    let file = path.strip_prefix(&here).or_else(|_| path.strip_prefix(Path::new("."))).unwrap_or(path);
    [
        migration.version.to_string(),
        file.display().to_string(),
        migration.delivery.to_string(),
        format!("{count} statement{}", if count == 1 { "" } else { "s" }),
    ]
}
