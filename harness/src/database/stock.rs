//! The clones of one template that are made ahead of need, and their makers.

use super::build::Built;
use super::keep::Kept;
use super::name::DatabaseName;
use super::work::Work;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::{quote_ident, quote_literal};
use crate::wait;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// On two cores a third maker gains nothing.
const MAKERS: i32 = 2;
/// Makers of all processes together take turns by advisory locks with this first key.
const MAKER_LOCK: i32 = 0x7067_6861;
/// A waiting test is refused when no room came free for so long.
const ROOM_DEADLINE: Duration = Duration::from_secs(30);

/// For whom a clone is wanted.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) test: String,
}

/// The clones of one template.
pub(super) struct Stock {
    built: Built,
    ahead: usize,
    /// Names that were there at the last look; somebody else may have claimed them since.
    ready: RefCell<VecDeque<String>>,
    waiting: RefCell<VecDeque<(Order, oneshot::Sender<Result<String>>)>>,
    wake: Notify,
    makers_run: Cell<bool>,
}

impl Stock {
    /// # Errors
    /// What the environment asks for is no number.
    pub(super) fn of(built: Built) -> Result<Stock> {
        let ahead = env::AHEAD.number()?.unwrap_or(4);
        Ok(Stock {
            built,
            ahead: usize::try_from(ahead).unwrap_or(usize::MAX),
            ready: RefCell::default(),
            waiting: RefCell::default(),
            wake: Notify::new(),
            makers_run: Cell::new(false),
        })
    }

    pub(super) fn template_name(&self) -> String {
        DatabaseName::Template { digest: self.built.digest.clone() }.to_string()
    }

