//! The schedule explorer: clients of a database, driven through every order of their steps.
//!
//! Two transactions that are right one after the other may be wrong together, and a test that runs them at the same
//! time meets the wrong order once in a thousand runs. The explorer holds every client at its connection and lets one go
//! at a time, a step each: a query, or a batch of the extended protocol. It tries every order in which a turn is taken at
//! most so often from a client that could have gone on, and looks at the end of each. The clients are real ones, with
//! any driver, in this process or not; the server is a real one, with its locks and its snapshots.
//!
//! ```
//! use pgharness::explore::{Explorer, ensure};
//! use pgharness::{Template, sqlx, template};
//! use sqlx::Connection;
//!
//! static APP: Template = template! {};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> pgharness::Result<()> {
//! // Two requests each add 10 to a balance of 0.
//! let deposit = async |db: pgharness::explore::Access| {
//!     let mut connection = db.connection().await?;
//!     let mut tx = connection.begin().await?;
//!     let balance: i32 = sqlx::query_scalar("select balance from account").fetch_one(&mut *tx).await?;
//!     sqlx::query("update account set balance = $1").bind(balance + 10).execute(&mut *tx).await?;
//!     tx.commit().await?;
//!     Ok(())
//! };
//! let found = Explorer::of(&APP)
//!     .client("one", deposit)
//!     .client("two", deposit)
//!     .invariant(async |db, _| {
//!         let mut connection = db.connection().await?;
//!         let balance: i32 = sqlx::query_scalar("select balance from account").fetch_one(&mut connection).await?;
//!         ensure(balance == 20, "a deposit was lost")
//!     })
//!     .with_reset(async |db| {
//!         let mut connection = db.connection().await?;
//!         let sql = "drop table if exists account; create table account as select 0 as balance";
//!         sqlx::raw_sql(sql).execute(&mut connection).await?;
//!         Ok(())
//!     })
//!     .preemptions(1)
//!     .run()
//!     .await?;
//! let violation = found.violation().expect("`select … for update` would be the cure");
//! assert_eq!(violation.message, "a deposit was lost");
//! # Ok(())
//! # }
//! ```
//!
//! # A web handler
//!
//! A handler is a function of a pool and a request, and is called as its framework would call it: with axum,
//! `redeem(State(db.pool()), Path(code)).await`. What it answered is what its client returns, and invariants judge that too.
//!
//! ```
//! use pgharness::explore::{Access, Explorer, ensure};
//! use pgharness::sqlx::{self, PgPool};
//! use pgharness::{Template, template};
//!
//! static SHOP: Template = template! {};
//!
//! /// Answers 200 to whoever redeems the voucher, and 409 to all others.
//! async fn redeem(pool: PgPool, code: &str) -> Result<u16, sqlx::Error> {
//!     let sql = "update voucher set redeemed = true where code = $1 and not redeemed";
//!     let redeemed = sqlx::query(sql).bind(code).execute(&pool).await?;
//!     Ok(if redeemed.rows_affected() == 1 { 200 } else { 409 })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> pgharness::Result<()> {
//! let request = async |db: Access| {
//!     let pool = db.pool();
//!     let answer = redeem(pool.clone(), "XMAS").await?;
//!     pool.close().await;     // a client leaves nothing open
//!     Ok(answer)
//! };
//! let found = Explorer::of(&SHOP)
//!     .client("alice", request)
//!     .client("bob", request)
//!     .invariant(async |_, outcomes| {
//!         let answers: Vec<u16> = outcomes.iter().filter_map(|(_, outcome)| outcome.value().copied()).collect();
//!         ensure(answers.iter().filter(|answer| **answer == 200).count() == 1, format!("they got {answers:?}"))
//!     })
//!     .with_reset(async |db| {
//!         let mut connection = db.connection().await?;
//!         let sql = "drop table if exists voucher; create table voucher as select 'XMAS' as code, false as redeemed";
//!         sqlx::raw_sql(sql).execute(&mut connection).await?;
//!         Ok(())
//!     })
//!     .run()
//!     .await?;
//! found.assert_clean();
//! // A handler that selects first and updates then, in one transaction or not, redeems it twice.
//! # Ok(())
//! # }
//! ```
//!
//! # What it says
//!
//! A schedule that broke an invariant is simplified, printed as a transcript with a column for each client, and run again
//! by its id with [`Explorer::replay`]. What was tried, and what was not, stands in [`Exploration::coverage`]: schedules
//! of messages within the bound, not every interleaving within the server.
//!
//! It needs an embedded server, and takes one of its own: it stops the server's processes while they wait for a lock, so
//! that the order in which they go on is its choice and not the kernel's.

mod access;
mod board;
mod client;
mod deed;
mod expedition;
mod explorer;
mod footprint;
mod ground;
mod lens;
mod limits;
mod outcome;
mod porch;
mod quiet;
mod reduction;
mod refrain;
mod report;
mod schedule;
mod search;
mod session;
mod settle;
mod trace;
mod transcript;
mod trial;
mod watch;

pub use access::{Access, ensure};
pub use client::Failure;
pub use explorer::Explorer;
pub use outcome::{Outcome, Outcomes};
pub use report::{Coverage, Exploration, Violation};
pub use schedule::Schedule;
