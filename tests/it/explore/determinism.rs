//! The same schedule goes the same way, and so do whole explorations, also while the machine is busy.

use super::{after, ask};
use pgharness::explore::{Access, Explorer, ensure};
use sqlx::{Connection, Executor};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Three clients that queue for two rows, in both orders: they wait for one another, and some meet a deadlock.
fn queue() -> Explorer<'static> {
    let work = |first: &'static str, second: &'static str| {
        async move |db: Access| {
            let mut connection = db.connection().await?;
            connection.execute("begin").await?;
            connection.execute(first).await?;
            connection.execute(second).await?;
            connection.execute("commit").await?;
            connection.close().await?;
            Ok(())
        }
    };
    const ONE: &str = "update t set n = n + 1 where id = 1 returning n";
    const TWO: &str = "update t set n = n * 2 where id = 2 returning n";
    after("drop table if exists t; create table t as select id, 1 as n from generate_series(1, 2) id")
        .client("a", work(ONE, TWO))
        .client("b", work(TWO, ONE))
        .client("c", work(ONE, TWO))
        .invariant(async |db, outcomes| {
            for (name, _) in outcomes.iter() {
                ensure(outcomes.sqlstates(name).iter().all(|code| code == "40P01"), "an unexpected error")?;
            }
            let updates: i32 = ask(&db, "select n from t where id = 1").await?;
            ensure(
                usize::try_from(updates - 1).is_ok_and(|updates| updates == outcomes.successes()),
                "not all or nothing",
            )
        })
        .with_all_violations()
}

/// Keeps a core busy as long as it lives.
struct Load(Arc<AtomicBool>);

impl Load {
    fn start() -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let load = Load(ends.clone());
        std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        load
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_schedule_replayed_has_one_trace() {
    let _load = Load::start();
    // All three wait within the server at a time, and two of them for the same row.
    for id in ["a2b2c2ab2ac3a", "a2c2b3"] {
        let mut digests = BTreeSet::new();
        for _ in 0..5 {
            digests.insert(queue().replay(id).await.unwrap().digest());
        }
        assert_eq!(digests.len(), 1, "{id}");
    }
}

#[tokio::test]
async fn explorations_are_identical_under_load() {
    let _load = Load::start();
    let mut digests = BTreeSet::new();
    for _ in 0..2 {
        let found = queue().preemptions(1).run().await.unwrap();
        found.assert_clean();
        digests.insert(found.digest());
    }
    assert_eq!(digests.len(), 1);
}
