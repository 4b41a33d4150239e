//! What a database costs a test under a runner that gives each test a process.

use super::generated::{Dependency, Package, cargo, run_cargo};
use super::{Measure, ms, runtime};
use crate::bench::figure::Figure;
use crate::bench::place::failed;
use crate::bench::samples::Samples;
use crate::bench::schema;
use pgharness::process::Program;
use pgharness::sqlx::{Connection, Executor};
use pgharness::{Error, ErrorKind, Result};
use std::fs;
use std::time::Instant;

const TESTS: usize = 200;

const NAMES: [&str; 6] = [
    "nextest200.extra_ms",
    "nextest200.j1.extra_ms",
    "nextest200.j1.extra_p50_ms",
    "nextest200.j1.extra_p50_vs_raw",
    "nextest200.j2.p50_ms",
    "nextest200.raw_ms",
];

/// What a run of the runner said.
struct Run {
    wall_ms: f64,
    p50_ms: f64,
}

/// 200 tests that ask a database one thing, beside 200 that do nothing, one and two at a time. `extra_ms` is of two
/// at a time, a test's share of the wall clock.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    if !Program::new("cargo").args(["nextest", "--version"]).run()?.status.success() {
        let reason = "there is no cargo-nextest: `cargo install --locked cargo-nextest`";
        return Ok(NAMES.iter().map(|name| Figure::not_measured(*name, reason)).collect());
    }
    let package = write(bench)?;
    run_cargo(&package, &["nextest", "run", "--release", "--no-run"])?;
    let share = |one: &Run| one.wall_ms / TESTS as f64;
    let mut wall = [(); 4].map(|()| Samples::default());
    let mut p50 = [(); 4].map(|()| Samples::default());
    let mut raw = Samples::default();
    for _ in 0..bench.rounds(3) {
        for (index, (target, jobs)) in
            [("with", "1"), ("without", "1"), ("with", "2"), ("without", "2")].into_iter().enumerate()
        {
            let run = run(&package, target, jobs)?;
            wall[index].push(share(&run));
            p50[index].push(run.p50_ms);
        }
        raw.push(raw_ms(bench)?);
    }
    let [j1, j1_none, j2, j2_none] = &wall;
    let [j1_p50, j1_p50_none, j2_p50, _] = &p50;
    let extra = j1_p50.extra("nextest200.j1.extra_p50_ms", "ms", "no database", j1_p50_none);
    let raw = raw.figure("nextest200.raw_ms", "ms");
    let times = extra.value.zip(raw.value).map(|(extra, raw)| extra / raw);
    let versus = Figure {
        name: "nextest200.j1.extra_p50_vs_raw".into(),
        value: times,
        // Of three runs' medians an interval says nothing.
        low: None,
        high: None,
        unit: "×".into(),
        ours: extra.value,
        peer: Some("connect + select".into()),
        theirs: raw.value,
        ..extra.clone()
    };
    Ok(vec![
        j2.extra("nextest200.extra_ms", "ms", "no database", j2_none),
        j1.extra("nextest200.j1.extra_ms", "ms", "no database", j1_none),
        extra,
        versus,
        j2_p50.figure("nextest200.j2.p50_ms", "ms"),
        raw,
    ])
}

fn write(bench: &Measure) -> Result<Package> {
    let mut package = Package::write(bench, "nextest", &[Dependency::Pgharness])?;
    // Where this program was built: much of what both depend on is there already.
    package.target = bench.repository.join("target");
    for name in ["tests", "migrations"] {
        fs::create_dir_all(package.dir.join(name)).map_err(failed)?;
    }
    schema::write_tables(&package.dir.join("migrations"))?;
    let mut with = String::from(
        "use pgharness::sqlx::Executor;\nstatic APP: pgharness::Template = pgharness::template! { migrations: \"migrations\" };\n",
    );
    let mut without = String::new();
    for test in 0..TESTS {
        with.push_str(&format!(
            "#[tokio::test]\nasync fn test_{test}() -> pgharness::Result<()> {{\n    let db = APP.get().await?;\n    \
             db.connection().await?.execute(\"select 1\").await?;\n    Ok(())\n}}\n"
        ));
        without.push_str(&format!("#[tokio::test]\nasync fn test_{test}() {{}}\n"));
    }
    fs::write(package.dir.join("tests/with.rs"), with).map_err(failed)?;
    fs::write(package.dir.join("tests/without.rs"), without).map_err(failed)?;
    Ok(package)
}

fn run(package: &Package, target: &str, jobs: &str) -> Result<Run> {
    let arguments = ["nextest", "run", "--release", "--test", target, "--test-threads", jobs];
    let finished = cargo(package, &arguments)
        // What it prints for people has no more than milliseconds.
        .args(["--message-format", "libtest-json"])
        .env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1")
        // The server lives on from test to test.
        .env("PGHARNESS_GRACE_MS", "3000")
        .run()?;
    let (events, said) = (finished.text(), finished.complaint());
    finished.check(ErrorKind::Environment, || format!("`cargo {}` failed", arguments.join(" ")))?;
    let run = tests_ms(&events).zip(summary_ms(&said));
    let Some((tests, wall_ms)) = run.filter(|(tests, _)| tests.len() == TESTS) else {
        return Err(Error::new(ErrorKind::Environment, format!("cargo-nextest said `{said}`")));
    };
    Ok(Run { wall_ms, p50_ms: tests[TESTS / 2] })
}

/// Milliseconds of each test that passed, the shortest first.
fn tests_ms(events: &str) -> Option<Vec<f64>> {
    let mut tests = Vec::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        if event["type"] == "test" && event["event"] == "ok" {
            tests.push(event["exec_time"].as_f64()? * 1e3);
        }
    }
    tests.sort_unstable_by(f64::total_cmp);
    Some(tests)
}

/// Reads `Summary [   3.215s] …`.
fn summary_ms(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.trim_start().strip_prefix("Summary"))?;
    let (_, rest) = line.split_once('[')?;
    let seconds: f64 = rest.split_once("s]")?.0.trim().parse().ok()?;
    Some(seconds * 1e3)
}

/// Milliseconds of a connection and a query by hand, the median of as many as there are tests.
fn raw_ms(bench: &Measure) -> Result<f64> {
    let template = bench.template();
    let mut samples: Vec<f64> = runtime()?.block_on(async {
        let server = template.server().await?;
        let mut samples = Vec::new();
        for _ in 0..TESTS {
            let started = Instant::now();
            let mut connection = server.connect("postgres").await?;
            connection.execute("select 1").await?;
            samples.push(ms(started));
            connection.close().await?;
        }
        Ok::<_, Error>(samples)
    })?;
    samples.sort_unstable_by(f64::total_cmp);
    Ok(samples[TESTS / 2])
}
