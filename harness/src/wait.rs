//! The only file that may sleep: waiting for an observable state with a deadline and the last status.

use crate::error::{Error, ErrorKind, Result};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park};
use std::time::{Duration, Instant};
use tokio::task::unconstrained;

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

/// As [`pause`], after a look that costs next to nothing.
fn short_pause(waited: Duration) -> Duration {
    (waited / 64).clamp(Duration::from_micros(300), Duration::from_millis(25))
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
pub fn until<T>(what: &str, deadline: Duration, look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    with_pauses(what, deadline, pause, look)
}

/// As [`until`], for a look that costs next to nothing: little time passes between the moment when the condition holds
/// and the look that shows it.
///
/// # Errors
/// As [`until`].
pub(crate) fn closely<T>(what: &str, deadline: Duration, look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    with_pauses(what, deadline, short_pause, look)
}

fn with_pauses<T>(
    what: &str,
    deadline: Duration,
    pause: impl Fn(Duration) -> Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
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

/// Something that happens once, in one thread, and that others wait for. Needs no thread-local, so that it works while
/// a process exits.
#[derive(Debug, Default)]
pub(crate) struct Event {
    has_happened: Mutex<bool>,
    happened: Condvar,
}

impl Event {
    /// It happens.
    pub(crate) fn happen(&self) {
        *self.has_happened.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.happened.notify_all();
    }

    /// Whether it has happened.
    pub(crate) fn has_happened(&self) -> bool {
        *self.has_happened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks the thread until it has happened, or the time is over.
    pub(crate) fn wait(&self, time: Duration) {
        let has_happened = self.has_happened.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.happened.wait_timeout_while(has_happened, time, |has_happened| !*has_happened));
    }
}

/// Blocks the thread until `future` is ready. Unlike tokio's own, it does not panic in a test that has a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(current())));
    // A task's budget, once used up, is not renewed as long as the task blocks.
    let mut future = pin!(unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        let Unpark(thread) = &*self;
        thread.unpark();
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
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    #[tokio::test]
    async fn a_thread_that_has_a_runtime_can_wait_too() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let other = std::thread::spawn(move || {
            block(Duration::from_millis(5));
            sender.send(7)
        });
        // With its budget used up: nothing that asks for some is ready any more.
        while has_budget_remaining() {
            consume_budget().await;
        }
        assert_eq!(block_on(receiver), Ok(7));
        assert_eq!(other.join().unwrap(), Ok(()));
    }

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
