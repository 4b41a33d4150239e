//! What a build pays for the dependency.

use super::Measure;
use super::generated::{Dependency, Package, cargo};
use crate::bench::figure::Figure;
use crate::bench::place::failed;
use crate::bench::samples::Samples;
use pgharness::{ErrorKind, Result};
use std::fs;
use std::time::Instant;

/// A clean build of a package that uses sqlx and pgharness with its default features, beside one with sqlx alone.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let plain = Package::write(bench, "plain", &[Dependency::Sqlx])?;
    let with = Package::write(bench, "with", &[Dependency::Sqlx, Dependency::Pgharness])?;
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..bench.rounds(7) {
        for (package, samples) in [(&plain, &mut theirs), (&with, &mut ours)] {
            if package.target.exists() {
                fs::remove_dir_all(&package.target).map_err(failed)?;
            }
            let started = Instant::now();
            // As a package from the registry is built: cargo compiles those of a path for many small changes.
            let built = cargo(package, &["build"]).env("CARGO_INCREMENTAL", "0").run()?;
            built.check(ErrorKind::Environment, || "`cargo build` failed".into())?;
            samples.push(started.elapsed().as_secs_f64());
        }
    }
    for package in [plain, with] {
        fs::remove_dir_all(&package.target).map_err(failed)?;
    }
    Ok(vec![ours.extra("build.extra_s", "s", "sqlx alone", &theirs)])
}
