//! Faults do what they say, and clients meet them as they would in production.

use crate::support::empty_database;
use pgharness::wire::{Address, Faults, Proxy, Side, Silence};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Executor};
use std::time::{Duration, Instant};

async fn behind(faults: &Faults) -> (Proxy, PgConnectOptions, PgConnectOptions) {
    let direct = empty_database().await;
    let proxy = Proxy::start(Address::of(&direct), faults.taps()).await.unwrap();
    let through = proxy.options(&direct);
    (proxy, through, direct)
}

#[tokio::test]
async fn a_pool_gives_up_on_a_silent_server() {
    for silence in [Silence::FromStart, Silence::AfterHandshake] {
        let (_proxy, through, _) = behind(&Faults::default().with_silence(silence)).await;
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_millis(300))
            .max_connections(1)
            .connect_lazy_with(through);
        if silence == Silence::AfterHandshake {
            // The session is there; the pool's look whether it lives is what meets the silence.
            drop(pool.acquire().await.unwrap());
        }
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, sqlx::Error::PoolTimedOut), "{silence:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_done() {
    let faults = Faults::default().with_lost_commit(1);
    let (_proxy, through, direct) = behind(&faults).await;
    let mut control = direct.connect().await.unwrap();
    control.execute("create table t (n int)").await.unwrap();
    let mut lost = Vec::new();
    for n in 0..3 {
        let mut client = through.connect().await.unwrap();
        let mut tx = sqlx::Connection::begin(&mut client).await.unwrap();
        sqlx::query("insert into t values ($1)").bind(n).execute(&mut *tx).await.unwrap();
        if let Err(error) = tx.commit().await {
            assert!(matches!(error, sqlx::Error::Io(_)), "{error:?}");
            lost.push(n);
        }
    }
    assert_eq!(lost, [1]);
    let rows: Vec<i32> =
        sqlx::query_scalar("select n from t order by n").fetch_all(&mut control).await.unwrap();
    assert_eq!(rows, [0, 1, 2]);
}

#[tokio::test]
async fn bandwidth_is_bounded_both_ways() {
    const RATE: u64 = 1 << 20;
    let (_proxy, through, _) = behind(&Faults::default().with_bandwidth(RATE)).await;
    let mut client = through.connect().await.unwrap();
    for sql in [
        "select length($1::bytea)::text",
        "select repeat('x', length($1::bytea))",
        "select left(repeat(encode($1::bytea, 'escape'), 1), 1)",
    ] {
        let bytes = vec![b'x'; (RATE / 4) as usize];
        let started = Instant::now();
        let text: String = sqlx::query_scalar(sql).bind(&bytes).fetch_one(&mut client).await.unwrap();
        let carried = bytes.len().max(text.len()) as f64;
        let least = carried / RATE as f64 * if text.len() > 1000 { 2.0 } else { 1.0 };
        assert!(started.elapsed().as_secs_f64() >= least, "{:?} for {carried} bytes", started.elapsed());
    }
}

#[tokio::test]
async fn latency_is_added_to_each_way_and_not_to_each_message() {
    let latency = Duration::from_millis(100);
    let (_proxy, through, direct) = behind(&Faults::default().with_latency(latency)).await;
    let mut client = through.connect().await.unwrap();
    let started = Instant::now();
    client.execute("select 1").await.unwrap();
    assert!(started.elapsed() >= 2 * latency, "{:?}", started.elapsed());
    // 1000 rows are 1000 messages: one after another they would take 100 s.
    let mut direct = direct.connect().await.unwrap();
    let sql = "select generate_series(1, 1000)";
    direct.execute(sql).await.unwrap();
    let rows = tokio::time::timeout(Duration::from_secs(50), client.fetch_all(sql))
        .await
        .expect("not each")
        .unwrap();
    assert_eq!(rows.len(), 1000);
}

#[tokio::test]
async fn a_reset_ends_every_session_at_the_same_message() {
    // Behind the start-up packet a client without a password sends its first query first.
    let (_proxy, through, direct) = behind(&Faults::default().with_reset(Side::Frontend, 1)).await;
    direct.connect().await.unwrap().execute("create table t (n int)").await.unwrap();
    for n in 1..=3_i64 {
        let mut client = through.connect().await.unwrap();
        client.execute("insert into t values (1)").await.unwrap();
        let error = client.execute("insert into t values (2)").await.unwrap_err();
        assert!(matches!(error, sqlx::Error::Io(_)), "{error:?}");
        let counts: (i64, i64) = sqlx::query_as("select count(*), sum(n) from t")
            .fetch_one(&mut direct.connect().await.unwrap())
            .await
            .unwrap();
        assert_eq!(counts, (n, n));
    }
}

#[tokio::test]
async fn a_stall_holds_everything_until_it_ends() {
    let faults = Faults::default();
    let (_proxy, through, direct) = behind(&faults).await;
    direct.connect().await.unwrap().execute("create table t (n int)").await.unwrap();
    let mut client = through.connect().await.unwrap();
    faults.stall();
    let mut insert = tokio::spawn(async move { client.execute("insert into t values (1)").await.map(drop) });
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut insert).await.is_err());
    let count: i64 = sqlx::query_scalar("select count(*) from t")
        .fetch_one(&mut direct.connect().await.unwrap())
        .await
        .unwrap();
    assert_eq!(count, 0, "it got through");
    faults.resume();
    insert.await.unwrap().unwrap();
}
