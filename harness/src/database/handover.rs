//! Handing databases over to other processes, and taking those that others left.

use super::put_back::{Loan, Spare, put_back};
use super::shelf::{Label, Place, Shelf, State};
use super::stock::{Handed, Order, SPARES_MAX, Stock};
use super::sweep;
use super::work::Work;
use crate::error::Error;
use crate::notice;
use crate::postgres::Lsn;
use crate::server::Server;
use sqlx::Connection;
use std::rc::Rc;
use std::time::Duration;

/// More than are made ahead are left on the shelf only as long as they are no larger than this together: the server's
/// data would not be parked else. In MiB.
pub(super) const SHELF_MIB_MAX: u64 = 256;
/// Processes that return and want databases at such intervals take turns.
const IN_TURN: Duration = Duration::from_secs(1);

impl Work {
    /// The shelf of the server; `None`: its files are out of reach.
    pub(super) fn shelf(&self) -> Option<Shelf> {
        self.facts.borrow().log.and_then(|_| Shelf::of(&self.server()))
    }

    /// A database from the shelf is ours.
    pub(super) fn hold(&self, place: Place) {
        self.drops.own(&place.name);
        self.places.borrow_mut().insert(place.name.clone(), place);
    }

    /// A database is no longer on the shelf, if it was.
    pub(super) fn clear_shelf(&self, name: &str) {
        let place = self.places.borrow_mut().remove(name);
        if let Some(place) = place {
            place.clear();
        }
    }

    /// Drops a database that we took from the shelf, when that can be done.
    pub(super) fn drop_shelved(&self, place: Place) {
        let name = place.name.clone();
        self.hold(place);
        self.drops.drop_later(name);
    }

    /// All that we had of the shelf went with its server.
    pub(super) fn forget_shelf(&self) {
        self.places.borrow_mut().clear();
        self.resting.borrow_mut().take();
    }

    /// Leaves a database to others as a test left it, if there is room. Says whether that was done.
    pub(super) fn leave(&self, name: &str, loan: &Loan) -> bool {
        let Some(shelf) = self.shelf().filter(|shelf| loan.stock.has_room(shelf)) else { return false };
        let Loan { stock, oid, mark, since, uses } = loan;
        let place = self.places.borrow_mut().remove(name);
        let left = match place {
            Some(place) => place.give_back(&shelf, *since),
            None => {
                let label = stock.new_label(*oid, *mark, *since, *uses);
                shelf.put(name, State::Returned, &label)
            }
        };
        if left.is_ok() {
            self.drops.disown(name);
        }
        left.is_ok()
    }
}

impl Stock {
    /// Ends the connections to databases that were put back, and puts them on the shelf.
    pub(super) async fn shelve_spares(&self, work: &Work) {
        let spares = self.spares.take();
        for spare in spares {
            self.shelve(work, spare).await;
        }
    }

    /// Puts a database that was put back on the shelf, if there is room; else it is dropped.
    pub(super) async fn shelve(&self, work: &Work, spare: Spare) {
        let Spare { name, oid, mark, uses, connection } = spare;
        if let Some(connection) = connection {
            // The server ends it too when the socket goes.
            let _ = connection.close().await;
        }
        let since = work.loans.clean_until(oid);
        work.loans.watch_no_longer(oid);
        if let (Some(shelf), Some(since)) = (work.shelf().filter(|shelf| self.has_room(shelf)), since) {
            let label = self.new_label(oid, mark, since, uses);
            if shelf.put(&name, State::Ready, &label).is_ok() {
                return work.drops.disown(&name);
            }
        }
        work.drops.drop_later(name);
    }

    /// Whether the shelf has fewer databases of this template than we leave behind at most.
    pub(super) fn has_room(&self, shelf: &Shelf) -> bool {
        let count = shelf.count(&self.digest);
        let there = count.ready + count.returned;
        let mib = (there as u64 + 1) * self.mib.get();
        there < self.ahead || there < self.ahead + SPARES_MAX && mib <= SHELF_MIB_MAX
    }

    pub(super) fn new_label(&self, oid: u32, mark: u32, since: Lsn, uses: u32) -> Label {
        Label { digest: self.digest.clone(), oid, mark, since, uses, mib: self.mib.get() }
    }

