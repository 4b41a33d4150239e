//! `cargo xtask fuzz`: arbitrary bytes from clients and servers against the wire, for a time.

use pgharness::Result;
use pgharness::wire::Side;
use pgharness_tests::fuzz::{Until, fuzz};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Memory may grow by so much over a run, in MiB: what is held for one session at a time, and what an allocator keeps.
const GROWTH_MAX_MIB: u64 = 128;

/// Sends arbitrary bytes from clients and servers through the wire.
#[derive(Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Chooses what is said; the same seed says the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Who says anything; the other says what stands in the corpus. Both, unless it is named.
    #[arg(long, value_enum)]
    side: Option<Who>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Who {
    Client,
    Server,
}

impl Fuzz {
    pub(crate) fn run(&self) -> ExitCode {
        match self.fuzz() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => crate::exit_code(Err(error)),
        }
    }

    fn fuzz(&self) -> Result<bool> {
        let before = resident_mib();
        let only = self.side.map(|who| match who {
            Who::Client => Side::Frontend,
            Who::Server => Side::Backend,
        });
        let mut fuzzed = fuzz(self.seed, only, Until::Time(Duration::from_secs(self.seconds)))?;
        let after = resident_mib();
        if after > before + GROWTH_MAX_MIB {
            fuzzed.findings.push(format!("memory grew from {before} to {after} MiB"));
        }
        let mut out = io::stdout().lock();
        // Whoever closed it does not want to know.
        let _ = writeln!(
            out,
            "{} streams understood, {} sessions carried, {before} to {after} MiB, {} findings",
            fuzzed.understood,
            fuzzed.carried,
            fuzzed.findings.len()
        );
        for finding in &fuzzed.findings {
            let _ = writeln!(out, "{finding}");
        }
        Ok(fuzzed.findings.is_empty())
    }
}

/// What this process holds in memory; 0 where the system does not tell.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
