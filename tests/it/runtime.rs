//! The reference data layer.

use crate::support::empty_database;
use pgharness::runtime::{
    Class, DataError, Isolation, PoolSettings, Retry, TransactionOptions, with_transaction,
};
use pgharness::wait::{self, Look};
use sqlx::{Connection, Executor, PgConnection, PgPool, Row};
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

/// A database with a table `t (v int unique)`, and a pool of that many connections.
async fn pool(max: u32) -> PgPool {
    let pool = PoolSettings::new(empty_database().await).with_max(max).connect().await.unwrap();
    pool.execute("create table t (v int constraint t_v_key unique)").await.unwrap();
    pool
}

async fn rows(pool: &PgPool) -> Vec<i32> {
    // A session of its own: the pool's may be the one under test.
    let mut fresh = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    sqlx::query_scalar("select v from t order by v").fetch_all(&mut fresh).await.unwrap()
}

async fn insert(connection: &mut PgConnection, v: i32) -> sqlx::Result<()> {
    sqlx::query("insert into t values ($1)").bind(v).execute(connection).await.map(drop)
}

#[tokio::test]
async fn a_commit_returns_the_value_and_keeps_the_rows() {
    let pool = pool(1).await;
    let value: sqlx::Result<_> = with_transaction(&pool, TransactionOptions::default(), async |mut tx| {
        insert(&mut tx, 1).await?;
        Ok("done")
    })
    .await;
    assert_eq!(value.unwrap(), "done");
    assert_eq!(rows(&pool).await, [1]);
}

#[tokio::test]
async fn an_error_of_the_closure_rolls_back() {
    let pool = pool(1).await;
    let outcome: pgharness::Result<()> =
        with_transaction(&pool, TransactionOptions::default(), async |mut tx| {
            insert(&mut tx, 1).await?;
            Err(pgharness::Error::new(pgharness::ErrorKind::Usage, "refused"))
        })
        .await;
    assert_eq!(outcome.unwrap_err().to_string(), "refused");
    assert!(rows(&pool).await.is_empty());
}

/// The future can be spawned, as a web framework does, with what it borrows; and a panic leaves nothing.
#[tokio::test]
async fn a_panic_in_a_task_rolls_back_and_frees_the_connection() {
    async fn handler(pool: PgPool, v: i32) -> sqlx::Result<()> {
        let v = &v;
        with_transaction(&pool, TransactionOptions::default(), async |mut tx| {
            insert(&mut tx, *v).await?;
            std::panic::resume_unwind(Box::new("oh"))
        })
        .await
    }
    let pool = pool(1).await;
    assert!(tokio::spawn(handler(pool.clone(), 1)).await.unwrap_err().is_panic());
    let mut next = pool.acquire().await.unwrap();
    insert(&mut next, 2).await.unwrap();
    assert_eq!(rows(&pool).await, [2]);
}

