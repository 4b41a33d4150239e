//! The battery as a whole command, from its start to its end: servers, templates and all.

use super::{Measure, ms, text};
use crate::bench::figure::Figure;
use crate::bench::place::failed;
use crate::bench::samples::Samples;
use crate::bench::schema;
use pgharness::process::Program;
use pgharness::{Error, ErrorKind, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MIGRATIONS: usize = 300;
const TENANT_TABLES: usize = 100;
const MIGRATION_AND_DRIFT: &[&str] = &["migration.*", "drift.*"];

/// Families migration and drift on a long history, family tenancy on many tables, and all of this repository's by two workers
/// beside one.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if bench.wants("battery.migrations300_s") {
        let dir = bench.path("workspace/history");
        fs::create_dir_all(dir.join("migrations")).map_err(failed)?;
        schema::write_history(&dir.join("migrations"), MIGRATIONS)?;
        let config = write_config(&dir, "")?;
        let battery = Battery { config: &config, only: MIGRATION_AND_DRIFT, jobs: 2 };
        figures.push(seconds(bench, "battery.migrations300_s", &battery)?);
    }
    if bench.wants("battery.tenancy100_s") {
        let dir = bench.path("workspace/tenants");
        fs::create_dir_all(dir.join("migrations")).map_err(failed)?;
        schema::write_tenants(&dir.join("migrations"), TENANT_TABLES)?;
        let tenancy = format!(
            "[tenancy]\nmodel = \"rls\"\ncolumn = \"tenant_id\"\nsetting = \"app.tenant_id\"\nroles = {:?}\n",
            schema::LOGINS
        );
        let config = write_config(&dir, &tenancy)?;
        let battery = Battery { config: &config, only: &["tenancy.*"], jobs: 2 };
        figures.push(seconds(bench, "battery.tenancy100_s", &battery)?);
    }
    if bench.wants("battery.two_jobs_vs_one") {
        let config = bench.repository.join("pgharness.toml");
        let two = Battery { config: &config, only: &[], jobs: 2 };
        let one = Battery { jobs: 1, ..two };
        let (mut with_two, mut with_one) = (Samples::default(), Samples::default());
        two.run(bench)?;
        for _ in 0..bench.rounds(5) {
            with_two.push(two.run(bench)?);
            with_one.push(one.run(bench)?);
        }
        figures.push(with_two.times_better("battery.two_jobs_vs_one", "one", &with_one));
    }
    Ok(figures)
}

fn write_config(dir: &Path, more: &str) -> Result<PathBuf> {
    let path = dir.join("pgharness.toml");
    fs::write(&path, format!("[migrations]\ndir = \"migrations\"\n\n{more}")).map_err(failed)?;
    Ok(path)
}

fn seconds(bench: &Measure, name: &str, battery: &Battery<'_>) -> Result<Figure> {
    let mut samples = Samples::default();
    for _ in 0..bench.rounds(5) {
        samples.push(battery.run(bench)? / 1e3);
    }
    Ok(samples.figure(name, "s"))
}

/// A run of some of the checks.
#[derive(Clone, Copy)]
struct Battery<'a> {
    config: &'a Path,
    only: &'a [&'a str],
    jobs: usize,
}

impl Battery<'_> {
    /// Milliseconds until it ended.
    ///
    /// # Errors
    /// It could not be run, or a check was kept from looking: a battery that does less is no faster.
    fn run(&self, bench: &Measure) -> Result<f64> {
        let started = Instant::now();
        let ours = std::env::current_exe().map_err(failed)?;
        let finished = Program::new(ours)
            .args([
                "check",
                "--format=json",
                &format!("--jobs={}", self.jobs),
                "--config",
                &text(self.config),
            ])
            .args(self.only.iter().map(|only| format!("--only={only}")))
            .env("PGHARNESS_GRACE_MS", "0")
            .ends_with_us()
            .deadline(Duration::from_secs(1800))
            .run()?;
        let millis = ms(started);
        crate::bench::place::wait_until_stopped(&bench.path("roots"))?;
        let report: Value = serde_json::from_str(&finished.text())
            .map_err(|error| Error::new(ErrorKind::Server, "a battery wrote no report").with_source(error))?;
        match report["outcome"].as_str() {
            Some("clean" | "findings") => Ok(millis),
            _ => Err(Error::new(
                ErrorKind::Server,
                format!("a battery was not complete: {}", report["checks"]),
            )),
        }
    }
}
