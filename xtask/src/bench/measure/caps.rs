//! A run of 2,000 tests, and what it takes at its worst moment.

use super::{Measure, runtime};
use crate::bench::figure::Figure;
use crate::bench::peer::{Tests, WRITE, ours};
use crate::bench::samples::Samples;
use pgharness::sqlx;
use pgharness::{Result, Template};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const TESTS: usize = 2000;
const THREADS: usize = 8;

/// Runs the tests on eight threads and watches the server.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let template = bench.template();
    let tests = Tests::new(TESTS, WRITE);
    let (failures, running) = (AtomicUsize::new(0), AtomicUsize::new(THREADS));
    let started = Instant::now();
    let peaks = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // A test that fails ends the run; the others go on.
                while ours::run(&template, ours::Way::Pool, &tests).is_err() {
                    failures.fetch_add(1, Ordering::Relaxed);
                }
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        watch(&template, &running)
    })?;
    let run_s = started.elapsed().as_secs_f64();
    let figure = |name: &str, unit, value: f64| {
        let mut samples = Samples::default();
        samples.push(value);
        Figure { runs: TESTS, ..samples.figure(name, unit) }
    };
    Ok(vec![
        figure("caps.failures", "", failures.load(Ordering::Relaxed) as f64),
        figure("caps.databases_peak", "", peaks.databases as f64),
        figure("caps.databases_mib_peak", "MiB", peaks.mib as f64),
        figure("caps.databases_mib_max", "MiB", peaks.mib_max as f64),
        figure("caps.connections_peak", "", peaks.connections as f64),
        figure("caps.ms_per_test", "ms", run_s * 1e3 / TESTS as f64),
    ])
}

#[derive(Default)]
struct Peaks {
    databases: i64,
    mib: i64,
    /// What the harness allows itself.
    mib_max: u64,
    connections: i64,
}

/// Looks at the server as often as it answers, until the tests are through.
fn watch(template: &Template, running: &AtomicUsize) -> Result<Peaks> {
    runtime()?.block_on(async {
        let server = template.server().await?;
        let mut control = server.connect("postgres").await?;
        let mib_max = server.space().map_or(0, |space| space.databases_mib_max());
        let mut peaks = Peaks { mib_max, ..Peaks::default() };
        while running.load(Ordering::Relaxed) > 0 {
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
