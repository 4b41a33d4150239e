//! Knowing when nothing goes on in this runtime any more.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Two would do for a client that talks to its database alone; others may lie between, such as a server of HTTP.
const CALM: u32 = 6;

/// Counts what goes on, and hears when the runtime is about to sleep for want of work.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    parks: AtomicU64,
    activity: AtomicU64,
    waiting: Mutex<Option<Waker>>,
}

impl Pulse {
    /// Something went on.
    pub(super) fn beat(&self) {
        self.0.activity.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn activity(&self) -> u64 {
        self.0.activity.load(Ordering::Relaxed)
    }

    /// The runtime's hook: it has nothing to do at this moment. Whoever is woken here keeps it from sleeping; it looks
    /// for input once and comes back.
    pub(super) fn park(&self) {
        self.0.parks.fetch_add(1, Ordering::Relaxed);
        let waker = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until the runtime had nothing to do. One at a time may wait.
    async fn parked(&self) {
        let before = self.0.parks.load(Ordering::Relaxed);
        poll_fn(|context| {
            if self.0.parks.load(Ordering::Relaxed) != before {
                return Poll::Ready(());
            }
            *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until the runtime had nothing to do [`CALM`] times in a row, looked for input each time, and nothing went on.
    /// What was written to sockets of this process by then has been read, and what came of that too: a client that reads
    /// an answer and asks on goes to sleep twice in between without a beat of ours.
    pub(super) async fn lull(&self) {
        let mut seen = self.activity();
        let mut calm = 0;
        while calm < CALM {
            self.parked().await;
            let activity = self.activity();
            calm = if activity == seen { calm + 1 } else { 0 };
            seen = activity;
        }
    }
}
