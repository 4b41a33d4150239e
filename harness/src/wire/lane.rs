//! The queue of one side: what came in and did not go on yet.

use super::framing::Piece;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// So much waits in a lane before nothing more is read, in bytes; one read may go beyond it.
const LANE_MAX: usize = 256 << 10;

/// What leaves a lane.
#[derive(Debug)]
pub(super) enum Item {
    Piece(Piece),
    /// The side sends nothing more.
    End,
}

impl Item {
    fn weight(&self) -> usize {
        match self {
            // With what a queue's place costs: a flood of tiny messages must not be free.
            Item::Piece(Piece::Head(head)) => head.bytes().len() + size_of::<Item>(),
            Item::Piece(Piece::Body(bytes)) => bytes.len() + size_of::<Item>(),
            Item::End => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    weight: usize,
}

/// A queue between the reader and the writer of one side, who run in one task.
#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    filled: Notify,
    drained: Notify,
}

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, item: Item) {
        let mut queue = self.queue();
        queue.weight += item.weight();
        queue.items.push_back(item);
        drop(queue);
        self.filled.notify_one();
    }

    pub(super) fn try_pop(&self) -> Option<Item> {
        let mut queue = self.queue();
        let was_full = queue.weight >= LANE_MAX;
        let item = queue.items.pop_front()?;
        queue.weight -= item.weight();
        if was_full && queue.weight < LANE_MAX {
            self.drained.notify_one();
        }
        Some(item)
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue().weight >= LANE_MAX
    }

    /// Ready when something may be there.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Ready when there may be room.
    pub(super) async fn drained(&self) {
        self.drained.notified().await;
    }
}
