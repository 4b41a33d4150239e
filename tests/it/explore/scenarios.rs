//! What is known to go wrong is found, and its cure is clean.

use super::{after, ask, deposit};
use pgharness::explore::{Access, Exploration, Explorer, Failure, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor};

pub(super) const ACCOUNT: &str =
    "drop table if exists account; create table account (id int primary key, balance int);
                       insert into account values (1, 0)";

/// Two who [deposit](super::deposit) at once.
pub(super) fn deposits(explorer: Explorer<'static>, read: &'static str) -> Explorer<'static> {
    explorer
        .client("one", deposit(read))
        .client("two", deposit(read))
        .every_client_succeeds()
        .invariant(async |db, _| {
            let balance: i32 = ask(&db, "select balance from account").await?;
            ensure(balance == 20, "a deposit was lost")
        })
        .with_all_violations()
}

/// Everything within the bound was tried: so many schedules, of which so many broke the invariant.
#[track_caller]
fn check(found: &Exploration, schedules: usize, violations: usize) {
    assert!(found.coverage().is_complete, "{}", found.coverage());
    assert_eq!((found.coverage().schedules, found.violating().len()), (schedules, violations), "{found}");
}

#[tokio::test]
async fn a_lost_update_is_found_with_one_preemption_and_for_update_cures_it() {
    let found = deposits(after(ACCOUNT), "select balance from account where id = 1").run().await.unwrap();
    check(&found, 40, 18);
    let violation = found.violation().unwrap();
    assert_eq!(violation.message, "a deposit was lost");
    assert_eq!(violation.schedule.to_string(), "a2b5a3");
    let clean =
        deposits(after(ACCOUNT), "select balance from account where id = 1 for update").run().await.unwrap();
    check(&clean, 34, 0);
}

pub(super) const DOCTORS: &str =
    "drop table if exists doctor; create table doctor (id int primary key, on_duty bool);
                                  insert into doctor values (1, true), (2, true)";

/// Two doctors; each goes off duty if another stays.
pub(super) fn doctors(explorer: Explorer<'static>, isolation: &'static str) -> Explorer<'static> {
    let leave = |doctor: i32| {
        async move |db: Access| {
            let mut connection = db.connection().await?;
            connection.execute(AssertSqlSafe(format!("begin isolation level {isolation}"))).await?;
            let on_duty: i64 = sqlx::query_scalar("select count(*) from doctor where on_duty")
                .fetch_one(&mut connection)
                .await?;
            if on_duty > 1 {
                sqlx::query("update doctor set on_duty = false where id = $1")
                    .bind(doctor)
                    .execute(&mut connection)
                    .await?;
            }
            connection.execute("commit").await?;
            connection.close().await?;
            Ok(())
        }
    };
    explorer
        .client("one", leave(1))
        .client("two", leave(2))
        .invariant(async |db, outcomes| {
            for (name, _) in outcomes.iter() {
                ensure(outcomes.sqlstates(name).iter().all(|code| code == "40001"), "an unexpected error")?;
            }
            let on_duty: i64 = ask(&db, "select count(*) from doctor where on_duty").await?;
            ensure(on_duty > 0, "nobody is on duty")
        })
        .with_all_violations()
}

#[tokio::test]
async fn write_skew_is_found_under_repeatable_read_and_serializable_cures_it() {
    let found = doctors(after(DOCTORS), "repeatable read").run().await.unwrap();
    check(&found, 40, 20);
    assert_eq!(found.violation().unwrap().message, "nobody is on duty");
    let clean = doctors(after(DOCTORS), "serializable").run().await.unwrap();
    check(&clean, 40, 0);
}

pub(super) const PLAIN: &str =
    "drop table if exists account, request; create table account as select 0 as balance;
                                create table request (key int)";
pub(super) const KEY: &str =
    "drop table if exists account, request; create table account as select 0 as balance;
                              create table request (key int primary key)";
pub(super) const INSERT: &str = "insert into request values (7)";

/// A request with an idempotency key, sent twice.
pub(super) fn twice(explorer: Explorer<'static>, insert: &'static str) -> Explorer<'static> {
    let request = async move |db: Access| {
        let mut connection = db.connection().await?;
        let mut tx = connection.begin().await?;
        let is_new = if insert.contains("on conflict") {
            sqlx::query(insert).execute(&mut *tx).await?.rows_affected() > 0
        } else {
            let known: i64 =
                sqlx::query_scalar("select count(*) from request where key = 7").fetch_one(&mut *tx).await?;
            if known == 0 {
                sqlx::query(insert).execute(&mut *tx).await?;
            }
            known == 0
        };
        if is_new {
            sqlx::query("update account set balance = balance + 10").execute(&mut *tx).await?;
        }
        tx.commit().await?;
        connection.close().await?;
        Ok(())
    };
    explorer
        .client("first", request)
        .client("again", request)
        .invariant(async |db, outcomes| {
            for (name, _) in outcomes.iter() {
                ensure(outcomes.sqlstates(name).iter().all(|code| code == "23505"), "an unexpected error")?;
            }
            ensure(outcomes.successes() > 0, "both requests failed")?;
            let balance: i32 = ask(&db, "select balance from account").await?;
            ensure(balance == 10, format!("the request was applied {} times", balance / 10))
        })
        .with_all_violations()
}

