//! `pgharness drift`: the schema against what is known of it elsewhere.

use super::{Answer, block_on, check};
use crate::check::{Accepted, Context, Registry, accept};
use crate::error::Result;
use crate::report::Colour;
use crate::suite::{Config, Setting};
use clap::Args;

/// Compares the migrations with the committed snapshot, with their own dump, and with a live database.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: check::Project,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = check::Format::Text)]
    format: check::Format,
    /// A live database to compare with: its URL, or `env:NAME` of the variable that holds it. It is only read.
    #[arg(long, value_name = "URL")]
    live: Option<Setting>,
    /// Writes the snapshot instead.
    #[arg(long, conflicts_with_all = ["format", "live"])]
    accept: bool,
}

pub(super) fn run(arguments: &Arguments, colour: Colour) -> Result<Answer> {
    let config = arguments.project.load()?;
    if arguments.accept {
        return write(&config);
    }
    let live = arguments.live.as_ref().map(Setting::value).transpose()?.map(check::Live::Beside);
    let report =
        check::battery(&config, Registry::standard(), &["drift.*".into()], live, check::Pace::default())?;
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
