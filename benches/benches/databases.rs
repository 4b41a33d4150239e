//! What a test pays for its database, piece by piece. Whole runs, and figures beside peers, come from
//! `cargo xtask bench`.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pgharness::sqlx::{self, Executor};
use pgharness::{Template, TestDb, template};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

static EMPTY: Template = template! {};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("no runtime: {error}"))
}

/// A database; its drop is not measured.
async fn get() -> TestDb {
    EMPTY.get().await.unwrap_or_else(|error| panic!("{error:?}"))
}

async fn ask(connection: &mut sqlx::PgConnection) {
    connection.execute("select 1").await.unwrap_or_else(|error| panic!("{error}"));
}

fn databases(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("databases");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    group.bench_function("get", |bencher| {
        bencher.iter_batched(|| (), |()| runtime.block_on(get()), BatchSize::PerIteration);
    });
    let db = runtime.block_on(get());
    group.bench_function("connect and ask", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut connection = db.connection().await.unwrap_or_else(|error| panic!("{error:?}"));
                ask(&mut connection).await;
            });
        });
    });
    group.bench_function("scratch", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut scratch = db.scratch().await.unwrap_or_else(|error| panic!("{error:?}"));
                ask(&mut scratch).await;
                scratch.rollback().await.unwrap_or_else(|error| panic!("{error:?}"));
            });
        });
    });
    group.finish();
}

criterion_group!(benches, databases);
criterion_main!(benches);