    /// Takes a database from the shelf: one that is ready, or one that is put back now.
    pub(super) async fn claim_shelved(
        self: &Rc<Self>,
        work: &Rc<Work>,
        shelf: &Shelf,
        order: &Order,
    ) -> Option<Handed> {
        if work.server().seems_up()
            && let Some(handed) = self.claim_shelved_ready(work, shelf, order)
        {
            return Some(handed);
        }
        if !order.is_recycled {
            return None;
        }
        let place = shelf.take_returned(&self.digest)?;
        self.notice_turns(&place);
        let spare = self.put_back(work, place, true).await?;
        Some(self.hand_out_again(work, spare))
    }

    /// Takes one that is ready, without a word to the server.
    fn claim_shelved_ready(self: &Rc<Self>, work: &Work, shelf: &Shelf, order: &Order) -> Option<Handed> {
        let server = work.server();
        // Who wants a fresh clone gets none that was put back.
        let fits = |label: &Label| order.is_recycled || label.uses == 0;
        let place = loop {
            let place = shelf.take_ready(&self.digest, fits)?;
            if has_files(&server, place.label.oid) {
                break place;
            }
            // Somebody dropped it by hand.
            place.clear();
        };
        let Label { oid, mark, since, uses, mib, .. } = place.label;
        self.mib.set(mib);
        sweep::note_use(&server, &self.digest);
        let name = place.name.clone();
        work.hold(place);
        if order.is_recycled
            && let Some(since) = work.loans.watch_ready(&server, &work.facts.borrow(), oid, since)
        {
            work.loans.lend(&name, Loan { stock: self.clone(), oid, mark, since, uses });
        }
        Some(Handed { name, connection: None })
    }

    /// Puts a database from the shelf back; `None`: it is dropped.
    async fn put_back(self: &Rc<Self>, work: &Work, place: Place, is_connected: bool) -> Option<Spare> {
        let Label { oid, mark, since, uses, mib, .. } = place.label;
        self.mib.set(mib);
        let mut name = place.name.clone();
        let old = name.clone();
        work.hold(place);
        let loan = Loan { stock: self.clone(), oid, mark, since, uses };
        let is_watched = work.loans.watch_from(&work.server(), &work.facts.borrow(), oid, since);
        let spare = match is_watched {
            true => put_back(work, &mut name, loan, is_connected).await,
            false => Err(Error::server("the server's log is out of reach")),
        };
        let spare = spare.inspect_err(|why| notice::dropped(&name, why)).ok();
        if spare.is_none() {
            work.discard(oid, name.clone());
        }
        if name != old {
            work.clear_shelf(&old);
        }
        spare
    }

    /// Where processes take turns, several databases go round: only who takes the last that is ready puts some back.
    fn notice_turns(&self, place: &Place) {
        if place.age() < IN_TURN {
            self.is_shared.set(true);
        }
    }

    /// Puts back what others returned, when nothing is ready any more: for all who come after us, while our test runs.
    /// Adds one where too few go round.
    pub(super) async fn keep_shelf(self: Rc<Self>, work: Rc<Work>) {
        let Some(shelf) = work.shelf() else { return };
        let count = shelf.count(&self.digest);
        if work.ends.get() || count.returned == 0 || count.ready > 0 {
            return;
        }
        let Some(_keeping) = shelf.try_keep() else { return };
        let _busy = work.busy();
        // No more than there are now, since we are not to be kept from ending.
        for _ in 0..count.returned {
            let Some(place) = shelf.take_returned(&self.digest) else { break };
            self.notice_turns(&place);
            if let Some(spare) = self.put_back(&work, place, false).await {
                self.shelve(&work, spare).await;
            }
        }
        if !self.has_enough(&work)
            && let Ok(mut connection) = work.connect().await
        {
            // Without it the next process makes one.
            let _ = self.make_ready(&work, &mut connection).await;
            let _ = connection.close().await;
        }
    }
}

/// Whether there is a database with this object id.
fn has_files(server: &Server, oid: u32) -> bool {
    server.data().is_some_and(|data| data.join("base").join(oid.to_string()).exists())
}
