//! What looks on at a connection and decides when its messages go on.

use super::framing::HEAD_MAX;
use super::message::{Head, Side};
use std::future::Future;

/// What is about to be handed on.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A message. What is longer than its head follows it without being asked for.
    Message(&'a Head),
    /// The end of what this side sends.
    End,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is left out, and what follows goes on.
    Drop,
    /// This message goes on in its place, and what follows behind it.
    Replace(Head),
    /// It goes on, all that its head holds of it, and the connection ends behind it as after a [`Cut`](Verdict::Cut).
    Last,
    /// The connection ends here, on both sides, without what is still under way.
    Cut,
    /// The same with a reset where there is such a thing: by TCP.
    Reset,
}

/// Looks on at one connection. The two sides are asked independently of one another, so that one may be held while the
/// other goes on.
///
/// Bytes go through a queue of bounded size on each side: [`arrived`](Tap::arrived) is told of a message when it enters,
/// [`pass`](Tap::pass) is asked when it is about to leave. A tap that holds a message there sees what comes behind it.
pub trait Tap: Send + Sync + 'static {
    /// As much of a client's message is wanted as its head, in bytes; [`HEAD_MAX`] is the least. It is held in memory for
    /// each session.
    fn head_max(&self) -> usize {
        HEAD_MAX
    }

    /// A message came in.
    fn arrived(&self, from: Side, head: &Head) {
        let _ = (from, head);
    }

    /// The queue is full: nothing more arrives from this side before something leaves.
    fn crowded(&self, from: Side) {
        let _ = from;
    }

    /// This side sends nothing more; its end waits behind what came before.
    fn ended(&self, from: Side) {
        let _ = from;
    }

    /// Whether what comes next may go on: holding it is not to be ready yet.
    fn pass(&self, from: Side, event: Event<'_>) -> impl Future<Output = Verdict> + Send {
        let _ = (from, event);
        std::future::ready(Verdict::Pass)
    }

    /// Something was handed on: the message, as far as its head reaches.
    fn passed(&self, from: Side, event: Event<'_>) {
        let _ = (from, event);
    }
}

/// A tap that lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassAll;

impl Tap for PassAll {}

/// Both look on; the first is asked first, and what it does not let pass the second never sees.
impl<A: Tap, B: Tap> Tap for (A, B) {
    fn head_max(&self) -> usize {
        self.0.head_max().max(self.1.head_max())
    }

    fn arrived(&self, from: Side, head: &Head) {
        self.0.arrived(from, head);
        self.1.arrived(from, head);
    }

    fn crowded(&self, from: Side) {
        self.0.crowded(from);
        self.1.crowded(from);
    }

    fn ended(&self, from: Side) {
        self.0.ended(from);
        self.1.ended(from);
    }

    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        match self.0.pass(from, event).await {
            Verdict::Pass => self.1.pass(from, event).await,
            Verdict::Last => match self.1.pass(from, event).await {
                Verdict::Pass => Verdict::Last,
                // Even where the second would leave it out: the first ends the connection.
                _ => Verdict::Cut,
            },
            Verdict::Replace(head) => match self.1.pass(from, Event::Message(&head)).await {
                Verdict::Pass => Verdict::Replace(head),
                other => other,
            },
            other => other,
        }
    }

    fn passed(&self, from: Side, event: Event<'_>) {
        self.0.passed(from, event);
        self.1.passed(from, event);
    }
}

impl<T: Tap> Tap for std::sync::Arc<T> {
    fn head_max(&self) -> usize {
        (**self).head_max()
    }

    fn arrived(&self, from: Side, head: &Head) {
        (**self).arrived(from, head);
    }

    fn crowded(&self, from: Side) {
        (**self).crowded(from);
    }

    fn ended(&self, from: Side) {
        (**self).ended(from);
    }

    fn pass(&self, from: Side, event: Event<'_>) -> impl Future<Output = Verdict> + Send {
        (**self).pass(from, event)
    }

    fn passed(&self, from: Side, event: Event<'_>) {
        (**self).passed(from, event);
    }
}
