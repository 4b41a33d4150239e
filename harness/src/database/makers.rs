//! The makers of clones: for tests that wait, else ahead of need.

use super::build::Built;
use super::name::DatabaseName;
use super::shelf::{Shelf, State};
use super::stock::{Handed, Order, Stock};
use super::work::Work;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::quote_ident;
use crate::wait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::futures::Notified;

/// Makers of all processes together take turns by advisory locks with this first key.
const MAKER_LOCK: i32 = 0x7067_6861;
/// Of a template of this size, in MiB, it is the bytes that take time, not the number of files.
const LARGE_MIB: u64 = 64;

/// A maker that nobody wants for so long lets its connection go: there may be hundreds of templates.
const IDLE: Duration = Duration::from_millis(500);

impl Stock {
    pub(super) async fn make_forever(self: Rc<Self>, work: Rc<Work>, place: i32) {
        let mut connection = None;
        while !work.ends.get() {
            match self.next_order() {
                Some((order, sender)) => {
                    let made = self.make_for(&work, &mut connection, &order).await;
                    if made.is_err() {
                        connection = None;
                    }
                    // A test that no longer waits leaves its database to the sweep of this owner's names.
                    if let Err(Ok(unwanted)) = sender.send(made) {
                        work.give_back(unwanted.name);
                    }
                }
                None => {
                    let woken = self.wake.notified();
                    match self.make_ahead(&work, &mut connection, place).await {
                        Ok(true) => {}
                        Ok(false) => rest(&mut connection, woken).await,
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
        self: &Rc<Self>,
        work: &Rc<Work>,
        slot: &mut Option<PgConnection>,
        order: &Order,
    ) -> Result<Handed> {
        let built = self.built(work).await?;
        let connection = self.connection(work, slot).await?;
        if let Some(handed) = self.wait_for_room(work, connection, order).await? {
            return Ok(handed);
        }
        let (name, facts) =
            self.make_of(work, connection, &built, &self.template_name(), &order.test).await?;
        self.lend(work, order, &name, &facts);
        Ok(Handed { name, connection: None })
    }

    /// Makes a copy of a clone, in which nobody is, under the name of its user.
    pub(super) async fn copy(&self, work: &Rc<Work>, source: &str, test: &str) -> Result<Handed> {
        let built = self.built(work).await?;
        let mut connection = None;
        let connection = self.connection(work, &mut connection).await?;
        self.make_room(work, connection).await?;
        let (name, _) = self.make_of(work, connection, &built, source, test).await?;
        Ok(Handed { name, connection: None })
    }

    /// Makes a copy of `source` under the name of its user, and gives what is to be known of it.
    async fn make_of(
        &self,
        work: &Rc<Work>,
        connection: &mut PgConnection,
        built: &Built,
        source: &str,
        test: &str,
    ) -> Result<(String, Vec<PgRow>)> {
        let name = work.claimed_name();
        let created = self.create(connection, &name, source).await;
        created.inspect_err(|error| work.is_refused(&name, error))?;
        work.drops.own(&name);
        let sql = built.finishing_touches(&name, test);
        match sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await {
            Ok(facts) => Ok((name, facts)),
            Err(error) => {
                work.drops.drop_later(name);
                Err(error.into())
            }
        }
    }

    /// Makes a clone ahead of need, unless there are enough, or others make some. Says whether it did.
    async fn make_ahead(&self, work: &Rc<Work>, slot: &mut Option<PgConnection>, place: i32) -> Result<bool> {
        if work.ends.get() || self.has_enough(work) {
            return Ok(false);
        }
        let _busy = work.busy();
        let connection = self.connection(work, slot).await?;
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

    pub(super) async fn make_ready(&self, work: &Rc<Work>, connection: &mut PgConnection) -> Result<bool> {
        let built = self.built(work).await?;
        let shelf = work.shelf();
        if shelf.is_none() {
            *self.ready.borrow_mut() = self.list_ready(connection).await?;
        }
        if self.has_enough(work) || self.why_full(work, connection).await?.is_some() {
            return Ok(false);
        }
        if let Some(shelf) = shelf {
            return self.make_shelved(work, connection, &built, &shelf).await.map(|()| true);
        }
        let maker = work.lease.owner().clone();
        let number = work.next_number();
        let name = DatabaseName::Ready { digest: self.digest.clone(), maker, number }.to_string();
        self.create(connection, &name, &self.template_name()).await?;
        self.ready.borrow_mut().push_back(name);
        Ok(true)
    }

    /// Makes a clone and puts it on the shelf.
    async fn make_shelved(
        &self,
        work: &Work,
        connection: &mut PgConnection,
        built: &Built,
        shelf: &Shelf,
    ) -> Result<()> {
        let name = work.claimed_name();
        let created = self.create(connection, &name, &self.template_name()).await;
        created.inspect_err(|error| work.is_refused(&name, error))?;
        work.drops.own(&name);
        let sql = built.finishing_touches(&name, "none so far");
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        if let Some(label) = self.label(&rows) {
            shelf.put(&name, State::Ready, &label)?;
            work.drops.disown(&name);
        }
        Ok(())
    }

    /// Whether there are as many clones as should be, without asking the server.
    pub(super) fn has_enough(&self, work: &Work) -> bool {
        let ready = || match work.shelf() {
            Some(shelf) => {
                let count = shelf.count(&self.digest);
                count.ready + count.returned
            }
            None => self.ready.borrow().len(),
        };
        let wanted = self.wanted();
        wanted == 0 || ready() >= wanted
    }

    /// By now the template's size is known: by its label, or because it was built.
    async fn connection<'a>(
        &self,
        work: &Rc<Work>,
        slot: &'a mut Option<PgConnection>,
    ) -> Result<&'a mut PgConnection> {
        if slot.is_none() {
            let mut connection = work.connect().await?;
            if self.mib.get() >= LARGE_MIB {
                // The kernel copies, or has the clone share its blocks with the template.
                copy_files_by(&mut connection, "clone").await?;
            }
            *slot = Some(connection);
        }
        slot.as_mut().ok_or_else(|| Error::server("failed to keep a connection"))
    }

    async fn create(&self, connection: &mut PgConnection, name: &str, source: &str) -> Result<()> {
        let sql = format!(
            "create database {} template {} strategy file_copy",
            quote_ident(name),
            quote_ident(source)
        );
        let mut created = connection.execute(AssertSqlSafe(sql.as_str())).await;
        // Not every file system can clone files.
        if created.is_err() && copy_files_by(connection, "copy").await.is_ok_and(|is_changed| is_changed) {
            created = connection.execute(AssertSqlSafe(sql.as_str())).await;
        }
        created
            .attempt(ErrorKind::Database, || format!("failed to clone template `{source}` as `{name}`"))
            .map_err(with_advice)?;
        Ok(())
    }
}

/// Has the databases of this session copied by another method, if the server knows it (18 and later). Says whether
/// that is a change.
async fn copy_files_by(connection: &mut PgConnection, method: &str) -> Result<bool> {
    let sql = "select set_config(name, $1, false) from pg_settings
               where name = 'file_copy_method' and $1 = any (enumvals) and setting <> $1";
    Ok(sqlx::query(sql).bind(method).fetch_optional(connection).await?.is_some())
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

/// Waits until a maker is wanted, with its connection only for a while.
async fn rest(connection: &mut Option<PgConnection>, woken: Notified<'_>) {
    let mut woken = pin!(woken);
    tokio::select! {
        () = &mut woken => return,
        () = wait::pass(IDLE) => {}
    }
    if let Some(idle) = connection.take() {
        // Whether or not the server hears of it.
        let _ = idle.close().await;
    }
    woken.await;
}
