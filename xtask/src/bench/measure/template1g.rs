//! A template of a gigabyte: put back after each test, beside copied for each.

use super::Measure;
use super::suite::{Runner, SuiteStage};
use crate::bench::figure::Figure;
use crate::bench::peer::WRITE;
use crate::bench::place::failed;
use crate::bench::samples::Samples;
use pgharness::Result;
use std::collections::BTreeMap;
use std::fs;

/// Where databases are put back: what the first one costs is shared by all, as in a suite.
const TESTS: usize = 100;
/// Where each is a copy they are all alike and slow: fewer tell as much.
const COPIES: usize = 10;

/// A row takes about a kilobyte, and is not compressed.
const ROWS: &str = "create table big (id int8 primary key, filler text not null);\n\
     alter table big alter filler set storage plain;\n\
     insert into big select n, repeat(md5(n::text), 30) from generate_series(1, 1000000) n;\n";
/// What tests do to the table that takes the gigabyte.
const INSERT: &str = "insert into big values (0, 'one')";
const UPDATE: &str = "update big set filler = 'one' where id = 500000";

/// How tests get their databases, and what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Ours, put back: a row into a table beside the large one.
    PutBack,
    /// Ours, put back where that can be: a row into the large table.
    Insert,
    /// The same: a row of the large table changed.
    Update,
    /// Ours, never put back.
    Clone,
    Raw,
    RawCloned,
}

impl Way {
    const ALL: [Way; 6] = [Way::PutBack, Way::Insert, Way::Update, Way::Clone, Way::Raw, Way::RawCloned];

    /// The runner, how many tests, and what each writes.
    fn suite(self) -> (Runner, usize, &'static str) {
        match self {
            Way::PutBack => (Runner::Connection, TESTS, WRITE),
            Way::Insert => (Runner::Connection, TESTS, INSERT),
            Way::Update => (Runner::Connection, COPIES, UPDATE),
            Way::Clone => (Runner::ClonesConnection, COPIES, WRITE),
            Way::Raw => (Runner::Raw, COPIES, WRITE),
            Way::RawCloned => (Runner::RawCloned, COPIES, WRITE),
        }
    }
}

/// What ours is put beside, and its name in figures.
type Peer = (Way, &'static str);

/// A figure, and the ways that it needs.
const FIGURES: [(&str, Way, Option<Peer>); 7] = [
    ("template1g.vs_cloning", Way::PutBack, Some((Way::Clone, "cloned for each of 10 tests"))),
    ("template1g.vs_raw", Way::PutBack, Some((Way::Raw, "create + connect + drop, 10 tests"))),
    (
        "template1g.vs_raw_cloned",
        Way::PutBack,
        Some((Way::RawCloned, "the same by file_copy_method = clone")),
    ),
    ("template1g.clone_vs_raw", Way::Clone, Some((Way::Raw, "create + connect + drop"))),
    ("template1g.ms_per_test", Way::PutBack, None),
    ("template1g.insert_ms_per_test", Way::Insert, None),
    ("template1g.update_ms_per_test", Way::Update, None),
];

/// Milliseconds per test: of a suite of a hundred where databases are put back, of ten where each is a copy.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    fs::write(bench.path("workspace/migrations/0021_big.sql"), ROWS).map_err(failed)?;
    let stage = SuiteStage::new(bench, bench.template())?;
    let can_clone_files = stage.can_clone_files()?;
    let wanted: Vec<_> = FIGURES.iter().filter(|(name, ..)| bench.wants(name)).collect();
    let ways: Vec<Way> = Way::ALL
        .into_iter()
        .filter(|way| {
            wanted.iter().any(|(_, ours, peer)| ours == way || peer.is_some_and(|(peer, _)| peer == *way))
        })
        .filter(|way| *way != Way::RawCloned || can_clone_files)
        .collect();
    let mut samples: BTreeMap<Way, Samples> = BTreeMap::new();
    for _ in 0..bench.rounds(5) {
        for way in &ways {
            let (runner, tests, write) = way.suite();
            let suite_ms = stage.suite_ms(runner, 1, tests, write)?;
            samples.entry(*way).or_default().push(suite_ms / tests as f64);
            stage.settle_ms()?;
        }
    }
    let none = Samples::default();
    let of = |way: Way| samples.get(&way).unwrap_or(&none);
    Ok(wanted
        .into_iter()
        .map(|(name, ours, peer)| match peer {
            None => of(*ours).figure(name, "ms"),
            Some((Way::RawCloned, _)) if !can_clone_files => {
                Figure::not_measured(*name, "this server cannot clone files: version 18 and later may")
            }
            Some((peer, label)) => of(*ours).times_better(name, label, of(*peer)),
        })
        .collect())
}
