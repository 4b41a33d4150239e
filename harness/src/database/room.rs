//! Room for another clone: what there is, what is made by dropping what nobody uses, and waiting for it.

use super::drops::drop_whole;
use super::name::PREFIX;
use super::stock::{Handed, Order, Stock};
use super::work::Work;
use crate::error::{Error, Result};
use crate::ident::quote_literal;
use crate::notice;
use crate::wait;
use sqlx::{AssertSqlSafe, PgConnection};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A waiting test is refused when no room came free for so long.
const ROOM_DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks for room.
const PAUSE: Duration = Duration::from_millis(5);

/// Why there is no room.
pub(super) struct Full {
    why: Error,
    /// Whether there is a clone that may be dropped some day.
    may_change: bool,
}

impl Stock {
    /// Why there is no room for another clone, unless there is some.
    ///
    /// # Errors
    /// The server does not answer: then nobody knows.
    pub(super) async fn why_full(&self, work: &Work, connection: &mut PgConnection) -> Result<Option<Full>> {
        let server = work.server();
        let Some(space) = server.space() else { return Ok(None) };
        let mib = self.built(work).await?.size_mib;
        let ours = format!("from pg_database where starts_with(datname::text, {})", quote_literal(PREFIX));
        let count = format!("select count(*) {ours}");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
        // Most templates are as large as this one, and to measure all databases would take as long as to make one.
        let count = u64::try_from(count).unwrap_or_default();
        if space.admit(mib, mib, count.saturating_sub(1) * mib).is_ok() {
            return Ok(None);
        }
        // Templates are closed to connections.
        let sizes = format!(
            "select (coalesce(sum(size) filter (where not datallowconn), 0) / 1048576)::int8,
                    (coalesce(sum(size) filter (where datallowconn), 0) / 1048576)::int8,
                    count(*) filter (where datallowconn)
             from (select datallowconn, pg_database_size(oid) as size {ours}) sized"
        );
        let (templates, clones, count): (i64, i64, i64) =
            sqlx::query_as(AssertSqlSafe(sizes)).fetch_one(connection).await?;
        let mib_of = |number: i64| u64::try_from(number).unwrap_or_default();
        let admitted = space.admit(mib, mib_of(templates), mib_of(clones));
        Ok(admitted.err().map(|why| Full { why, may_change: count > 0 }))
    }

    /// Drops clones that nobody uses: of other templates, and of this one where `order` is for none that was put back;
    /// where there are none, templates that nobody can ask for any more. Says whether there were any.
    async fn evict(&self, work: &Work, connection: &mut PgConnection, order: &Order) -> bool {
        let but = if order.is_recycled { self.digest.as_str() } else { "" };
        let mut is_evicted = work.drop_spares_but(but);
        for place in work.shelf().map(|shelf| shelf.take_unused_but(but)).unwrap_or_default() {
            match drop_whole(&work.server(), connection, &place.name).await {
                Ok(()) => place.clear(),
                Err(_) => work.drop_shelved(place),
            }
            is_evicted = true;
        }
        is_evicted || work.drop_forgotten(connection).await
    }

    /// Makes room for a clone that none that comes back stands in for, and waits while drops are on their way or others
    /// use what there is.
    ///
    /// # Errors
    /// There is none, and nothing that would make some; or the server does not answer.
    pub(super) async fn make_room(&self, work: &Work, connection: &mut PgConnection) -> Result<()> {
        let order = Order { test: String::new(), is_recycled: false };
        let started = Instant::now();
        while let Some(full) = self.why_full(work, connection).await? {
            if self.evict(work, connection, &order).await {
                continue;
            }
            if !full.may_change || started.elapsed() > ROOM_DEADLINE {
                return Err(full.why);
            }
            wait::pass(PAUSE).await;
        }
        Ok(())
    }

    /// Waits while the room is taken by databases that are in use or about to be dropped. Gives one that came back
    /// meanwhile, where that will do.
    ///
    /// # Errors
    /// There is no room, and nothing that would make some; or the server does not answer.
    pub(super) async fn wait_for_room(
        self: &Rc<Self>,
        work: &Rc<Work>,
        connection: &mut PgConnection,
        order: &Order,
    ) -> Result<Option<Handed>> {
        let started = Instant::now();
        loop {
            match self.why_full(work, connection).await? {
                None => return Ok(None),
                Some(_) if self.evict(work, connection, order).await => continue,
                Some(Full { why, may_change }) if !may_change || started.elapsed() > ROOM_DEADLINE => {
                    return Err(why);
                }
                // Drops that are on their way are no reason to say anything.
                Some(Full { why, .. }) if work.drops.pending() == 0 && !self.is_told.replace(true) => {
                    notice::warn(&format!("a test waits for room: {}", why.report()));
                }
                Some(_) => {}
            }
            wait::pass(PAUSE).await;
            if let Some(handed) = self.claim_returned(work, order).await {
                return Ok(Some(handed));
            }
        }
    }

    /// A database that came back to us, or that another process left.
    async fn claim_returned(self: &Rc<Self>, work: &Rc<Work>, order: &Order) -> Option<Handed> {
        let spare = if order.is_recycled { self.spares.borrow_mut().pop() } else { None };
        match (spare, work.shelf()) {
            (Some(spare), _) => Some(self.hand_out_again(work, spare)),
            (None, Some(shelf)) => self.claim_shelved(work, &shelf, order).await,
            (None, None) => None,
        }
    }
}
