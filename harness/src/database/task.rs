//! Tasks of the background thread.

use std::pin::Pin;
use tokio::task::{JoinHandle, spawn_local};

/// Starts a task, on the thread that this is called on.
pub(super) fn spawn(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    // Boxed: what runs a task is then compiled once instead of once for each task.
    let task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(task);
    spawn_local(task)
}
