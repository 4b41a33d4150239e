//! Figures, with the command that repeats them.

mod caps;
mod databases;
mod figure;
mod first_query;
mod machine;

use clap::{Args, Subcommand, ValueEnum};
use figure::Figure;
use machine::Machine;
use pgharness::{Error, ErrorKind, Result};
use serde::Serialize;

pub(crate) use first_query::FirstQuery;

/// Measures, and prints a figure a line.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Starts, attachments, clones, and the caps in a run of 500 tests.
    Databases(Options),
}

/// How a bench is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only figures whose name starts with this.
    #[arg(long)]
    only: Option<String>,
    /// How often what takes a process of its own is repeated.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.starts_with(only) || only.starts_with(name))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Serialize)]
struct Document {
    version: u32,
    machine: Machine,
    figures: Vec<Figure>,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        let What::Databases(options) = &self.what;
        let mut figures = databases::measure(options)?;
        if options.wants("caps.") {
            figures.extend(caps::measure()?);
        }
        figures.retain(|figure| options.wants(&figure.name));
        if figures.is_empty() {
            let only = options.only.as_deref().unwrap_or_default();
            return Err(Error::new(ErrorKind::Usage, format!("no figure's name starts with `{only}`")));
        }
        let document = Document { version: 1, machine: Machine::here(), figures };
        match options.format {
            Format::Text => say(&document.text()),
            Format::Json => say(&serde_json::to_string(&document).unwrap_or_default()),
        }
        Ok(())
    }
}

impl Document {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for figure in &self.figures {
            text.push_str(&format!("{figure}\n"));
        }
        text.trim_end().to_owned()
    }
}

#[expect(clippy::print_stdout, reason = "a command's own output")]
fn say(text: &str) {
    println!("{text}");
}
