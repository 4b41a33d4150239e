//! A suite of tests, each of which writes one row into a database of its own, beside the peers on the same server.

use super::{Measure, ask_peer, beside, ms, one_number, runtime, text};
use crate::bench::figure::Figure;
use crate::bench::peer::{Tests, WRITE, ours, pgtestdb, raw, sqlx_test};
use crate::bench::samples::Samples;
use clap::{Args, ValueEnum};
use pgharness::sqlx::postgres::PgConnectOptions;
use pgharness::sqlx::{AssertSqlSafe, Executor, PgConnection};
use pgharness::wait::{self, Look};
use pgharness::{Error, ErrorKind, Result, Template, sqlx};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

const TESTS: usize = 100;

/// Who runs a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Runner {
    /// Ours, a test reaching its database by a pool.
    Pool,
    /// Ours, by a connection.
    Connection,
    /// Ours, never putting a database back.
    ClonesPool,
    /// Ours, never putting a database back, by a connection.
    ClonesConnection,
    SqlxTest,
    Pgtestdb,
    Raw,
    /// As `Raw`, the server cloning files where it can.
    RawCloned,
}

/// A figure, and whom it compares at how many threads. Like is put beside like: a test of `sqlx::test` has a pool,
/// one of the others a connection.
const FIGURES: [(&str, usize, Runner, Runner); 7] = [
    ("suite100.t1.vs_sqlx_test", 1, Runner::Pool, Runner::SqlxTest),
    ("suite100.t8.vs_sqlx_test", 8, Runner::Pool, Runner::SqlxTest),
    ("suite100.vs_pgtestdb", 1, Runner::Connection, Runner::Pgtestdb),
    ("suite100.vs_raw", 1, Runner::Connection, Runner::Raw),
    ("suite100.clones.t1.vs_sqlx_test", 1, Runner::ClonesPool, Runner::SqlxTest),
    ("suite100.clones.t8.vs_sqlx_test", 8, Runner::ClonesPool, Runner::SqlxTest),
    ("suite100.clones.vs_raw", 1, Runner::ClonesConnection, Runner::Raw),
];

impl Runner {
    fn is_ours(self) -> bool {
        matches!(self, Runner::Pool | Runner::Connection | Runner::ClonesPool | Runner::ClonesConnection)
    }

    /// Its name in figures.
    fn name(self) -> &'static str {
        match self {
            Runner::SqlxTest => "sqlx::test",
            Runner::Pgtestdb => "pgtestdb",
            Runner::Raw => "create + connect + drop",
            Runner::RawCloned => "create by cloning files + connect + drop",
            _ => "ours",
        }
    }
}

/// A run of a suite.
#[derive(Debug, Args)]
pub(crate) struct Suite {
    #[arg(value_enum)]
    runner: Runner,
    #[arg(long)]
    workspace: PathBuf,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    tests: usize,
    /// The server that peers use: ours.
    #[arg(long)]
    url: String,
    /// Our template on it.
    #[arg(long)]
    template: String,
    /// What each test does with its database, but for tests of the peers that bring their own.
    #[arg(long, default_value = WRITE)]
    write: String,
}

impl Suite {
    /// Milliseconds for the whole suite, from before its first test until after its last.
    pub(super) fn run_ms(&self) -> Result<f64> {
        let dir = self.workspace.join("migrations");
        let server = PgConnectOptions::from_str(&self.url)?;
        let template = Template::builder(&self.workspace).with_migrations("migrations").build();
        match self.runner {
            Runner::Pool | Runner::ClonesPool => {
                self.race(|tests| ours::run(&template, ours::Way::Pool, tests))
            }
            Runner::Connection | Runner::ClonesConnection => {
                self.race(|tests| ours::run(&template, ours::Way::Connection, tests))
            }
            Runner::SqlxTest => {
                let migrator = sqlx_test::migrator(&dir)?;
                self.race(|tests| sqlx_test::run(migrator, tests))
            }
            Runner::Pgtestdb => {
                let migrator = sqlx_test::migrator(&dir)?;
                self.race(|tests| pgtestdb::run(&server, migrator, tests))
            }
            Runner::Raw => self.race(|tests| raw::run(&server, &self.template, "", tests)),
            Runner::RawCloned => {
                self.race(|tests| raw::run(&server, &self.template, "set file_copy_method = clone", tests))
            }
        }
    }

    fn race(&self, thread: impl Fn(&Tests) -> Result<()> + Sync) -> Result<f64> {
        let tests = Tests::new(self.tests, &self.write);
        let started = Instant::now();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| thread(&tests))).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let suite_ms = ms(started);
        for outcome in outcomes {
            outcome.map_err(|_| Error::new(ErrorKind::Server, "a test panicked"))??;
        }
        Ok(suite_ms)
    }
}

pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let stage = SuiteStage::new(bench, bench.template())?;
    let mut figures = Vec::new();
    for threads in [1, 8] {
        figures.extend(stage.compare(threads)?);
    }
    Ok(figures)
}

