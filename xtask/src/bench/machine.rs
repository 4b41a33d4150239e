//! The machine that a bench ran on.

use serde::Serialize;
use std::fmt;

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    os: &'static str,
    architecture: &'static str,
    cores: usize,
    memory_mib: Option<u64>,
}

impl Machine {
    pub(super) fn here() -> Machine {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib =
            meminfo.lines().next().and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        Machine {
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_kib.map(|kib| kib >> 10),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {} cores", self.os, self.architecture, self.cores)?;
        match self.memory_mib {
            Some(mib) => write!(f, ", {mib} MiB of memory"),
            None => Ok(()),
        }
    }
}