#[tokio::test]
async fn a_dropped_future_leaves_no_transaction_to_the_next_borrower() {
    let pool = pool(1).await;
    for polls in 1..100 {
        let mut running = Box::pin(with_transaction(
            &pool,
            TransactionOptions { retries: 0, ..Default::default() },
            async |mut tx| insert(&mut tx, 1).await,
        ));
        let mut left = polls;
        let ended = poll_fn(|context| {
            left -= 1;
            match running.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        drop(running);
        let mut next = pool.acquire().await.unwrap();
        // By the simple protocol: a message of its own begins a transaction of its own, if none is open.
        let row = next.fetch_one("select transaction_timestamp() <> statement_timestamp()").await.unwrap();
        assert!(!row.get::<bool, _>(0), "dropped after poll {polls}");
        next.execute("truncate t").await.unwrap();
        if ended.is_some() {
            return;
        }
    }
    panic!("the transaction never ended");
}

#[tokio::test]
async fn committing_an_aborted_transaction_is_an_error() {
    let pool = pool(1).await;
    let outcome: sqlx::Result<()> = with_transaction(&pool, TransactionOptions::default(), async |mut tx| {
        insert(&mut tx, 1).await?;
        drop(tx.execute("select 1 / 0").await);
        Ok(())
    })
    .await;
    assert_eq!(outcome.unwrap_err().as_database_error().unwrap().code().as_deref(), Some("25P02"));
    assert!(rows(&pool).await.is_empty());
    insert(&mut pool.acquire().await.unwrap(), 2).await.unwrap();
}

#[tokio::test]
async fn a_retry_is_a_new_transaction_and_there_are_so_many() {
    let pool = pool(1).await;
    let attempts = AtomicU32::new(0);
    let options = TransactionOptions { retries: 3, ..TransactionOptions::default() };
    let outcome: sqlx::Result<()> = with_transaction(&pool, options, async |mut tx| {
        insert(&mut tx, 1).await?;
        attempts.fetch_add(1, Ordering::Relaxed);
        tx.execute("do $$ begin raise 'x' using errcode = '40001'; end $$").await.map(drop)
    })
    .await;
    // Had it been the same transaction, the second insert would be a duplicate key.
    assert_eq!(outcome.unwrap_err().as_database_error().unwrap().code().as_deref(), Some("40001"));
    assert_eq!(attempts.load(Ordering::Relaxed), 4);
    assert!(rows(&pool).await.is_empty());
}

#[tokio::test]
async fn a_savepoint_inside_keeps_the_outer_work() {
    let pool = pool(1).await;
    let outcome: sqlx::Result<()> = with_transaction(&pool, TransactionOptions::default(), async |mut tx| {
        insert(&mut tx, 1).await?;
        let mut savepoint = tx.begin().await?;
        assert!(insert(&mut savepoint, 1).await.is_err());
        savepoint.rollback().await?;
        insert(&mut tx, 2).await
    })
    .await;
    outcome.unwrap();
    assert_eq!(rows(&pool).await, [1, 2]);
}

#[tokio::test]
async fn a_read_only_transaction_cannot_write() {
    let pool = pool(1).await;
    let options = TransactionOptions { read_only: true, isolation: Isolation::RepeatableRead, retries: 0 };
    let outcome: Result<(), DataError> =
        with_transaction(&pool, options, async |mut tx| Ok(insert(&mut tx, 1).await?)).await;
    assert_eq!(outcome.unwrap_err().code.as_deref(), Some("25006"));
}

#[tokio::test]
async fn a_closure_that_keeps_its_transaction_fails_and_commits_nothing() {
    let pool = pool(1).await;
    let kept = std::sync::Mutex::new(None);
    let outcome: sqlx::Result<()> = with_transaction(&pool, TransactionOptions::default(), async |mut tx| {
        insert(&mut tx, 1).await?;
        *kept.lock().unwrap() = Some(tx);
        Ok(())
    })
    .await;
    assert!(outcome.unwrap_err().to_string().contains("kept it"));
    drop(kept.into_inner().unwrap());
    drop(pool.acquire().await.unwrap());
    assert!(rows(&pool).await.is_empty());
}

#[tokio::test]
async fn a_mapped_error_names_the_constraint_and_no_value() {
    let pool = pool(1).await;
    let mut connection = pool.acquire().await.unwrap();
    insert(&mut connection, 4711).await.unwrap();
    let error = DataError::from(insert(&mut connection, 4711).await.unwrap_err());
    assert_eq!((error.status(), error.retry()), (409, Retry::Never));
    assert_eq!(error.constraint.as_deref(), Some("t_v_key"));
    assert!(!format!("{error} {error:?}").contains("4711"));

    let raised = connection
        .execute(
            "do $$ begin raise 'a' using errcode = '23505', constraint = 'v4711', column = 'v4711'; end $$",
        )
        .await;
    let error = DataError::from(raised.map(drop).unwrap_err());
    assert_eq!((error.class, &error.constraint, &error.column), (Class::Conflict, &None, &None));
}

#[tokio::test]
async fn the_pool_hands_on_neither_a_transaction_nor_settings() {
    let pool = pool(1).await;
    let mut first = pool.acquire().await.unwrap();
    first.execute("begin; insert into t values (1)").await.unwrap();
    drop(first);
    let mut second = pool.acquire().await.unwrap();
    second.execute("set search_path = pg_catalog").await.unwrap();
    second.execute("set role pg_monitor").await.unwrap();
    second.execute("select pg_advisory_lock(1)").await.unwrap();
    drop(second);
    let mut third = pool.acquire().await.unwrap();
    let seen: (String, String, i64, String) = sqlx::query_as(
        "select current_setting('search_path'), current_setting('role'), \
         (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), \
         current_setting('statement_timeout')",
    )
    .fetch_one(&mut *third)
    .await
    .unwrap();
    assert_eq!(seen, ("\"$user\", public".into(), "none".into(), 0, "30s".into()));
    assert!(rows(&pool).await.is_empty(), "the forgotten transaction was committed");
}

#[tokio::test]
async fn saturation_is_an_error_of_its_own() {
    let settings = PoolSettings::new(empty_database().await).with_max(1);
    let pool = settings.with_acquire_timeout(Duration::from_secs(2)).connect().await.unwrap();
    let _held = pool.acquire().await.unwrap();
    let outcome: Result<(), DataError> =
        with_transaction(&pool, TransactionOptions::default(), async |_| Ok(())).await;
    assert_eq!(outcome.unwrap_err().class, Class::Unavailable);
}

#[tokio::test]
async fn the_server_knows_who_is_calling_and_for_how_long() {
    let settings = PoolSettings::new(empty_database().await).with_application_name("web");
    let pool = settings.with_statement_timeout(Duration::from_millis(500)).connect().await.unwrap();
    let name: String =
        sqlx::query_scalar("select current_setting('application_name')").fetch_one(&pool).await.unwrap();
    assert_eq!(name, "web");
    let error = DataError::from(pool.execute("select pg_sleep(60)").await.map(drop).unwrap_err());
    assert_eq!(error.class, Class::Timeout);
}

/// What a cancelled request leaves on the server is gone once its statement is.
#[tokio::test]
async fn a_dropped_statement_ends_by_its_time_out() {
    let options = empty_database().await;
    let settings = PoolSettings::new(options.clone()).with_statement_timeout(Duration::from_secs(1));
    let pool = settings.connect().await.unwrap();
    let sleeping = with_transaction(&pool, TransactionOptions::default(), async |mut tx| {
        tx.execute("select pg_sleep(60)").await.map(drop)
    });
    assert!(tokio::time::timeout(Duration::from_millis(20), sleeping).await.is_err());
    let mut looking = PgConnection::connect_with(&options).await.unwrap();
    wait::until_async("the statement to end", Duration::from_secs(20), async || {
        let busy: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() \
             and pid <> pg_backend_pid() and xact_start is not null",
        )
        .fetch_one(&mut looking)
        .await?;
        Ok(if busy == 0 { Look::Ready(()) } else { Look::NotYet(format!("{busy} sessions")) })
    })
    .await
    .unwrap();
}