/// A server that stays up, with the template built.
pub(super) struct SuiteStage<'a> {
    bench: &'a Measure,
    url: String,
    template: String,
    runtime: tokio::runtime::Runtime,
    server: pgharness::server::Server,
}

impl<'a> SuiteStage<'a> {
    pub(super) fn new(bench: &'a Measure, template: Template) -> Result<SuiteStage<'a>> {
        let runtime = runtime()?;
        let (server, template) = runtime.block_on(template.build())?;
        let endpoint = server.endpoint();
        let url = endpoint.url_for(endpoint.maintenance_database(), endpoint.role());
        Ok(SuiteStage { bench, url, template, runtime, server })
    }

    /// All figures at this number of threads. Those who run are asked in turn; a round whose turn it is begins with
    /// another one.
    fn compare(&self, threads: usize) -> Result<Vec<Figure>> {
        let figures: Vec<_> =
            FIGURES.iter().filter(|(name, at, ..)| *at == threads && self.bench.wants(name)).collect();
        let mut all: BTreeMap<Runner, Result<Samples>> = figures
            .iter()
            .flat_map(|(_, _, ours, peer)| [*ours, *peer])
            .map(|one| (one, Ok(Samples::default())))
            .collect();
        let runners: Vec<Runner> = all.keys().copied().collect();
        let mut settle = Samples::default();
        for round in 0..=self.bench.rounds(2) {
            for place in 0..runners.len() {
                let runner = runners[(round + place) % runners.len()];
                // The first round fills caches, and is not counted.
                let tests = if round == 0 { threads * 2 } else { TESTS };
                let suite_ms = self.suite_ms(runner, threads, tests, WRITE);
                let settle_ms = self.settle_ms()?;
                if runner.is_ours() {
                    let suite_ms = suite_ms?;
                    if round > 0 {
                        settle.push(settle_ms);
                        ask_peer(all.entry(runner).or_insert_with(|| Ok(Samples::default())), || {
                            Ok(suite_ms)
                        });
                    }
                } else if let Some(samples) = all.get_mut(&runner) {
                    match suite_ms {
                        Ok(_) if round == 0 => {}
                        outcome => ask_peer(samples, || outcome),
                    }
                }
            }
        }
        let none = Samples::default();
        let mut measured: Vec<Figure> = figures
            .iter()
            .map(|(name, _, ours, peer)| {
                let ours = all[ours].as_ref().unwrap_or(&none);
                beside(name, ours, peer.name(), &all[peer])
            })
            .collect();
        if !measured.is_empty() {
            measured.push(settle.figure(&format!("suite100.t{threads}.settle_ms"), "ms"));
        }
        Ok(measured)
    }

    /// One run, in a process of its own, as a test program is.
    pub(super) fn suite_ms(&self, runner: Runner, threads: usize, tests: usize, write: &str) -> Result<f64> {
        let name = runner.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let (threads, tests) = (threads.to_string(), tests.to_string());
        let workspace = text(&self.bench.path("workspace"));
        let arguments = [
            "suite",
            &name,
            "--workspace",
            &workspace,
            "--threads",
            &threads,
            "--tests",
            &tests,
            "--url",
            &self.url,
            "--template",
            &self.template,
            "--write",
            write,
        ];
        let sample = self.bench.sample(arguments)?.env("DATABASE_URL", &self.url);
        one_number(match runner {
            Runner::ClonesPool | Runner::ClonesConnection => sample.env("PGHARNESS_RECYCLE", "0"),
            _ => sample,
        })
    }

    /// Whether the server can clone the files of databases, as 18 and later can on some systems.
    pub(super) fn can_clone_files(&self) -> Result<bool> {
        self.runtime.block_on(async {
            let sql = "select exists (select from pg_settings
                                      where name = 'file_copy_method' and 'clone' = any (enumvals))";
            Ok(sqlx::query_scalar(sql).fetch_one(&mut self.server.connect("postgres").await?).await?)
        })
    }

    /// Waits until what a run left to the server is done, so that the next one does not pay for it.
    pub(super) fn settle_ms(&self) -> Result<f64> {
        let started = Instant::now();
        self.runtime.block_on(async {
            let mut control = self.server.connect("postgres").await?;
            wait::until_async("the server to be idle", Duration::from_secs(60), async || {
                settle(&mut control).await
            })
            .await
        })?;
        Ok(ms(started))
    }
}

/// Whether no database is in use and no session busy. A run's process ends after a while even where drops take longer:
/// what it left would be swept by the next process, which is measured.
async fn settle(control: &mut PgConnection) -> Result<Look<()>> {
    let busy: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()",
    )
    .fetch_one(&mut *control)
    .await?;
    if busy > 0 {
        return Ok(Look::NotYet(format!("{busy} sessions busy")));
    }
    let left: Vec<String> =
        sqlx::query_scalar("select datname::text from pg_database where datname like 'pgh\\_c\\_%'")
            .fetch_all(&mut *control)
            .await?;
    for name in &left {
        let drop = format!("drop database if exists {name} with (force)");
        control.execute(AssertSqlSafe(drop)).await?;
    }
    Ok(Look::Ready(()))
}
