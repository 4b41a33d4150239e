//! `pgharness verify`: everything, one report.

use super::{Answer, check};
use crate::error::{Attempt, ErrorKind, Result};
use crate::report::{self, Colour};
use crate::suite;
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs everything, for one report.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: check::Project,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = check::Format::Text)]
    format: check::Format,
    /// Writes the report to this file too: as a page where its name ends in `.html`, else as JSON. May be given several
    /// times.
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    #[command(flatten)]
    pace: check::Pace,
}

pub(super) fn run(arguments: &Arguments, colour: Colour) -> Result<Answer> {
    let config = arguments.project.load()?;
    let report = check::battery(&config, suite::registry(), &[], None, arguments.pace)?;
    for file in &arguments.report {
        let is_page = file.extension().is_some_and(|extension| extension == "html");
        let text = if is_page { report::html(&report) } else { report::json(&report)? };
        write(file, &text)?;
    }
    check::answer(&report, arguments.format, colour)
}

fn write(file: &Path, text: &str) -> Result<()> {
    file.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(file, text))
        .attempt(ErrorKind::Environment, || format!("failed to write the report `{}`", file.display()))
}
