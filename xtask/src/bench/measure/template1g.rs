//! A template of a gigabyte: put back after each test, beside cloned for each.

use super::Measure;
use super::suite::{Runner, SuiteStage};
use crate::bench::figure::Figure;
use crate::bench::place::failed;
use crate::bench::samples::Samples;
use pgharness::Result;
use std::fs;

const TESTS: usize = 100;
/// Clones are all alike and slow: fewer tell as much.
const CLONES: usize = 10;

/// A row takes about a kilobyte, and is not compressed.
const ROWS: &str = "create table big (id int8 primary key, filler text not null);\n\
     alter table big alter filler set storage plain;\n\
     insert into big select n, repeat(md5(n::text), 30) from generate_series(1, 1000000) n;\n";

pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    fs::write(bench.path("workspace/migrations/0021_big.sql"), ROWS).map_err(failed)?;
    let stage = SuiteStage::new(bench, bench.template())?;
    let (mut recycled, mut cloned) = (Samples::default(), Samples::default());
    for _ in 0..bench.rounds(5) {
        for (runner, tests, samples) in
            [(Runner::Connection, TESTS, &mut recycled), (Runner::ClonesConnection, CLONES, &mut cloned)]
        {
            samples.push(stage.suite_ms(runner, 1, tests)? / tests as f64);
            stage.settle_ms()?;
        }
    }
    Ok(vec![
        recycled.times_better("template1g.vs_cloning", "cloned", &cloned),
        recycled.figure("template1g.ms_per_test", "ms"),
        cloned.figure("template1g.clone_ms_per_test", "ms"),
    ])
}
