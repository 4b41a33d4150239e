//! Clients of other shapes: pools, panics, those who wait for one another, those who spin.

use super::{EMPTY, after, ask};
use pgharness::explore::{Access, Explorer, Failure, ensure};
use sqlx::{Connection, Executor};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const T: &str = "drop table if exists t; create table t (n int); insert into t values (0)";

/// Two of a kind, who each add one.
fn twins(
    work: impl AsyncFn(Access) -> Result<(), Failure> + Copy + Send + Sync + 'static,
) -> Explorer<'static> {
    after(T)
        .client("one", work)
        .client("two", work)
        .every_client_succeeds()
        .invariant(async |db, _| ensure(ask::<i32>(&db, "select n from t").await? == 2, "lost"))
        .preemptions(1)
}

#[tokio::test]
async fn a_client_may_have_a_pool() {
    let work = async |db: Access| {
        let pool = db.pool();
        let mut tx = pool.begin().await?;
        tx.execute("update t set n = n + 1").await?;
        pool.execute("select 1").await?;
        tx.commit().await?;
        pool.close().await;
        Ok(())
    };
    let found = twins(work).run().await.unwrap();
    found.assert_clean();
    assert!(found.coverage().is_complete && found.coverage().schedules > 5, "{}", found.coverage());
}

#[tokio::test]
async fn clones_are_as_the_template_and_fresh() {
    let work = async |db: Access| {
        let mut connection = db.connection().await?;
        let name: String =
            sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await?;
        connection.execute("create table mine (n int)").await?;
        connection.close().await?;
        Ok(name)
    };
    let found = Explorer::of(&EMPTY)
        .client("one", work)
        .every_client_succeeds()
        .invariant(async |_, outcomes| {
            ensure(
                outcomes.of("one").and_then(|outcome| outcome.value()).is_some_and(|name| name == "app"),
                "renamed",
            )
        })
        .client("two", async |_| Ok(String::new()))
        .run()
        .await
        .unwrap();
    found.assert_clean();
    assert_eq!((found.coverage().schedules, found.coverage().is_complete), (1, true));
}

#[tokio::test]
async fn a_panic_is_an_outcome_and_its_transaction_is_gone() {
    let found = after(T)
        .client("one", async |db: Access| {
            let mut connection = db.connection().await?;
            connection.execute("begin").await?;
            connection.execute("update t set n = 7").await?;
            std::panic::resume_unwind(Box::new("on purpose"));
        })
        .client("two", async |db: Access| {
            let mut connection = db.connection().await?;
            connection.execute("update t set n = n + 1").await?;
            Ok(())
        })
        .invariant(async |db, outcomes| {
            ensure(outcomes.successes() == 1, "both succeeded")?;
            ensure(ask::<i32>(&db, "select n from t").await? == 1, "the update of a panicked client stayed")
        })
        .run()
        .await
        .unwrap();
    found.assert_clean();
    assert!(found.coverage().schedules > 3, "{}", found.coverage());
}

#[tokio::test]
async fn clients_that_wait_for_one_another_outside_the_database_are_stuck() {
    let (told, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, hear) = (told.clone(), heard.clone());
    let found = after(T)
        .client("holder", async move |db: Access| {
            let mut connection = db.connection().await?;
            connection.execute("begin").await?;
            connection.execute("update t set n = 1").await?;
            // Waits for one who waits for the row.
            tell.notified().await;
            connection.execute("commit").await?;
            Ok(())
        })
        .client("waiter", async move |db: Access| {
            let mut connection = db.connection().await?;
            connection.execute("update t set n = 2").await?;
            told.notify_one();
            hear.notify_one();
            Ok(())
        })
        .preemptions(0)
        .run()
        .await
        .unwrap();
    drop(heard);
    let violation = found.violation().unwrap();
    assert_eq!(violation.message, "nobody can go on: `holder` and `waiter` wait for ever");
    assert!(violation.transcript.contains("waits for holder"), "{}", violation.transcript);
}

#[tokio::test]
async fn a_client_that_spins_is_set_aside_and_that_is_said() {
    let work = async |db: Access| {
        let mut connection = db.connection().await?;
        loop {
            let is_mine: bool =
                sqlx::query_scalar("select pg_try_advisory_lock(1)").fetch_one(&mut connection).await?;
            if is_mine {
                break;
            }
        }
        connection.execute("update t set n = n + 1").await?;
        connection.close().await?;
        Ok(())
    };
    let found = twins(work).run().await.unwrap();
    found.assert_clean();
    assert!(found.coverage().steps < found.coverage().schedules * 20, "{}", found.coverage());
    let gaps = found.coverage().not_covered.join("\n");
    assert!(gaps.contains("turns in a row of `one`, `two`, set aside for others"), "{gaps}");
    let endless = after(T)
        .client("one", async |db: Access| {
            let mut connection = db.connection().await?;
            loop {
                connection.execute("select 1").await?;
            }
        })
        .client("two", async |_| Ok(()))
        .with_steps_max(20)
        .run()
        .await
        .unwrap();
    assert!(!endless.coverage().is_complete);
    assert_eq!(endless.coverage().not_covered, ["the ends of 1 schedules with too many steps"]);
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let nobody = Explorer::<()>::of(&EMPTY).run().await.unwrap_err();
    assert_eq!(nobody.to_string(), "an exploration has 1 to 26 clients, not 0");
    let warm =
        Explorer::of(&EMPTY).client("a", async |_| Ok(())).with_warm_backends().run().await.unwrap_err();
    assert_eq!(warm.to_string(), "warm backends need a database that stays");
    let one = || {
        after(T).client("a", async |db: Access| {
            ask::<i32>(&db, "select n from t").await?;
            Ok(())
        })
    };
    assert_eq!(one().replay("2a").await.unwrap_err().to_string(), "`2a` is no schedule");
    let unknown = one().replay("a2b").await.unwrap_err();
    assert_eq!(unknown.to_string(), "the schedule `a2b` has a client `b`, which is not there");
    one().replay("a2").await.unwrap().assert_clean();
    let departed = one().client("b", async |_| Ok(())).replay("ab").await.unwrap_err();
    assert_eq!(
        departed.to_string(),
        "the schedule `ab` cannot be followed: at step 2 `b` had nothing to run"
    );
}

#[tokio::test]
async fn a_client_that_waits_for_time_is_waited_for_and_named() {
    let found = after(T)
        .client("slow", async |db: Access| {
            let mut connection = db.connection().await?;
            connection.execute("update t set n = n + 1").await?;
            tokio::time::timeout(Duration::from_millis(600), std::future::pending::<()>()).await.unwrap_err();
            connection.execute("update t set n = n + 1").await?;
            connection.close().await?;
            Ok(())
        })
        .invariant(async |db, _| ensure(ask::<i32>(&db, "select n from t").await? == 2, "lost"))
        .every_client_succeeds()
        .run()
        .await
        .unwrap();
    found.assert_clean();
    let gaps = found.coverage().not_covered.join("\n");
    assert_eq!(gaps, "when `slow` went on, who waited for something other than the database");
}
