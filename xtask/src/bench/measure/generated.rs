//! Packages that a bench writes and has cargo build.

use super::Measure;
use crate::bench::place::failed;
use pgharness::process::{Finished, Program};
use pgharness::{ErrorKind, Result};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// What a package may depend on, as its users write it.
#[derive(Clone, Copy)]
pub(super) enum Dependency {
    Pgharness,
    Sqlx,
}

/// A package of its own, with the repository's lock file.
pub(super) struct Package {
    pub(super) dir: PathBuf,
    /// Where it is built: on a disk, and kept unless removed.
    pub(super) target: PathBuf,
}

impl Package {
    /// Writes a package that depends on tokio and on these.
    pub(super) fn write(bench: &Measure, name: &str, dependencies: &[Dependency]) -> Result<Package> {
        let dir = bench.path("workspace").join(name);
        fs::create_dir_all(dir.join("src")).map_err(failed)?;
        let lines: String = dependencies
            .iter()
            .map(|dependency| match dependency {
                Dependency::Pgharness => {
                    format!("pgharness = {{ path = \"{}\" }}\n", bench.repository.join("harness").display())
                }
                Dependency::Sqlx => {
                    "sqlx = { version = \"0.9\", features = [\"postgres\", \"runtime-tokio\", \
                     \"tls-rustls-ring-webpki\"] }\n"
                        .to_owned()
                }
            })
            .collect();
        let manifest = format!(
            "[package]\nname = \"bench-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"rt\"] }}\n{lines}"
        );
        fs::write(dir.join("Cargo.toml"), manifest).map_err(failed)?;
        fs::write(dir.join("src/lib.rs"), "").map_err(failed)?;
        fs::copy(bench.repository.join("Cargo.lock"), dir.join("Cargo.lock")).map_err(failed)?;
        let target = bench.repository.join("target/bench").join(name);
        Ok(Package { dir, target })
    }
}

/// Runs cargo on a package, from what is downloaded already.
pub(super) fn run_cargo(package: &Package, arguments: &[&str]) -> Result<Finished> {
    cargo(package, arguments)
        .run()?
        .check(ErrorKind::Environment, || format!("`cargo {}` failed", arguments.join(" ")))
}

/// Cargo, about to run on a package.
pub(super) fn cargo(package: &Package, arguments: &[&str]) -> Program {
    Program::new("cargo")
        .args(arguments)
        .current_dir(&package.dir)
        .env("CARGO_TARGET_DIR", &package.target)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TERM_COLOR", "never")
        .ends_with_us()
        .deadline(Duration::from_secs(3600))
}
