//! A PgBouncer before a server: what lies between clients and Postgres in many productions.

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::{Program, Running, User};
use crate::script::{password, socket};
use crate::wait::Patience;
use sqlx::postgres::PgConnectOptions;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The port in the name of its socket: nobody else's sockets lie in its directory.
const PORT: u16 = 6432;
/// It listens within this time, or something is wrong.
const START_MAX: Duration = Duration::from_secs(20);

/// A PgBouncer in transaction mode, on a unix socket in a directory that only this user and the server's can enter. It
/// ends when this is dropped.
///
/// Whoever comes in is trusted, and must name the role that was given at the start.
#[derive(Debug)]
pub struct PgBouncer {
    // Before the directory: it ends before its files go.
    _running: Running,
    dir: TempDir,
}

impl PgBouncer {
    /// Whether the program is there.
    pub fn is_installed() -> bool {
        program().is_some()
    }

    /// Starts one that leads to the server of `options`, whichever database a client names, with so many connections to
    /// it for each database.
    ///
    /// As root it runs as the server's user: that one must be able to reach the server's socket.
    ///
    /// # Errors
    /// The program is not there, or does not start: then the last line of its log is in the error.
    pub async fn start(options: &PgConnectOptions, pool_size: u32) -> Result<PgBouncer> {
        let program = program().ok_or_else(|| {
            Error::environment("failed to find `pgbouncer`")
                .with_help("install it: `apt-get install pgbouncer`, `brew install pgbouncer`")
        })?;
        let dir = tempfile::Builder::new()
            .prefix("pgharness-bouncer-")
            .tempdir()
            .attempt(ErrorKind::Environment, || "failed to create a directory for PgBouncer".into())?;
        let user = User::for_server();
        let path = |name: &str| dir.path().join(name);
        write(&path("users.txt"), &users(options), user.as_ref())?;
        write(&path("pgbouncer.ini"), &configuration(options, dir.path(), pool_size), user.as_ref())?;
        if let Some(user) = &user {
            user.own(dir.path())?;
        }
        let log =
            File::create(path("log")).attempt(ErrorKind::Environment, || "failed to create a log".into())?;
        let mut running = Program::new(program)
            .arg(path("pgbouncer.ini"))
            .with_plain_environment()
            .as_user(user)
            .output(log)
            .ends_with_us()
            .start()?;
        let door = path(&format!(".s.PGSQL.{PORT}"));
        let patience = Patience::new("PgBouncer to listen", START_MAX);
        while let Err(error) = UnixStream::connect(&door) {
            if running.try_status()?.is_some() {
                let log = std::fs::read_to_string(path("log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("nothing");
                return Err(Error::environment(format!(
                    "failed to start `pgbouncer`: its log ends with `{last}`"
                )));
            }
            patience.not_yet(&error.to_string()).await?;
        }
        Ok(PgBouncer { _running: running, dir })
    }

    /// The same options, leading here.
    pub fn options(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().socket(self.dir.path()).port(PORT)
    }
}

/// Debian keeps it where only root's `PATH` leads.
fn program() -> Option<PathBuf> {
    let dirs = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];
    dirs.iter().map(|dir| Path::new(dir).join("pgbouncer")).find(|path| path.is_file())
}

fn configuration(options: &PgConnectOptions, dir: &Path, pool_size: u32) -> String {
    let host = socket(options).unwrap_or_else(|| options.get_host().to_owned());
    format!(
        "[databases]\n\
         * = host={host} port={port}\n\
         [pgbouncer]\n\
         listen_port = {PORT}\n\
         unix_socket_dir = {dir}\n\
         unix_socket_mode = 0700\n\
         auth_type = trust\n\
         auth_file = {dir}/users.txt\n\
         pool_mode = transaction\n\
         default_pool_size = {pool_size}\n\
         ignore_startup_parameters = extra_float_digits, options\n",
        host = quoted(&host, '\''),
        port = options.get_port(),
        dir = dir.display(),
    )
}

fn users(options: &PgConnectOptions) -> String {
    let mut line = String::new();
    let password = password(options).unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(line, "{} {}", quoted(options.get_username(), '"'), quoted(&password, '"'));
    line
}

/// Both of its files double a quote within quotes.
fn quoted(text: &str, quote: char) -> String {
    format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}

fn write(path: &Path, text: &str, user: Option<&User>) -> Result<()> {
    std::fs::write(path, text)
        .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))?;
    user.map_or(Ok(()), |user| user.own(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_quoted() {
        let options = PgConnectOptions::new_without_pgpass().username("a\"b").password("p w");
        assert_eq!(users(&options), "\"a\"\"b\" \"p w\"\n");
        let text = configuration(&options.socket("/run/it's"), Path::new("/tmp/x"), 3);
        assert!(text.contains("* = host='/run/it''s' port=5432\n"), "{text}");
    }
}
