//! `pgharness migrate`: what a check starts several of.

use super::{Answer, block_on};
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::migration::{Format, Migrations, Runner};
use clap::Args;
use sqlx::postgres::PgConnectOptions;
use std::path::PathBuf;

/// Applies the migrations in a folder to the database of `DATABASE_URL`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The folder.
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// How its files are laid out.
    #[arg(long, default_value = "auto")]
    format: String,
    /// The table for the history, if it is not that of the format's own tool.
    #[arg(long, value_name = "TABLE")]
    history: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let format: Format = arguments.format.parse()?;
    let migrations = Migrations::load(&arguments.dir, format)?;
    let url = env::DATABASE_URL
        .text()
        .ok_or_else(|| Error::usage(format!("{} is not set", env::DATABASE_URL.name)))?;
    let options: PgConnectOptions = url
        .parse()
        .attempt(ErrorKind::Usage, || format!("{} is no URL of a database", env::DATABASE_URL.name))?;
    let mut runner = Runner::new(&migrations);
    if let Some(table) = &arguments.history {
        runner = runner.with_history(table);
    }
    let applied = block_on(async { runner.apply(&options).await })?;
    let text = applied.applied.iter().map(|one| format!("{}\n", one.name)).collect();
    Ok(Answer { text, exit_code: 0 })
}
