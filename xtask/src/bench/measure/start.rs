//! From nothing to a server's first answer.

use super::{Measure, ask_peer, beside, numbers, one_number, text};
use crate::bench::figure::Figure;
use crate::bench::peer;
use crate::bench::place::{entries, wait_until_stopped};
use crate::bench::samples::Samples;
use pgharness::{Error, ErrorKind, Result};
use std::fs;

/// From a process that finds no server to its first answered query: with `initdb` cached, which is what peers are
/// put beside; and with the data that the last run parked, in which the template is.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let (cold_ms, _) = ours(bench)?;
    let (mut cold, mut cached, mut parked) = (Samples::default(), Samples::default(), Samples::default());
    cold.push(cold_ms);
    let (mut embedded, mut embedded_initdb) = (Ok(Samples::default()), Samples::default());
    let (mut pgtemp, mut initdb) = (Ok(Samples::default()), Samples::default());
    let mut rebuilt = 0;
    for _ in 0..bench.runs {
        for data in entries(&bench.path("roots"), "pgp-") {
            let _ = fs::remove_dir_all(data);
        }
        let (cached_ms, built) = ours(bench)?;
        cached.push(cached_ms);
        if bench.wants("start.parked_ms") || bench.wants("start.templates_rebuilt") {
            let (parked_ms, found) = ours(bench)?;
            parked.push(parked_ms);
            rebuilt += usize::from(built != found);
        }
        if bench.wants("start.vs_postgresql_embedded") || bench.wants("start.postgresql_embedded_initdb_ms") {
            ask_peer(&mut embedded, || {
                let dir = text(&bench.path("peer"));
                let [whole_ms, initdb_ms] = numbers(bench.sample(["postgresql-embedded", &dir])?)?;
                embedded_initdb.push(initdb_ms);
                Ok(whole_ms)
            });
        }
        if bench.wants("start.vs_pgtemp") || bench.wants("start.pgtemp_initdb_ms") {
            ask_peer(&mut pgtemp, || {
                initdb.push(peer::pgtemp::initdb_ms(&bench.path("peer"))?);
                one_number(bench.sample(["pgtemp", &text(&bench.path("peer"))])?)
            });
        }
    }
    let rebuilt_count = {
        let mut count = Samples::default();
        count.push(rebuilt as f64);
        count
    };
    Ok(vec![
        beside("start.vs_postgresql_embedded", &cached, "postgresql_embedded", &embedded),
        embedded_initdb.figure("start.postgresql_embedded_initdb_ms", "ms"),
        beside("start.vs_pgtemp", &cached, "pgtemp", &pgtemp),
        initdb.figure("start.pgtemp_initdb_ms", "ms"),
        cold.figure("start.cold_ms", "ms"),
        cached.figure("start.cached_ms", "ms"),
        parked.figure("start.parked_ms", "ms"),
        Figure { runs: bench.runs, ..rebuilt_count.figure("start.templates_rebuilt", "") },
    ])
}

/// Milliseconds to the first answer, and the template's object id. The server is gone again afterwards.
fn ours(bench: &Measure) -> Result<(f64, u64)> {
    let (workspace, migrations) = (text(&bench.path("workspace")), text(&bench.path("workspace/migrations")));
    let said = bench
        .sample(["first-query", &workspace, &migrations])?
        .run()?
        .check(ErrorKind::Server, || "a sample failed".into())?
        .text();
    wait_until_stopped(&bench.path("roots"))?;
    said.split_once(' ')
        .and_then(|(ms, oid)| Some((ms.parse().ok()?, oid.parse().ok()?)))
        .ok_or_else(|| Error::new(ErrorKind::Server, format!("a sample said `{said}`")))
}
