//! Figures, with the command that repeats them.
//!
//! `cargo xtask bench` is the conductor: it builds this program once more, in release and with the peers (feature
//! `peers`), and starts that for each group of figures, as an ordinary user and in a place of its own.

mod figure;
mod group;
mod machine;
#[cfg(feature = "peers")]
mod measure;
mod medium;
#[cfg(feature = "peers")]
mod peer;
mod place;
mod release;
#[cfg(any(test, feature = "peers"))]
mod samples;
mod schema;
mod scratch;
mod table;

use clap::{Args, Subcommand, ValueEnum};
use figure::Figure;
use group::{Group, Subject};
use machine::Machine;
use medium::Medium;
use pgharness::{Error, ErrorKind, Result};
use place::Place;
use release::Release;
use serde::Serialize;
use std::io::IsTerminal;

#[cfg(feature = "peers")]
pub(crate) use measure::{Measure, Sample};

/// Measures, and prints a figure a line.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The battery on a long history and on many tenant tables, and on this repository with one worker beside two.
    Checks(Options),
    /// Starts, databases and whole suites beside the peers, migrations, builds, and the caps in a long run.
    Databases(Options),
    /// Schedules explored in a second, and what the proxy adds to a round trip.
    Explore(Options),
}

/// How a bench is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only figures whose name starts with this.
    #[arg(long)]
    only: Option<String>,
    /// How often a start is repeated; what is shorter is repeated more often, what is longer less.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Only on this medium, where a figure can be measured on both.
    #[arg(long, value_enum)]
    medium: Option<Medium>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Whether `name`, a figure's or the beginning of several, is meant by `only`.
fn wants(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| name.starts_with(only) || only.starts_with(name))
}

#[derive(Serialize)]
struct Document {
    version: u32,
    machine: Machine,
    figures: Vec<Figure>,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        let (subject, options) = match &self.what {
            What::Checks(options) => (Subject::Checks, options),
            What::Databases(options) => (Subject::Databases, options),
            What::Explore(options) => (Subject::Explore, options),
        };
        let only = options.only.as_deref();
        let groups: Vec<Group> = Group::of(subject).filter(|group| wants(only, group.prefix())).collect();
        if groups.is_empty() {
            return Err(no_such_figure(subject, only));
        }
        let release = Release::build()?;
        let mut document = Document { version: 1, machine: Machine::here(), figures: Vec::new() };
        options.say_text(&document.machine.to_string());
        let mut broken = Vec::new();
        for group in groups {
            let mut figures = Vec::new();
            for medium in options.media(group) {
                // Some take minutes, and those that build packages as many more on a machine where nothing is built.
                progress(&format!("measuring {}", medium.name(&format!("{}*", group.prefix()))));
                figures.extend(options.measure(&release, group, medium).unwrap_or_else(|error| {
                    let name = medium.name(&format!("{}*", group.prefix()));
                    broken.push(name.clone());
                    let medium = group.has_data().then_some(medium);
                    vec![Figure { medium, ..Figure::not_measured(name, error.report()) }]
                }));
            }
            for line in table::lines(&figures) {
                options.say_text(&line);
            }
            document.figures.extend(figures);
        }
        if document.figures.is_empty() {
            return Err(no_such_figure(subject, only));
        }
        if options.format == Format::Json {
            say(&serde_json::to_string(&document).unwrap_or_default());
        }
        match broken.is_empty() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Environment, format!("failed: {}", broken.join(", ")))),
        }
    }
}

impl Options {
    /// Where a group is measured: on both media, or on the one that was asked for.
    fn media(&self, group: Group) -> Vec<Medium> {
        match self.medium {
            _ if !group.has_data() => vec![Medium::Memory],
            Some(medium) => vec![medium],
            None => Medium::ALL.into(),
        }
    }

    /// Measures a group in a process of its own.
    fn measure(&self, release: &Release, group: Group, medium: Medium) -> Result<Vec<Figure>> {
        let user = if group.needs_cargo() { None } else { release::ordinary_user() };
        let place = Place::new(medium, user)?;
        let mut program = place
            .program(release.program())
            .arg("measure")
            .arg(group.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default())
            .arg(format!("--runs={}", self.runs))
            .arg("--place")
            .arg(place.path(""))
            .arg("--repository")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if group == Group::Template1g {
            // Room for a few of its size.
            program = program.env("PGHARNESS_DATABASES_MIB_MAX", "8192").env("PGHARNESS_AHEAD", "1");
        }
        if let Some(only) = &self.only {
            program = program.arg(format!("--only={}", Medium::Disk.plain_name(only)));
        }
        let finished = program
            .run()?
            .check(ErrorKind::Environment, || format!("failed to measure `{}*`", group.prefix()))?;
        place.wait_until_stopped()?;
        let mut figures: Vec<Figure> = serde_json::from_str(&finished.text()).map_err(|error| {
            Error::new(ErrorKind::Environment, "failed to read figures").with_source(error)
        })?;
        for figure in &mut figures {
            figure.name = medium.name(&figure.name);
            figure.medium = group.has_data().then_some(medium);
        }
        figures.retain(|figure| wants(self.only.as_deref(), &figure.name));
        Ok(figures)
    }

    fn say_text(&self, line: &str) {
        if self.format == Format::Text {
            say(line);
        }
    }
}

fn no_such_figure(subject: Subject, only: Option<&str>) -> Error {
    let known: Vec<_> = Group::of(subject).map(|group| format!("`{}`", group.prefix())).collect();
    Error::new(ErrorKind::Usage, format!("no figure's name starts with `{}`", only.unwrap_or_default()))
        .with_help(format!("names start with {}", known.join(", ")))
}

#[expect(clippy::print_stderr, reason = "a command's progress")]
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

#[expect(clippy::print_stdout, reason = "a command's own output")]
fn say(text: &str) {
    println!("{text}");
}
