//! A run of 500 tests, and what it takes at its worst moment.

use super::databases::Place;
use super::figure::Figure;
use pgharness::sqlx::{self, Executor};
use pgharness::{Error, ErrorKind, Result, Template};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

const TESTS: usize = 500;
const THREADS: usize = 8;

/// Twenty migrations that make forty tables.
pub(super) fn write_migrations(dir: &Path) -> Result<()> {
    for migration in 0..20 {
        let mut sql = String::new();
        for table in [migration * 2, migration * 2 + 1] {
            let parent = match table {
                0 => String::new(),
                _ => format!("references t{}(id)", table - 1),
            };
            sql.push_str(&format!(
                "create table t{table} (id bigint generated always as identity primary key, name text not null unique, \
                 parent bigint {parent}, at timestamptz not null default now(), more jsonb);\n\
                 create index on t{table} (at);\ncreate index on t{table} (parent);\n"
            ));
        }
        let file = dir.join(format!("{:04}_tables.sql", migration + 1));
        std::fs::write(&file, sql).map_err(|error| {
            Error::new(ErrorKind::Environment, format!("failed to write `{}`", file.display()))
                .with_source(error)
        })?;
    }
    Ok(())
}

/// Runs the tests on eight threads and watches the server.
pub(super) fn measure() -> Result<Vec<Figure>> {
    let place = Place::new()?;
    let template = Template::builder(place.path("workspace")).with_migrations("migrations").build();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let started = std::time::Instant::now();
    let peaks = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < TESTS {
                    if test(&template).is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        watch(&template, &done, &next)
    })?;
    let run_s = started.elapsed().as_secs_f64();
    let failures = TESTS - done.load(Ordering::Relaxed);
    let figure =
        |name: &str, unit, value: f64| Figure { runs: TESTS, ..Figure::median(name, unit, &[value]) };
    Ok(vec![
        figure("caps.failures", "", failures as f64),
        figure("caps.databases_peak", "", peaks.databases as f64),
        figure("caps.databases_mib_peak", "MiB", peaks.mib as f64),
        figure("caps.connections_peak", "", peaks.connections as f64),
        figure("caps.ms_per_test", "ms", run_s * 1e3 / TESTS as f64),
    ])
}

fn test(template: &Template) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Environment, "failed to make a runtime").with_source(error))?;
    runtime.block_on(async {
        let db = template.get().await?;
        db.pool().await?.execute("insert into t0 (name) values ('one')").await?;
        Ok(())
    })
}

#[derive(Default)]
struct Peaks {
    databases: i64,
    mib: i64,
    connections: i64,
}

/// Looks at the server as often as it answers, until the tests are through.
fn watch(template: &Template, done: &AtomicUsize, next: &AtomicUsize) -> Result<Peaks> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Environment, "failed to make a runtime").with_source(error))?;
    runtime.block_on(async {
        let server = template.server().await?;
        let mut control = server.connect("postgres").await?;
        let mut peaks = Peaks::default();
        while done.load(Ordering::Relaxed) < TESTS && next.load(Ordering::Relaxed) < TESTS + THREADS {
            let (databases, connections): (i64, i64) = sqlx::query_as(
                "select (select count(*) from pg_database where datname like 'pgh\\_%'),
                        (select count(*) from pg_stat_activity where backend_type = 'client backend')",
            )
            .fetch_one(&mut control)
            .await?;
            peaks.connections = peaks.connections.max(connections);
            if databases > peaks.databases {
                peaks.databases = databases;
                // A database may be dropped while its files are counted.
                let mib = sqlx::query_scalar(
                    "select (sum(pg_database_size(oid)) / 1048576)::int8 from pg_database",
                );
                peaks.mib = peaks.mib.max(mib.fetch_one(&mut control).await.unwrap_or_default());
            }
        }
        Ok(peaks)
    })
}