#[tokio::test]
async fn a_request_applied_twice_is_found_and_a_key_cures_it() {
    let found = twice(after(PLAIN), INSERT).run().await.unwrap();
    check(&found, 56, 34);
    assert_eq!(found.violation().unwrap().message, "the request was applied 2 times");
    let clean = twice(after(KEY), INSERT).run().await.unwrap();
    check(&clean, 50, 0);
    let clean =
        twice(after(KEY), "insert into request values (7) on conflict do nothing").run().await.unwrap();
    check(&clean, 32, 0);
}

pub(super) const OUTBOX: &str = "drop table if exists outbox; create table outbox (id bigserial)";

/// Two producers write into an outbox, a poller reads it by a cursor over its sequence, twice.
pub(super) fn outbox(explorer: Explorer<'static, i64>, begin: &'static str) -> Explorer<'static, i64> {
    let produce = async move |db: Access| {
        let mut connection = db.connection().await?;
        connection.execute(begin).await?;
        sqlx::raw_sql("insert into outbox default values").execute(&mut connection).await?;
        connection.execute("commit").await?;
        connection.close().await?;
        Ok(0)
    };
    explorer
        .client("one", produce)
        .client("two", produce)
        .client("poller", async |db: Access| {
            let mut connection = db.connection().await?;
            let (mut cursor, mut seen) = (0_i64, 0);
            for _ in 0..2 {
                let ids: Vec<i64> = sqlx::query_scalar("select id from outbox where id > $1 order by id")
                    .bind(cursor)
                    .fetch_all(&mut connection)
                    .await?;
                seen += ids.len() as i64;
                cursor = ids.last().copied().unwrap_or(cursor);
            }
            connection.close().await?;
            // Where the poller would go on: whatever lies behind it is lost.
            Ok(cursor * 1000 + seen)
        })
        .invariant(async |db, outcomes| {
            let polled =
                outcomes.of("poller").and_then(|outcome| outcome.value()).copied().unwrap_or_default();
            let behind: i64 = ask(&db, "select count(*) from outbox").await?;
            let (cursor, seen) = (polled / 1000, polled % 1000);
            let reached: i64 = if cursor >= 2 { 2 } else { cursor };
            ensure(behind == 2, "a producer failed")?;
            ensure(seen == reached, "the poller went past an event that it had not seen")
        })
        .with_all_violations()
}

#[tokio::test]
async fn a_gap_in_an_outbox_is_found_and_a_lock_cures_it() {
    let found = outbox(after(OUTBOX), "begin").preemptions(1).run().await.unwrap();
    check(&found, 54, 2);
    let clean = outbox(after(OUTBOX), "begin; lock table outbox in share row exclusive mode")
        .preemptions(1)
        .run()
        .await
        .unwrap();
    check(&clean, 58, 0);
}

pub(super) const NOTHING: &str = "drop table if exists a, b, _sqlx_migrations";

/// Two migrators, each with a connection of its own.
pub(super) fn migrators(explorer: Explorer<'static>, takes_lock: bool) -> Explorer<'static> {
    let migrate = async move |db: Access| -> Result<(), Failure> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("1_a.sql"), "create table a (n int)")?;
        std::fs::write(dir.path().join("2_b.sql"), "create table b (n int)")?;
        let mut migrator = sqlx::migrate::Migrator::new(dir.path()).await?;
        migrator.set_locking(takes_lock);
        let mut connection = db.connection().await?;
        // Not `run`: in a boxed future rustc cannot prove what it asks for.
        migrator.run_direct(None, &mut connection, false).await?;
        connection.close().await?;
        Ok(())
    };
    explorer
        .client("one", migrate)
        .client("two", migrate)
        .every_client_succeeds()
        .invariant(async |db, _| {
            let applied: i64 = ask(&db, "select count(*) from _sqlx_migrations where success").await?;
            ensure(applied == 2, format!("{applied} migrations were applied"))
        })
        .preemptions(1)
        .with_all_violations()
}

#[tokio::test]
async fn migrators_without_a_lock_are_found_by_what_they_say() {
    let found = migrators(after(NOTHING), false).run().await.unwrap();
    check(&found, 28, 18);
    let clean = migrators(after(NOTHING), true).run().await.unwrap();
    check(&clean, 36, 0);
}
