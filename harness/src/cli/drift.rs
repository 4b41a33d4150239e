//! `pgharness drift`: the schema against what is known of it elsewhere.

use super::{Answer, block_on, check};
use crate::check::{Accepted, Context, Registry, accept};
use crate::error::Result;
use crate::report::Colour;
use crate::suite::Config;
use clap::Args;

/// Compares the migrations with the committed snapshot.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: check::Project,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = check::Format::Text)]
    format: check::Format,
    /// Writes the snapshot instead.
    #[arg(long, conflicts_with = "format")]
    accept: bool,
}

pub(super) fn run(arguments: &Arguments, colour: Colour) -> Result<Answer> {
    let config = arguments.project.load()?;
    if arguments.accept {
        return write(&config);
    }
    let report = check::battery(&config, Registry::standard(), &["drift.*".into()])?;
    check::answer(&report, arguments.format, colour)
}

fn write(config: &Config) -> Result<Answer> {
    let context = Context::new(config.project()?).with_server(config.server()?);
    let Accepted { file, changes } = block_on(accept(&context))?;
    let file = file.strip_prefix(".").unwrap_or(&file).display();
    let text = match changes {
        None => format!("`{file}` written\n"),
        Some(changes) if changes.is_empty() => format!("`{file}` says so already\n"),
        Some(changes) => format!("{}\n`{file}` written\n", changes.join("\n")),
    };
    Ok(Answer { text, exit_code: 0 })
}
