//! This repository's own commands.

mod bench;
mod ci;
mod image;
mod leak_hunt;

use clap::Parser;
use pgharness::{ErrorKind, Result};
use std::ffi::OsString;
use std::process::ExitCode;

/// This repository's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Measures, and prints figures that a bar can be held against.
    Bench(bench::Bench),
    /// Formatting, lints, documentation, floors, dependencies: what CI runs besides the tests.
    Ci,
    /// Builds a Postgres container image from distribution packages.
    Image,
    /// Kills participants and servers at random moments, and counts what is left of them.
    LeakHunt(leak_hunt::LeakHunt),
    /// What `pgharness` does: check, drift, explain, psql, verify.
    #[command(external_subcommand)]
    Pgharness(Vec<OsString>),
    /// What the bench starts for every sample.
    #[command(hide = true)]
    FirstQuery(bench::FirstQuery),
    /// What the hunt starts and kills.
    #[command(hide = true)]
    Participant(pgharness_tests::Participant),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Bench(bench) => bench.run(),
        Command::Ci => ci::run(),
        Command::Image => image::build(),
        Command::Pgharness(arguments) => {
            let program = OsString::from("cargo xtask");
            return pgharness::cli::run(std::iter::once(program).chain(arguments));
        }
        Command::FirstQuery(sample) => return sample.run(),
        Command::LeakHunt(hunt) => return hunt.run(),
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
