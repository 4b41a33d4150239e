//! Work on a plain thread: what blocks, or has a runtime of its own.

use crate::error::{Attempt, ErrorKind, Result};
use std::thread::Builder;
use tokio::sync::oneshot::{Receiver, channel};

/// Starts `work` on a thread of this name. What it gives is received, unless it panics.
///
/// # Errors
/// No thread can be started.
pub(crate) fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Receiver<T>> {
    let (sender, receiver) = channel();
    // Boxed: what starts a thread is then compiled once instead of once for each work.
    let work: Box<dyn FnOnce() + Send> = Box::new(move || drop(sender.send(work())));
    let started = Builder::new().name(name.into()).spawn(work);
    started.attempt(ErrorKind::Environment, || "failed to start a thread".into())?;
    Ok(receiver)
}
