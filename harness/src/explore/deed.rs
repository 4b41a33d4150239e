//! What a step did, as far as others may have to do with it: told by the session's locks while its transaction holds them.

use super::footprint::Footprint;
use super::reduction::Deed;
use super::session::Session;
use super::trace::{Answer, Event, Trace, What};
use super::trial::Trial;
use crate::error::Result;
use crate::wire::Status;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The server gives its own objects lower numbers.
const FIRST_OF_USERS: i64 = 16_384;

/// What makes it uncertain what the steps of a client have to do with those of others.
#[derive(Clone, Debug)]
pub(super) enum Hindrance {
    /// A client ran a statement that may do more than it says.
    Statement(usize, Arc<str>),
    /// A client held a lock of something other than a table.
    Lock(usize),
}

/// Where a session stood before a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stance {
    status: Status,
    /// Within a batch whose end was not answered.
    is_open: bool,
}

impl Stance {
    pub(super) fn of(session: &Session) -> Stance {
        Stance { status: session.status, is_open: session.is_in_batch() }
    }
}

impl<T> Trial<'_, T> {
    /// Takes down what a step did, with all that came of it: the events from `first` on, in the sessions at `places`, of
    /// which the first was at its turn. To be asked before a client hears of it.
    pub(super) async fn take_down(&mut self, places: &[usize], before: Stance, first: usize) -> Result<()> {
        if self.lens.is_none() || self.course.hindrance.is_some() {
            return Ok(());
        }
        let events = self.course.trace.events[first..].to_vec();
        let footprint = match (places, events.as_slice()) {
            (&[place], [Event { what: What::Answered(_, answer), .. }]) if answer.errors.is_empty() => {
                self.footprint(place, before, answer).await?
            }
            // It waits for others, it let others go on, or what it touched was let go again by its failure.
            _ => Footprint::Everywhere,
        };
        for place in places {
            let opaque = self.board.change(*place, |session| {
                session.keep_in_mind(&footprint);
                Some((session.client, session.opaque.clone()?))
            });
            if let Some((client, what)) = opaque {
                self.course.hindrance.get_or_insert(Hindrance::Statement(client, what));
            }
        }
        let told = Trace { events }.digest();
        self.course.deeds.push(Deed { footprint, told });
        Ok(())
    }

    /// What a step of one session has to do with.
    async fn footprint(&mut self, place: usize, before: Stance, answer: &Answer) -> Result<Footprint> {
        let (after, held, pid) =
            self.board.look(place, |session| (Stance::of(session), session.held.clone(), session.pid));
        let is = |tag: &String, tags: &[&str]| tags.contains(&tag.as_str());
        let ends = answer.tags.iter().any(|tag| is(tag, &["COMMIT", "ROLLBACK"]));
        let is_inward = !answer.tags.is_empty()
            && answer.tags.iter().all(|tag| is(tag, &["BEGIN", "START TRANSACTION", "SET"]));
        Ok(match (before.status, after.status) {
            _ if before.is_open || after.is_open => Footprint::Everywhere,
            (Status::Idle, _) if answer.is_end => Footprint::Nowhere,
            _ if answer.is_end || (ends && answer.tags.len() > 1) => Footprint::Everywhere,
            (Status::Idle, Status::Idle) if is_inward => Footprint::Nowhere,
            // By now it has let go of what it touched.
            (Status::Idle, Status::Idle) => Footprint::Everywhere,
            (_, Status::Idle) if ends => held,
            (_, Status::Transaction) => {
                let now = match pid {
                    Some(pid) => self.look_at_locks(place, pid).await?,
                    None => Footprint::Everywhere,
                };
                let is_as_before = held.and(&now) == held;
                if is_inward && is_as_before { Footprint::Nowhere } else { held.and(&now) }
            }
            _ => Footprint::Everywhere,
        })
    }

    /// What a session within a transaction holds.
    async fn look_at_locks(&mut self, place: usize, pid: i32) -> Result<Footprint> {
        let held = self.watch.held(pid).await?;
        if held.has_others || held.relations.iter().any(|relation| *relation < FIRST_OF_USERS) {
            let client = self.board.look(place, |session| session.client);
            self.course.hindrance = Some(Hindrance::Lock(client));
        }
        // A snapshot that stays depends on every commit before it.
        if held.has_snapshot {
            return Ok(Footprint::Everywhere);
        }
        let Some(lens) = &self.lens else { return Ok(Footprint::Everywhere) };
        let names: Option<BTreeSet<String>> =
            held.relations.iter().map(|relation| lens.name(*relation).cloned()).collect();
        Ok(match names {
            Some(names) if names.is_empty() => Footprint::Nowhere,
            Some(names) => Footprint::Relations(names),
            None => Footprint::Everywhere,
        })
    }
}
