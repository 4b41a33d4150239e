//! `psql`, given files of SQL: what applying migrations costs at the least.

use super::{installation, peer_failed};
use pgharness::process::Program;
use pgharness::{ErrorKind, Result};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds until one `psql` has run all files of `dir` in the database of `url`. The server's clock tells the
/// end: waiting for a program to end is less exact.
pub(in crate::bench) fn apply_ms(dir: &Path, url: &str) -> Result<f64> {
    let entries = fs::read_dir(dir).map_err(|error| peer_failed("psql", error))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    let mut program = Program::new(installation()?.client_tool("psql")?)
        .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d", url])
        .deadline(Duration::from_secs(600));
    for file in &files {
        program = program.arg("-f").arg(file);
    }
    let started = SystemTime::now();
    let said = program
        .args(["-c", "select extract(epoch from clock_timestamp())"])
        .run()?
        .check(ErrorKind::Database, || "`psql` failed".into())?
        .text();
    let started_s = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    // The files may say something too.
    let ended_s: f64 =
        said.lines().last().unwrap_or_default().parse().map_err(|error| peer_failed("psql", error))?;
    Ok((ended_s - started_s) * 1e3)
}
