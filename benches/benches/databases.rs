//! What a test pays for its database, piece by piece. Whole runs, and figures beside peers, come from
//! `cargo xtask bench`.

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use pgharness::postgres::Settings;
use pgharness::server::{Backend, Server, ServerConfig};
use pgharness::sqlx::{self, AssertSqlSafe, Executor, PgConnection};
use pgharness::wait::{self, Look};
use pgharness::{Result, Template, TestDb, template};
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

static NOTES: Template = template! { migrations: "migrations" };

/// What a test does.
const WRITE: &str = "insert into notes (text) values ('one')";

const DEADLINE: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("no runtime: {error}"))
}

fn ok<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

async fn ask(connection: &mut PgConnection) {
    connection.execute("select 1").await.unwrap_or_else(|error| panic!("{error}"));
}

/// Connects and asks something.
async fn connect(server: &Server) -> PgConnection {
    let mut connection = ok(server.connect(server.endpoint().maintenance_database()).await);
    ask(&mut connection).await;
    connection
}

fn databases(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("databases");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    servers(&mut group, &runtime);
    let (server, template) = ok(runtime.block_on(NOTES.build()));
    clones(&mut group, &runtime, &server, &template);
    sessions(&mut group, &runtime);
    group.finish();
}

/// A server of one's own from the prepared data, and one that is there already: until its first answer.
fn servers(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime) {
    let config = ok(ServerConfig::from_env(env!("CARGO_MANIFEST_DIR").as_ref()));
    let backend: Box<dyn Backend> = ok(config.backend());
    group.bench_function("start", |bencher| {
        bencher.iter_with_large_drop(|| {
            let server = ok(backend.start_private(None, &Settings::default()));
            drop(runtime.block_on(connect(&server)));
            server
        });
    });
    let _there = ok(backend.attach());
    group.bench_function("attach", |bencher| {
        bencher.iter_with_large_drop(|| {
            let server = ok(backend.attach());
            drop(runtime.block_on(connect(&server)));
            server
        });
    });
}

/// A clone made by hand; a database claimed that lies ready; and a drop, until the database is gone.
fn clones(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, server: &Server, template: &str) {
    let control = RefCell::new(runtime.block_on(connect(server)));
    let number = Cell::new(0);
    group.bench_function("clone", |bencher| {
        bencher.iter_batched(
            || {
                let before = format!("drop database if exists by_hand_{}", number.get());
                number.set(number.get() + 1);
                runtime.block_on(run(&mut control.borrow_mut(), before));
                format!("create database by_hand_{} template {template} strategy file_copy", number.get())
            },
            |sql| runtime.block_on(run(&mut control.borrow_mut(), sql)),
            BatchSize::PerIteration,
        );
    });
    let last = format!("drop database if exists by_hand_{}", number.get());
    runtime.block_on(run(&mut control.borrow_mut(), last));

    let fresh = Template::builder(env!("CARGO_MANIFEST_DIR")).with_migrations("migrations");
    let fresh = fresh.with_recycling(false).build();
    // The first one starts the makers.
    drop(ok(runtime.block_on(fresh.get())));
    group.bench_function("claim", |bencher| {
        bencher.iter_batched(
            || {
                let control = &mut control.borrow_mut();
                let ready = wait_for(control, DATABASES, "pgh\\_r\\_%", |ready| ready > 0);
                runtime.block_on(ready);
            },
            |()| ok(runtime.block_on(fresh.get())),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("drop", |bencher| {
        bencher.iter_batched(
            || {
                let control = &mut control.borrow_mut();
                let none = wait_for(control, DATABASES, "pgh\\_c\\_%", |used| used == 0);
                runtime.block_on(none);
                ok(runtime.block_on(fresh.get()))
            },
            |db: TestDb| {
                let name = db.name().to_owned();
                drop(db);
                runtime.block_on(wait_for(&mut control.borrow_mut(), DATABASES, &name, |left| left == 0));
            },
            BatchSize::PerIteration,
        );
    });
    // A row was written: until somebody sits in the database under another name, ready for the next test.
    group.bench_function("recycle", |bencher| {
        bencher.iter_batched(
            || {
                runtime.block_on(async {
                    let db = ok(NOTES.get().await);
                    run(&mut ok(db.connection().await), WRITE.into()).await;
                    db
                })
            },
            |db: TestDb| {
                let name = db.name().to_owned();
                drop(db);
                runtime.block_on(wait_for(&mut control.borrow_mut(), SPARES, &name, |there| there > 0));
            },
            BatchSize::PerIteration,
        );
    });
}

/// What a database that one has already costs to use.
fn sessions(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime) {
    let db = ok(runtime.block_on(NOTES.get()));
    group.bench_function("connect and ask", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async { ask(&mut ok(db.connection().await)).await });
        });
    });
    group.bench_function("scratch", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut scratch = ok(db.scratch().await);
                ask(&mut scratch).await;
                ok(scratch.rollback().await);
            });
        });
    });
}

async fn run(control: &mut PgConnection, sql: String) {
    control.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{error}"));
}

/// Databases whose names are like $1.
const DATABASES: &str = "select count(*) from pg_database where datname like $1 and datconnlimit <> -2";
/// Sessions in databases that tests had, but for the one named $1.
const SPARES: &str =
    "select count(*) from pg_stat_activity where datname like 'pgh\\_c\\_%' and datname <> $1";

/// Waits until the number of those is what it should be.
async fn wait_for(
    control: &mut PgConnection,
    those: &'static str,
    name: &str,
    is_right: impl Fn(i64) -> bool,
) {
    let waited = wait::until_async("databases to come or go", DEADLINE, async || {
        let number: i64 = sqlx::query_scalar(those).bind(name).fetch_one(&mut *control).await?;
        Ok(if is_right(number) { Look::Ready(()) } else { Look::NotYet(format!("{number} there")) })
    });
    ok(waited.await);
}

criterion_group!(benches, databases);
criterion_main!(benches);
