//! A PgBouncer with a proxy on both sides: what a client says, and what of it the server hears, from whom.

use crate::support::empty_cluster;
use pgharness::server::PgBouncer;
use pgharness::wire::{Address, Cut, Moment, Proxy, Record};
use sqlx::{ConnectOptions, Executor};

/// Whether the test can run; it must where `PGHARNESS_REQUIRE` says so.
fn is_there() -> bool {
    let is_there = PgBouncer::is_installed();
    assert!(is_there || !pgharness::env::is_required("pgbouncer"), "there is no PgBouncer");
    is_there
}

#[tokio::test]
async fn clients_share_one_backend_by_transactions() {
    if !is_there() {
        return;
    }
    let direct = empty_cluster().await;
    let (before, behind) = (Record::default(), Record::default());
    // By TCP: the bouncer runs as the server's user, who cannot enter our directory.
    let inner = Proxy::start_tcp(Address::of(&direct), behind.taps()).await.unwrap();
    let bouncer = PgBouncer::start(&inner.options(&direct), 1).await.unwrap();
    let bounced = bouncer.options(&direct);
    let outer = Proxy::start(Address::of(&bounced), before.taps()).await.unwrap();
    let through = outer.options(&direct).statement_cache_capacity(0);
    let mut pids = Vec::new();
    let mut clients = [through.connect().await.unwrap(), through.connect().await.unwrap()];
    for client in &mut clients {
        client.execute("begin; create temp table if not exists seen (n int)").await.unwrap();
        client.execute("insert into seen values (1)").await.unwrap();
        let rows = client
            .fetch_all(sqlx::raw_sql("select pg_backend_pid()::text || count(*)::text as seen from seen"))
            .await
            .unwrap();
        pids.push(sqlx::Row::get::<String, _>(&rows[0], 0));
        client.execute("commit").await.unwrap();
    }
    // The second client was given the first one's backend, with what that one left in it.
    let (first, second) = (&pids[0], &pids[1]);
    assert_eq!(
        (first[..first.len() - 1].to_owned(), &second[second.len() - 1..]),
        (second[..second.len() - 1].to_owned(), "2")
    );
    let sessions = |record: &Record| {
        let mut sessions: Vec<u64> = record
            .transcript()
            .entries
            .iter()
            .filter(|entry| entry.sql.starts_with("insert"))
            .map(|entry| entry.session)
            .collect();
        sessions.dedup();
        sessions.len()
    };
    assert_eq!((sessions(&before), sessions(&behind)), (2, 1));
}

#[tokio::test]
async fn a_session_that_is_cut_before_the_bouncer_leaves_no_transaction_behind_it() {
    if !is_there() {
        return;
    }
    let direct = empty_cluster().await;
    let bouncer = PgBouncer::start(&direct, 1).await.unwrap();
    let cut = Cut::at(2, Moment::After);
    let outer = Proxy::start(Address::of(&bouncer.options(&direct)), cut.taps()).await.unwrap();
    let through = outer.options(&direct);
    let mut client = through.connect().await.unwrap();
    client.execute("create table t (n int)").await.unwrap();
    client.execute("begin").await.unwrap();
    client.execute("insert into t values (1)").await.unwrap();
    client.execute("commit").await.unwrap_err();
    assert_eq!(cut.landing().unwrap().unwrap().sql, "insert into t values (?)");
    // The pool has one connection: whoever comes next would be within that transaction.
    let mut next = through.connect().await.unwrap();
    next.execute("insert into t values (2)").await.unwrap();
    let rows: Vec<i32> =
        sqlx::query_scalar("select n from t").fetch_all(&mut direct.connect().await.unwrap()).await.unwrap();
    assert_eq!(rows, [2]);
}
