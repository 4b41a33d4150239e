//! This repository's own commands.

mod bench;
mod ci;
mod door;
mod fuzz;
mod image;
mod leak_hunt;
mod mutants;
mod random;

use clap::Parser;
use pgharness::{ErrorKind, Result};
use std::ffi::OsString;
use std::process::ExitCode;

/// This repository's own commands.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    after_help = "And all that `pgharness` does: check, drift, explain, psql, verify"
)]
enum Command {
    /// Measures, and prints figures that a bar can be held against.
    Bench(bench::Bench),
    /// Formatting, lints, documentation, floors, dependencies: what CI runs besides the tests.
    Ci,
    /// Sends arbitrary bytes through the wire, and counts what goes wrong.
    Fuzz(fuzz::Fuzz),
    /// Builds a Postgres container image from distribution packages.
    Image,
    /// Kills participants and servers at random moments, and counts what is left of them.
    LeakHunt(leak_hunt::LeakHunt),
    /// Breaks the schema in every way that its operators know, and counts what the checks find.
    Mutants(mutants::Mutants),
    #[command(external_subcommand)]
    Pgharness(Vec<OsString>),
    /// What the bench starts for every group of figures.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    Measure(bench::Measure),
    /// What the hunt starts and kills.
    #[command(hide = true)]
    Participant(pgharness_tests::Participant),
    /// What that starts for every sample.
    #[cfg(feature = "peers")]
    #[command(hide = true, subcommand)]
    Sample(bench::Sample),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Bench(bench) => bench.run(),
        Command::Ci => ci::run(),
        Command::Fuzz(fuzz) => return fuzz.run(),
        Command::Image => image::build(),
        Command::Pgharness(arguments) => return door::open(arguments),
        #[cfg(feature = "peers")]
        Command::Measure(measure) => measure.run(),
        #[cfg(feature = "peers")]
        Command::Sample(sample) => sample.run(),
        Command::LeakHunt(hunt) => return hunt.run(),
        Command::Mutants(mutants) => return mutants.run(),
        Command::Participant(participant) => return participant.run(),
    };
    exit_code(done)
}

fn exit_code(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the edge of the program")]
            {
                eprintln!("error: {}", error.report());
            }
            ExitCode::from(if error.kind() == ErrorKind::Environment { 3 } else { 2 })
        }
    }
}