    /// Hands out a clone: one that is ready, else the next that is made.
    pub(super) async fn claim(self: Rc<Self>, work: &Rc<Work>, order: Order) -> Result<String> {
        let claimed = self.claim_ready(work, &order).await?;
        self.start_makers(work);
        if let Some(name) = claimed {
            self.wake.notify_waiters();
            return Ok(name);
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back((order, sender));
        self.wake.notify_waiters();
        receiver.await.map_err(|_| Error::server("the maker of databases ended"))?
    }

    async fn claim_ready(&self, work: &Rc<Work>, order: &Order) -> Result<Option<String>> {
        let mut control = work.control().await;
        let mut looked = false;
        loop {
            let candidate = self.ready.borrow_mut().pop_front();
            let Some(candidate) = candidate else {
                if looked {
                    return Ok(None);
                }
                looked = true;
                *self.ready.borrow_mut() = self.list_ready(&mut control).await?;
                continue;
            };
            let name = work.claimed_name();
            // One message, one transaction: the clone is ours, named, and equal to its template, or untouched.
            let rename =
                format!("alter database {} rename to {}", quote_ident(&candidate), quote_ident(&name));
            let sql = [rename]
                .into_iter()
                .chain(self.finishing_touches(&name, order))
                .collect::<Vec<_>>()
                .join("; ");
            match control.execute(AssertSqlSafe(sql)).await {
                Ok(_) => {
                    work.owns(&name);
                    return Ok(Some(name));
                }
                Err(error) => {
                    let error = Error::from(error);
                    work.is_refused(&name, &error);
                    match error.sqlstate().as_deref() {
                        // Somebody was quicker; or somebody looks into it, which one should not.
                        Some("3D000" | "55006" | "XX000") => {}
                        _ => return Err(error),
                    }
                }
            }
        }
    }

    /// What is said about a clone when it is handed out, and what cloning lost.
    fn finishing_touches(&self, name: &str, order: &Order) -> impl Iterator<Item = String> {
        let comment = Kept { test: order.test.clone(), since: None }.sql(name);
        self.built.replay.sql(name).chain([comment])
    }

    async fn list_ready(&self, control: &mut PgConnection) -> Result<VecDeque<String>> {
        let names: Vec<String> =
            sqlx::query_scalar("select datname::text from pg_database where starts_with(datname::text, $1) and datconnlimit <> -2")
                .bind(DatabaseName::ready_prefix(&self.built.digest))
                .fetch_all(control)
                .await?;
        Ok(names.into())
    }

    fn start_makers(self: &Rc<Self>, work: &Rc<Work>) {
        if !self.makers_run.replace(true) {
            for place in 0..MAKERS {
                tokio::task::spawn_local(self.clone().make_forever(work.clone(), place));
            }
        }
    }

    async fn make_forever(self: Rc<Self>, work: Rc<Work>, place: i32) {
        let mut connection = None;
        while !work.ends.get() {
            let order = self.waiting.borrow_mut().pop_front();
            match order {
                Some((order, sender)) => {
                    let made = self.make_for(&work, &mut connection, &order).await;
                    if made.is_err() {
                        connection = None;
                    }
                    // A test that no longer waits leaves its database to the sweep of this owner's names.
                    if let Err(Ok(name)) = sender.send(made) {
                        work.drop_later(name);
                    }
                }
                None => {
                    let woken = self.wake.notified();
                    match self.make_ahead(&work, &mut connection, place).await {
                        Ok(true) => {}
                        Ok(false) => woken.await,
                        Err(_) => {
                            // Making ahead is a courtesy: what fails here fails again, and is told, when somebody waits.
                            connection = None;
                            woken.await;
                        }
                    }
                }
            }
        }
    }

    /// Makes a clone under the name of its user.
    async fn make_for(
        &self,
        work: &Rc<Work>,
        slot: &mut Option<PgConnection>,
        order: &Order,
    ) -> Result<String> {
        let connection = connection(work, slot).await?;
        self.wait_for_room(work, connection).await?;
        let name = work.claimed_name();
        self.create(connection, &name).await.inspect_err(|error| work.is_refused(&name, error))?;
        work.owns(&name);
        let sql = self.finishing_touches(&name, order).collect::<Vec<_>>().join("; ");
        match connection.execute(AssertSqlSafe(sql)).await {
            Ok(_) => Ok(name),
            Err(error) => {
                work.drop_later(name);
                Err(error.into())
            }
        }
    }

    /// Makes a clone ahead of need, unless there are enough, or others make some. Says whether it did.
    async fn make_ahead(&self, work: &Rc<Work>, slot: &mut Option<PgConnection>, place: i32) -> Result<bool> {
        if self.ready.borrow().len() >= self.ahead {
            return Ok(false);
        }
        let connection = connection(work, slot).await?;
        let is_ours: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(MAKER_LOCK)
            .bind(place)
            .fetch_one(&mut *connection)
            .await?;
        if !is_ours {
            return Ok(false);
        }
        let made = self.make_ready(work, connection).await;
        sqlx::query("select pg_advisory_unlock($1, $2)")
            .bind(MAKER_LOCK)
            .bind(place)
            .execute(&mut *connection)
            .await?;
        made
    }

    async fn make_ready(&self, work: &Rc<Work>, connection: &mut PgConnection) -> Result<bool> {
        *self.ready.borrow_mut() = self.list_ready(connection).await?;
        let enough = self.ready.borrow().len() >= self.ahead;
        if enough || self.admit(work, connection).await.is_err() {
            return Ok(false);
        }
        let maker = work.lease.owner().clone();
        let number = work.next_number();
        let name = DatabaseName::Ready { digest: self.built.digest.clone(), maker, number }.to_string();
        self.create(connection, &name).await?;
        self.ready.borrow_mut().push_back(name);
        Ok(true)
    }

    async fn create(&self, connection: &mut PgConnection, name: &str) -> Result<()> {
        let template = self.template_name();
        let sql = format!(
            "create database {} template {} strategy file_copy",
            quote_ident(name),
            quote_ident(&template)
        );
        connection
            .execute(AssertSqlSafe(sql))
            .await
            .attempt(ErrorKind::Database, || format!("failed to clone template `{template}` as `{name}`"))
            .map_err(with_advice)?;
        Ok(())
    }

    async fn admit(&self, work: &Rc<Work>, connection: &mut PgConnection) -> Result<()> {
        let server = work.server();
        let Some(space) = server.space() else { return Ok(()) };
        let databases: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "select count(*) from pg_database where starts_with(datname::text, {})",
            quote_literal(super::name::PREFIX)
        )))
        .fetch_one(connection)
        .await?;
        space.admit(self.built.size_mib, u64::try_from(databases).unwrap_or_default() * self.built.size_mib)
    }

    /// Waits while the room is taken by databases that are about to be dropped.
    async fn wait_for_room(&self, work: &Rc<Work>, connection: &mut PgConnection) -> Result<()> {
        let started = std::time::Instant::now();
        loop {
            match self.admit(work, connection).await {
                Ok(()) => return Ok(()),
                Err(error) if work.drops_pending() == 0 || started.elapsed() > ROOM_DEADLINE => {
                    return Err(error);
                }
                Err(_) => wait::pass(Duration::from_millis(5)).await,
            }
        }
    }
}

async fn connection<'a>(work: &Rc<Work>, slot: &'a mut Option<PgConnection>) -> Result<&'a mut PgConnection> {
    if slot.is_none() {
        *slot = Some(work.connect().await?);
    }
    slot.as_mut().ok_or_else(|| Error::server("failed to keep a connection"))
}

/// Says what to do about a full disk: the server's own words are about a file.
fn with_advice(error: Error) -> Error {
    match error.sqlstate().as_deref() {
        Some("53100") => error.with_help(format!(
            "the disk is full: free some room, or name another folder in {}",
            env::DATA_ROOTS.name
        )),
        Some("58030") => error.with_help("the server could not write its files: is the disk full?"),
        _ => error,
    }
}
