//! `pgharness plan`: what `migrate` would do.

use super::target::Job;
use super::{Answer, block_on};
use crate::error::{Error, Result};
use crate::migration::Migration;
use std::path::Path;

pub(super) fn run(arguments: &Job) -> Result<Answer> {
    let loaded = arguments.source.load()?;
    let (pending, whose): (Vec<&Migration>, &str) = match arguments.target.find()? {
        Some((options, _)) => (block_on(async { loaded.runner().pending(&options).await })?, "the database"),
        None => match loaded.migrations.command_line() {
            None => (loaded.migrations.iter().collect(), "an empty database"),
            Some(line) => return Err(Error::usage(format!("what is pending is known to `{line}` only"))),
        },
    };
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
