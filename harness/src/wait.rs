//! The only file that may sleep: waiting for an observable state with a deadline and the last status.

use crate::error::{Error, ErrorKind, Result};
use std::time::{Duration, Instant};

/// What a look at a condition showed.
#[derive(Debug)]
pub enum Look<T> {
    /// It holds.
    Ready(T),
    /// Not yet; the status is named if the deadline passes.
    NotYet(String),
}

/// The pause after a look that showed "not yet": short at first, since most waits are, then longer.
fn pause(waited: Duration) -> Duration {
    (waited / 8).clamp(Duration::from_micros(300), Duration::from_millis(25))
}

fn timed_out(what: &str, deadline: Duration, status: &str) -> Error {
    Error::new(
        ErrorKind::Server,
        format!("gave up after {deadline:?} waiting for {what}; last status: {status}"),
    )
}

/// Looks until `look` is ready, blocking the thread.
///
/// # Errors
/// What `look` returns as an error, at once; or, when `deadline` has passed, an error that names `what` and
/// the last status.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        match look()? {
            Look::Ready(value) => return Ok(value),
            Look::NotYet(status) if started.elapsed() >= deadline => {
                return Err(timed_out(what, deadline, &status));
            }
            Look::NotYet(_) => block(pause(started.elapsed())),
        }
    }
}

/// As [`until`], without blocking the runtime.
///
/// # Errors
/// As [`until`].
pub async fn until_async<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match look().await? {
            Look::Ready(value) => return Ok(value),
            Look::NotYet(status) if started.elapsed() >= deadline => {
                return Err(timed_out(what, deadline, &status));
            }
            Look::NotYet(_) => pass(pause(started.elapsed())).await,
        }
    }
}

/// A wait whose looks the caller takes in a loop of its own. Unlike that of [`until_async`], whose async closure
/// rustc 1.95 cannot prove to be `Send` for every lifetime, a future with such a loop can be spawned.
#[derive(Debug)]
pub(crate) struct Patience {
    what: String,
    deadline: Duration,
    started: Instant,
}

impl Patience {
    /// Patience until `deadline` from now for `what`.
    pub(crate) fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Patience { what: what.into(), deadline, started: Instant::now() }
    }

    /// Pauses after a look that showed "not yet".
    ///
    /// # Errors
    /// The deadline has passed; the error names what was waited for and `status`.
    pub(crate) async fn not_yet(&self, status: &str) -> Result<()> {
        if self.started.elapsed() >= self.deadline {
            return Err(timed_out(&self.what, self.deadline, status));
        }
        pass(pause(self.started.elapsed())).await;
        Ok(())
    }
}

/// Blocks the thread for a while: a back-off between attempts, never a substitute for a condition.
#[expect(clippy::disallowed_methods, reason = "this is the file that may sleep")]
pub(crate) fn block(time: Duration) {
    std::thread::sleep(time);
}

/// Lets the runtime go on for a while.
#[expect(clippy::disallowed_methods, reason = "this is the file that may sleep")]
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_status_is_named() {
        let mut looks = 0;
        let error = until("the server", Duration::from_millis(1), || {
            looks += 1;
            Ok(Look::<()>::NotYet(format!("look {looks}")))
        })
        .unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("gave up after 1ms waiting for the server; last status: look "), "{text}");
    }
}
