//! `pgharness check`: runs the battery.

use super::{Answer, block_on};
use crate::error::Result;
use crate::report::{self, Colour};
use crate::suite::{self, Config};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Runs the checks on the project's schema.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) project: Project,
    /// Run only these checks; `*` stands for any characters: `tenancy.*`.
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',')]
    only: Vec<String>,
}

/// What all commands about a project share.
#[derive(Args, Debug)]
pub(super) struct Project {
    /// The configuration; without it `pgharness.toml` here, or else the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines: version 1.
    Json,
}

pub(super) fn run(arguments: &Arguments, colour: Colour) -> Result<Answer> {
    battery(&arguments.project, &arguments.only, colour)
}

/// Runs the checks that `only` names, or all.
pub(super) fn battery(project: &Project, only: &[String], colour: Colour) -> Result<Answer> {
    let config = match &project.config {
        Some(path) => Config::load(path)?,
        None => Config::load_or_default(Path::new("."))?,
    };
    let report = block_on(suite::run(&config, only))?;
    let text = match project.format {
        Format::Text => report::text(&report, colour),
        Format::Json => report::json(&report)?,
    };
    Ok(Answer { text, exit_code: report.outcome.exit_code() })
}
