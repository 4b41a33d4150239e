//! `pgharness check`: runs the battery.

use super::{Answer, block_on, output};
use crate::check::Registry;
use crate::error::Result;
use crate::report::{self, Colour, Report};
use crate::secret::Secret;
use crate::suite::{Config, Setting, Suite};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Runs the checks on the project's schema, or on a live database.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: Project,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Run only these checks; `*` stands for any characters: `tenancy.*`.
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',')]
    only: Vec<String>,
    /// Look at this live database: its URL, or `env:NAME` of the variable that holds it. It is only read, and what
    /// cannot look at it is skipped.
    #[arg(long, value_name = "URL")]
    live: Option<Setting>,
    /// Also try there what each role does: statements that write, in transactions that are rolled back.
    #[arg(long, requires = "live")]
    probes: bool,
    #[command(flatten)]
    pace: Pace,
}

/// A live database, and what it is for.
#[derive(Clone, Debug)]
pub(super) enum Live {
    /// The migrations are compared with it.
    Beside(Secret),
    /// Nothing else is looked at.
    Alone { url: Secret, probes: bool },
}

/// What all commands about a project share.
#[derive(Args, Debug)]
pub(super) struct Project {
    /// The configuration; without it `pgharness.toml` here, or else the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How much of a battery runs at a time.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Run at most so many checks at a time; not set: what is fastest on a machine with few processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For machines: version 1.
    Json,
}

impl Project {
    /// What the project says of itself.
    pub(super) fn load(&self) -> Result<Config> {
        match &self.config {
            Some(path) => Config::load(path),
            None => Config::load_or_default(Path::new(".")),
        }
    }
}

pub(super) fn run(arguments: &Arguments, colour: Colour) -> Result<Answer> {
    let config = arguments.project.load()?;
    let url = arguments.live.as_ref().map(Setting::value).transpose()?;
    let live = url.map(|url| Live::Alone { url, probes: arguments.probes });
    let report = battery(&config, Registry::standard(), &arguments.only, live, arguments.pace)?;
    answer(&report, arguments.format, colour)
}

/// Runs the checks of `registry` that `only` names, or all.
pub(super) fn battery(
    config: &Config,
    registry: Registry,
    only: &[String],
    live: Option<Live>,
    pace: Pace,
) -> Result<Report> {
    let progress = output::Progress::new();
    let mut suite = Suite::new(config)
        .with_registry(registry)
        .with_only(only)
        // Some checks start it several times.
        .with_program(std::env::current_exe().ok())
        .with_watch(|now| progress.show(now.done, now.total, now.ended.unwrap_or_default()));
    suite = match live {
        None => suite,
        Some(Live::Beside(url)) => suite.with_live(Some(url)),
        Some(Live::Alone { url, probes }) => suite.on_live(url).with_live_probes(probes),
    };
    if let Some(jobs) = pace.jobs {
        suite = suite.with_jobs(jobs.into());
    }
    block_on(suite.run())
}

/// `report` as it was asked for.
pub(super) fn answer(report: &Report, format: Format, colour: Colour) -> Result<Answer> {
    let text = match format {
        Format::Text => report::text(report, colour),
        Format::Json => report::json(report)?,
    };
    Ok(Answer { text, exit_code: report.outcome.exit_code() })
}
