//! The command line: one file per subcommand.

mod check;
mod doctor;
mod drift;
mod explain;
mod init;
mod lock;
mod migrate;
mod output;
mod plan;
mod psql;
mod target;
mod verify;

use crate::error::{Error, ErrorKind, Result};
use crate::report::Colour;
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
    Doctor(doctor::Arguments),
    Drift(drift::Arguments),
    Explain(explain::Arguments),
    Init(init::Arguments),
    Lock(lock::Arguments),
    /// Applies the pending migrations to a database.
    Migrate(target::Job),
    Plan(plan::Arguments),
    Psql(psql::Arguments),
    Verify(verify::Arguments),
}

/// What a subcommand has to say.
struct Answer {
    text: String,
    exit_code: u8,
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
    let colour = output::colour();
    let printed = answer(arguments.command, colour)
        .and_then(|answer| output::print(&answer.text).map(|()| answer.exit_code));
    ExitCode::from(printed.unwrap_or_else(|error| {
        output::error(&error);
        exit_code(error.kind())
    }))
}

fn answer(command: Command, colour: Colour) -> Result<Answer> {
    match command {
        Command::Check(arguments) => check::run(&arguments, colour),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Drift(arguments) => drift::run(&arguments, colour),
        Command::Explain(arguments) => explain::run(&arguments, colour),
        Command::Init(arguments) => init::run(&arguments),
        Command::Lock(arguments) => lock::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Psql(arguments) => psql::run(&arguments, colour),
        Command::Verify(arguments) => verify::run(&arguments, colour),
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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fs;
    use std::path::Path;

    /// The exit code of `pgharness` with `arguments`, `{dir}` replaced, and what it says.
    fn run(dir: &Path, arguments: &str) -> (u8, String) {
        let arguments = format!("pgharness {}", arguments.replace("{dir}", &dir.display().to_string()));
        let parsed = match Arguments::try_parse_from(arguments.split_whitespace()) {
            Ok(parsed) => parsed,
            Err(answer) => return (u8::try_from(answer.exit_code()).unwrap(), answer.to_string()),
        };
        match answer(parsed.command, Colour::Off) {
            Ok(answer) => (answer.exit_code, answer.text),
            Err(error) => (exit_code(error.kind()), error.report()),
        }
    }

    #[rstest]
    #[case::clean(
        "check --config {dir}/clean.toml --only operations.literal-secrets",
        0,
        "clean (exit code 0)"
    )]
    #[case::findings(
        "check --config {dir}/findings.toml --only operations.literal-secrets",
        1,
        "migrations/1_a.sql` holds a password"
    )]
    #[case::json(
        "check --config {dir}/findings.toml --only operations.literal-secrets --format json",
        1,
        "\"version\": 1,"
    )]
    #[case::only("check --config {dir}/clean.toml --only operations.literal-secrets", 0, "1 check: 1 passed")]
    #[case::unknown_check("check --config {dir}/clean.toml --only a.b", 2, "there is no check `a.b`")]
    #[case::broken_configuration("check --config {dir}/broken.toml", 2, "line 1: unknown key `postgrs`")]
    #[case::no_folder("check --config {dir}/no_folder.toml", 2, "`migrations.dir`: there is no folder")]
    #[case::no_configuration("check --config {dir}/none.toml", 2, "failed to read the configuration")]
    #[case::usage("check --bogus", 2, "unexpected argument '--bogus'")]
    #[case::no_command("", 2, "Usage: pgharness <COMMAND>")]
    #[case::help("--help", 0, "Exit codes: 0 clean; 1 findings;")]
    #[case::list("explain", 0, "operations.literal-secrets ")]
    #[case::explain(
        "explain operations.literal-secrets",
        0,
        "Bad fixtures/checks/operations.literal-secrets/bad.sql"
    )]
    #[case::explain_suite("explain suite.unused-allowance", 0, "What to do")]
    #[case::explain_unknown("explain literal-secret", 2, "did you mean `operations.literal-secrets`?")]
    fn exit_codes(#[case] arguments: &str, #[case] code: u8, #[case] part: &str) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("clean.toml", "[migrations]\ndir = \"clean\"\n"),
            ("clean/1_a.sql", "select 1;\n"),
            ("no_folder.toml", "[migrations]\ndir = \"none\"\n"),
            ("findings.toml", ""),
            ("broken.toml", "[postgrs]\n"),
            ("migrations/1_a.sql", "alter role a password 'hunter2';\n"),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let (seen, text) = run(dir.path(), arguments);
        assert_eq!(seen, code, "{text}");
        assert!(text.contains(part), "{text}");
        assert!(!text.contains("hunter2") || arguments.starts_with("explain"), "{text}");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
