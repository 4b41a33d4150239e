//! A long history of migrations: applied for the first time, and found applied.

use super::{Measure, ask_peer, beside, ms, one_number, runtime, text};
use crate::bench::figure::Figure;
use crate::bench::peer::psql;
use crate::bench::place::{failed, wait_until_stopped};
use crate::bench::samples::Samples;
use crate::bench::schema;
use pgharness::Result;
use pgharness::migration::{Format, Migrations, Runner};
use pgharness::sqlx::{AssertSqlSafe, Executor};
use std::fs;
use std::time::Instant;

const MIGRATIONS: usize = 300;

/// The first run: the template built on a server that is there, beside one `psql` that is given all files; and the
/// runner alone beside it. The second run: a process that finds no server, until its first database answers.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let dir = bench.path("workspace/history");
    fs::create_dir_all(&dir).map_err(failed)?;
    schema::write_history(&dir, MIGRATIONS)?;
    let mut figures = Vec::new();
    if bench.wants("migrations300.second_ms") {
        figures.push(second(bench)?);
    }
    if bench.wants("migrations300.vs_psql") || bench.wants("migrations300.runner_vs_psql") {
        figures.extend(first(bench)?);
    }
    Ok(figures)
}

fn second(bench: &Measure) -> Result<Figure> {
    let (workspace, history) = (text(&bench.path("workspace")), text(&bench.path("workspace/history")));
    let mut samples = Samples::default();
    for round in 0..=bench.runs {
        let first_database_ms = one_number(bench.sample(["first-database", &workspace, &history])?)?;
        wait_until_stopped(&bench.path("roots"))?;
        // The first run migrates.
        if round > 0 {
            samples.push(first_database_ms);
        }
    }
    Ok(samples.figure("migrations300.second_ms", "ms"))
}

fn first(bench: &Measure) -> Result<Vec<Figure>> {
    let (workspace, history) = (text(&bench.path("workspace")), text(&bench.path("workspace/history")));
    let dir = bench.path("workspace/history");
    let runtime = runtime()?;
    let server = runtime.block_on(bench.template().server())?;
    let mut control = runtime.block_on(server.connect("postgres"))?;
    let (mut ours, mut runner, mut psql) = (Samples::default(), Samples::default(), Ok(Samples::default()));
    for round in 0..bench.rounds(3) {
        // Another file makes it another template.
        fs::write(bench.path("workspace/history/9999_round.sql"), format!("select {round};\n"))
            .map_err(failed)?;
        ours.push(one_number(bench.sample(["build-template", &workspace, &history])?)?);

        let migrations = Migrations::load(&dir, Format::Auto)?;
        runner.push(runtime.block_on(async {
            let name = format!("runner_{round}");
            let started = Instant::now();
            control.execute(AssertSqlSafe(format!("create database {name}"))).await?;
            Runner::new(&migrations).apply(&server.endpoint().options(&name)).await?;
            Ok::<_, pgharness::Error>(ms(started))
        })?);

        ask_peer(&mut psql, || {
            let name = format!("psql_{round}");
            let started = Instant::now();
            runtime.block_on(control.execute(AssertSqlSafe(format!("create database {name}"))))?;
            let created_ms = ms(started);
            let endpoint = server.endpoint();
            Ok(created_ms + psql::apply_ms(&dir, &endpoint.url_for(&name, endpoint.role()))?)
        });
    }
    Ok(vec![
        beside("migrations300.vs_psql", &ours, "psql", &psql),
        beside("migrations300.runner_vs_psql", &runner, "psql", &psql),
    ])
}
