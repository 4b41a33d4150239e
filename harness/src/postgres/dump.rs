//! Dumps and restores by Postgres' own client programs.

use super::Installation;
use crate::error::{Attempt, ErrorKind, Result};
use crate::process::{Finished, Program};
use crate::secret::Secret;
use std::fs::File;
use std::io::{Seek, Write};
use std::time::Duration;

/// Which database to talk to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name of the host, or the directory of the socket.
    pub host: String,
    /// The port, which is part of the socket's name too.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The role's password, if it needs one.
    pub password: Option<Secret>,
}

/// The form of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// SQL text, restored by `psql`.
    Plain,
    /// The archive format of `pg_dump`, restored by `pg_restore`.
    Custom,
}

/// Dumps a database by `pg_dump`; `options` are its own, such as `--schema-only`.
///
/// # Errors
/// There is no `pg_dump` for the server, or it fails.
pub fn dump(
    installation: &Installation,
    target: &Target,
    format: Format,
    options: &[&str],
) -> Result<Vec<u8>> {
    let format = match format {
        Format::Plain => "--format=plain",
        Format::Custom => "--format=custom",
    };
    let program = program(installation, "pg_dump", target)?.arg(format).args(options);
    Ok(finish(program, "dump", target)?.stdout)
}

/// Restores a dump into an existing database, all of it or nothing; `options` are those of `pg_restore` or,
/// for a plain dump, of `psql`.
///
/// # Errors
/// There is no such program for the server, or a statement fails.
pub fn restore(
    installation: &Installation,
    target: &Target,
    format: Format,
    dump: &[u8],
    options: &[&str],
) -> Result<()> {
    let program = match format {
        Format::Plain => sql_reader(installation, target)?.arg("--single-transaction"),
        Format::Custom => {
            program(installation, "pg_restore", target)?.args(["--exit-on-error", "--single-transaction"])
        }
    };
    finish(program.args(options).stdin(file_of(dump)?), "restore", target).map(drop)
}

/// Runs a script by `psql`, which understands more than SQL; gives what it writes. It ends at the first
/// statement that fails.
///
/// # Errors
/// There is no `psql` for the server, or a statement fails.
pub fn psql(installation: &Installation, target: &Target, script: &str) -> Result<String> {
    let program = sql_reader(installation, target)?.args(["--no-align", "--tuples-only"]);
    let finished = finish(program.stdin(file_of(script.as_bytes())?), "run a script in", target)?;
    Ok(finished.text())
}

fn sql_reader(installation: &Installation, target: &Target) -> Result<Program> {
    let program = program(installation, "psql", target)?;
    // Without the user's start-up file, which may change anything.
    Ok(program.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]))
}

fn program(installation: &Installation, name: &str, target: &Target) -> Result<Program> {
    let mut program = Program::new(installation.client_tool(name)?)
        // PGOPTIONS, PGSERVICE and the like would change what is done, and where.
        .with_plain_environment()
        .env("PGPASSFILE", "/dev/null")
        .env("PGCLIENTENCODING", "UTF8")
        .arg(format!("--host={}", target.host))
        .arg(format!("--port={}", target.port))
        .arg(format!("--username={}", target.user))
        .arg(format!("--dbname={}", connection_string(&target.database)))
        .arg("--no-password")
        .deadline(Duration::from_secs(3600))
        .ends_with_us();
    if let Some(password) = &target.password {
        // Never on the command line, which everybody on the machine can read.
        program = program.env("PGPASSWORD", password.expose());
    }
    Ok(program)
}

/// A database's name, quoted: bare, one such as `a=b` would be taken for connection parameters.
fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn finish(program: Program, what: &str, target: &Target) -> Result<Finished> {
    program
        .run()?
        .check(ErrorKind::Database, || format!("failed to {what} the database `{}`", target.database))
}

fn file_of(bytes: &[u8]) -> Result<File> {
    let mut file = tempfile::tempfile()
        .attempt(ErrorKind::Environment, || "failed to create a temporary file".into())?;
    file.write_all(bytes)
        .and_then(|()| file.rewind())
        .attempt(ErrorKind::Environment, || "failed to write a temporary file".into())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("app", "dbname='app'")]
    #[case("a=b", "dbname='a=b'")]
    #[case("it's \\ odd", "dbname='it\\'s \\\\ odd'")]
    fn names_of_databases_are_quoted(#[case] name: &str, #[case] expect: &str) {
        assert_eq!(connection_string(name), expect);
    }
}
