//! What measures a group of figures: started by the conductor, and starting a process for every sample itself.

mod battery;
mod build;
mod caps;
mod explore;
mod generated;
mod get;
mod migrations;
mod nextest;
mod sample;
mod start;
mod suite;
mod template1g;
mod wire;
mod workspace;

use super::figure::Figure;
use super::group::Group;
use super::samples::Samples;
use clap::Args;
use pgharness::database::TemplateBuilder;
use pgharness::process::Program;
use pgharness::{Error, ErrorKind, Result, Template};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use sample::Sample;

/// Measures a group of figures and prints them as JSON.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    group: Group,
    /// The conductor's place, which the environment names too.
    #[arg(long)]
    place: PathBuf,
    #[arg(long)]
    repository: PathBuf,
    #[arg(long)]
    runs: usize,
    #[arg(long)]
    only: Option<String>,
}

impl Measure {
    pub(crate) fn run(&self) -> Result<()> {
        let figures = match self.group {
            Group::Start => start::measure(self)?,
            Group::Get => get::measure(self)?,
            Group::Suite100 => suite::measure(self)?,
            Group::Nextest200 => nextest::measure(self)?,
            Group::Migrations300 => migrations::measure(self)?,
            Group::Template1g => template1g::measure(self)?,
            Group::Build => build::measure(self)?,
            Group::Caps => caps::measure(self)?,
            Group::Battery => battery::measure(self)?,
            Group::Explore => explore::measure(self)?,
            Group::Wire => wire::measure(self)?,
        };
        super::say(&serde_json::to_string(&figures).unwrap_or_default());
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    fn wants(&self, name: &str) -> bool {
        super::wants(self.only.as_deref(), name)
    }

    /// How often something is done that is `times` as dear as a start.
    fn rounds(&self, times: usize) -> usize {
        (self.runs / times).max(1)
    }

    /// The template of twenty migrations.
    fn template(&self) -> Template {
        self.recipe().build()
    }

    /// The same, to be varied.
    fn recipe(&self) -> TemplateBuilder {
        Template::builder(self.path("workspace")).with_migrations("migrations")
    }

    /// This program, about to take a sample.
    fn sample<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Program> {
        let ours = std::env::current_exe().map_err(super::place::failed)?;
        Ok(Program::new(ours)
            .arg("sample")
            .args(arguments)
            .ends_with_us()
            .deadline(Duration::from_secs(1800)))
    }
}

/// The numbers that a sample printed.
fn numbers<const N: usize>(sample: Program) -> Result<[f64; N]> {
    let text = sample.run()?.check(ErrorKind::Server, || "a sample failed".into())?.text();
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().map_err(|_| Error::new(ErrorKind::Server, format!("a sample said `{text}`")))
}

fn one_number(sample: Program) -> Result<f64> {
    let [number] = numbers(sample)?;
    Ok(number)
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Environment, "failed to make a runtime").with_source(error))
}

/// Milliseconds since then.
pub(super) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What a peer's samples gave: a peer that fails is not asked again, and its figures say why.
fn ask_peer(peer: &mut Result<Samples>, sample: impl FnOnce() -> Result<f64>) {
    if let Ok(samples) = peer {
        match sample() {
            Ok(number) => samples.push(number),
            Err(error) => *peer = Err(error),
        }
    }
}

/// Ours beside a peer's, or why there is nothing to put beside.
fn beside(name: &str, ours: &Samples, peer: &str, theirs: &Result<Samples>) -> Figure {
    match theirs {
        Ok(theirs) => ours.times_better(name, peer, theirs),
        Err(error) => Figure::not_measured(name, error.report()),
    }
}
