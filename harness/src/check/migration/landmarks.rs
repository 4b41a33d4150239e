//! What a run has done to its server before each of its steps.

use crate::wire::{Batches, Connection, Event, Head, Side, Tap, Verdict};
use sqlx::PgConnection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What had been committed, and what was under way: two moments of one server between which this stays the same
/// differ in no row of any table.
pub(super) type Landmark = String;

/// Watches a run through a proxy, and notes how far it is before each step.
#[derive(Clone, Debug)]
pub(super) struct Landmarks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    control: tokio::sync::Mutex<PgConnection>,
    seen: Mutex<Vec<Landmark>>,
}

/// Looks on at one session.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    batches: Mutex<Batches>,
}

impl Landmarks {
    /// `control` is a session on the same server, which nobody else writes to.
    pub(super) fn by(control: PgConnection) -> Landmarks {
        let shared = Shared { control: tokio::sync::Mutex::new(control), seen: Mutex::default() };
        Landmarks(Arc::new(shared))
    }

    /// Makes what looks on, for [`Proxy::start`](crate::wire::Proxy::start).
    pub(super) fn taps(&self) -> impl Fn(&Connection) -> Watch + Send + Sync + 'static {
        let shared = self.0.clone();
        move |_| Watch { shared: shared.clone(), batches: Mutex::default() }
    }

    /// One for each step, and one for the end.
    pub(super) async fn taken(self) -> Vec<Landmark> {
        self.0.note().await;
        lock(&self.0.seen).clone()
    }
}

impl Shared {
    async fn note(&self) {
        let control = &mut *self.control.lock().await;
        let snapshot = sqlx::query_scalar("select pg_catalog.pg_current_snapshot()::text")
            .fetch_one(control)
            .await
            // A server that does not answer is noticed by the run.
            .unwrap_or_default();
        lock(&self.seen).push(snapshot);
    }
}

impl Tap for Watch {
    fn arrived(&self, from: Side, head: &Head) {
        if from == Side::Backend {
            lock(&self.batches).backend(head);
        }
    }

    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        if let (Side::Frontend, Event::Message(head)) = (from, event) {
            let begins = lock(&self.batches).begins(head);
            if begins {
                self.shared.note().await;
            }
            lock(&self.batches).frontend(head);
        }
        Verdict::Pass
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
