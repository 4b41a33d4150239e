//! The command line: one file per subcommand.

mod check;
mod explain;
mod output;
mod verify;

use crate::error::{Error, ErrorKind, Result};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// A real Postgres for every test in milliseconds, and proof that schema and data layer do what you think.
///
/// Exit codes: 0 clean; 1 findings; 2 usage or configuration; 3 the environment, or a check that broke.
#[derive(Debug, Parser)]
#[command(name = "pgharness", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Explain(explain::Arguments),
    Verify(verify::Arguments),
}

/// Runs the command line `arguments`, of which the first is the program's name; prints, and returns the exit
/// code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version come this way too, for which clap's exit code is 0; of an error it is 2.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    let done = match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::from(exit_code(error.kind()))
        }
    }
}

/// 2 for what the user wrote, 3 for where it ran.
fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage | ErrorKind::Migration | ErrorKind::Fixture => 2,
        ErrorKind::Environment | ErrorKind::Server | ErrorKind::Database => 3,
    }
}

/// Runs `future` to its end.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::environment("failed to start the runtime").with_source(source))?
        .block_on(future)
}
