//! This repository's own commands.

mod ci;
mod image;
mod leak_hunt;

use clap::Parser;
use pgharness::{ErrorKind, Result};
use std::process::ExitCode;

/// This repository's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Formatting, lints, documentation, floors, dependencies: what CI runs besides the tests.
    Ci,
    /// Builds a Postgres container image from distribution packages.
    Image,
    /// Kills participants and servers at random moments, and counts what is left of them.
    LeakHunt(leak_hunt::LeakHunt),
    /// What the hunt starts and kills.
    #[command(hide = true)]
    Participant(pgharness_tests::Participant),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Ci => ci::run(),
        Command::Image => image::build(),
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
