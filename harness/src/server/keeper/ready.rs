//! Waiting until a server that was started answers.

use super::launch::{Failure, Launch, START_DEADLINE, log_tail};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::Running;
use crate::server::{Endpoint, Facts};
use crate::wait::{self, Look};
use sqlx::{ConnectOptions, Connection};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

impl Launch<'_> {
    /// Waits until the server at `base` answers, and notes what others must know of it.
    pub(super) fn wait_until_ready(
        &self,
        base: &Path,
        port: u16,
        keeper: &mut Running,
        log: &File,
    ) -> Result<(), Failure> {
        let started = std::time::Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .attempt(ErrorKind::Environment, || "failed to make a runtime".into())
            .map_err(Failure::Other)?;
        let endpoint = Endpoint::socket(base.to_owned(), port);
        let options = endpoint.options(endpoint.maintenance_database());
        let ask = async || {
            let answer = async {
                let mut connection = options.connect().await?;
                // Where it does not tell, whoever needs to know asks again.
                let _ = Facts::ask(Some(base), &mut connection).await;
                connection.close().await
            };
            // A server that was stopped by a signal takes connections and never says a word.
            match tokio::time::timeout(START_DEADLINE, answer).await {
                Ok(answered) => answered,
                Err(late) => Err(sqlx::Error::Io(late.into())),
            }
        };
        let mut failure: fn(Error) -> Failure = Failure::Other;
        wait::closely("the server to answer", START_DEADLINE, || {
            let status = match told(base) {
                Ok(()) => match runtime.block_on(ask()) {
                    Ok(()) => return Ok(Look::Ready(())),
                    // It answers, but not in a way that waiting would change: its data is broken.
                    Err(error) if is_final(&error) => {
                        return Err(Error::server(format!(
                            "the server started at `{}` is of no use",
                            base.display()
                        ))
                        .with_source(error));
                    }
                    Err(error) => error.to_string(),
                },
                Err(status) => status,
            };
            if base.join("uncopied").exists() {
                return Err(self.copy_failed(base, log));
            }
            if let Ok(status) = fs::read_to_string(base.join("ended")) {
                // The shell's way to say that a signal ended it.
                if status.trim().parse::<i32>().is_ok_and(|status| status > 128) {
                    failure = Failure::Killed;
                } else if fs::read_to_string(base.join("log"))
                    .is_ok_and(|log| log.contains("could not create any TCP/IP sockets"))
                {
                    failure = |_| Failure::PortTaken;
                }
                return Err(self.server_failed(base, status.trim(), started.elapsed()));
            }
            if let Some(status) = keeper.try_status()?
                && !base.join("up").exists()
            {
                // It gives up where it cannot even say that there is no data.
                if status.code().is_some() {
                    return Err(self.copy_failed(base, log));
                }
                failure = Failure::Killed;
                return Err(Error::server(format!("the keeper of `{}` was killed", base.display())));
            }
            Ok(Look::NotYet(status))
        })
        .map_err(failure)
    }

    fn server_failed(&self, base: &Path, status: &str, after: Duration) -> Error {
        let kept = self.home.state_dir.join("server.log");
        let tail = log_tail(base, 1);
        let kept = match fs::copy(base.join("log"), &kept) {
            Ok(_) => format!("; log kept at `{}`", kept.display()),
            Err(_) => String::new(),
        };
        Error::server(format!(
            "failed to start `{}`: exited with status {status} within {after:.0?}; last log line: `{}`{kept}",
            self.installation.program("postgres").display(),
            tail.join("")
        ))
    }
}

/// Whether a server's data are all there and its postmaster says that it takes connections; else how far it is. To try
/// to connect instead would take from the start what it looks for: a backend each time.
fn told(base: &Path) -> Result<(), String> {
    // In the eighth line, since version 10.
    const STATUS_LINE: usize = 7;
    if !base.join("up").exists() || base.join("uncopied").exists() {
        return Err("its data are not all there".to_owned());
    }
    let file = fs::read_to_string(base.join("data/postmaster.pid")).unwrap_or_default();
    match file.lines().nth(STATUS_LINE).map(str::trim_end) {
        Some("ready" | "standby") => Ok(()),
        Some(status) => Err(format!("it is {status}")),
        None => Err("it has not begun".to_owned()),
    }
}

/// Whether a server that answers so will not answer otherwise later.
fn is_final(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|answer| answer.code()).is_some_and(|code| code != "57P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_once_its_data_are_there_and_it_says_that_it_is_ready() {
        let base = tempfile::tempdir().unwrap();
        let is_asked = || told(base.path()).is_ok();
        let say = |status: &str| {
            let file = format!("1\n/data\n0\n5432\n/base\n127.0.0.1\n  5432 1\n{status:<8}\n");
            fs::write(base.path().join("data/postmaster.pid"), file).unwrap();
        };
        fs::create_dir(base.path().join("data")).unwrap();
        say("ready");
        assert!(!is_asked(), "its databases are still being copied");
        fs::write(base.path().join("up"), "").unwrap();
        assert!(is_asked());
        say("starting");
        assert!(!is_asked());
        say("standby");
        assert!(is_asked());
        fs::write(base.path().join("uncopied"), "").unwrap();
        assert!(!is_asked());
    }
}
