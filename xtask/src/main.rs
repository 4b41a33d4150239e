//! This repository's own commands.

mod ci;
mod image;

use clap::{Parser, Subcommand};
use pgharness::{ErrorKind, Result};
use std::process::ExitCode;

/// This repository's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formatting, lints, documentation, floors, dependencies: what CI runs besides the tests.
    Ci,
    /// Builds a Postgres container image from distribution packages.
    Image,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the edge of the program")]
            {
                eprintln!("error: {}", error.report());
            }
            ExitCode::from(if error.kind() == ErrorKind::Environment { 3 } else { 2 })
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Ci => ci::run()?,
        Command::Image => image::build()?,
    }
    Ok(ExitCode::SUCCESS)
}
