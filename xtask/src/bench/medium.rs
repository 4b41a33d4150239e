//! What data directories lie on.

use clap::ValueEnum;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use pgharness::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Ends the name of a figure of a disk.
const DISK: &str = ".disk";

/// What data directories lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Medium {
    /// A file system in memory: where the harness puts them too, where there is one.
    Memory,
    /// A file system on a disk.
    Disk,
}

impl Medium {
    pub(super) const ALL: [Medium; 2] = [Medium::Memory, Medium::Disk];

    /// The folder below which a bench makes its own.
    ///
    /// # Errors
    /// This machine has no such file system in the usual places.
    pub(super) fn root(self) -> Result<PathBuf> {
        let places = match self {
            Medium::Memory => vec![PathBuf::from("/dev/shm"), std::env::temp_dir()],
            // First what TMPDIR names: whoever has a file system that shares blocks between copies measures there.
            Medium::Disk => vec![std::env::temp_dir(), PathBuf::from("/var/tmp")],
        };
        let wanted = self == Medium::Memory;
        places.iter().find(|place| is_memory(place) == Some(wanted)).cloned().ok_or_else(|| {
            let places: Vec<_> = places.iter().map(|place| format!("`{}`", place.display())).collect();
            let what = if wanted { "in memory" } else { "on a disk" };
            Error::new(ErrorKind::Environment, format!("none of {} lies {what}", places.join(", ")))
        })
    }

    /// A figure's name on this medium: the plain one is that of memory.
    pub(super) fn name(self, figure: &str) -> String {
        match self {
            Medium::Memory => figure.to_owned(),
            Medium::Disk => format!("{figure}{DISK}"),
        }
    }

    /// The name without what [`name`](Medium::name) added.
    pub(super) fn plain_name(self, figure: &str) -> &str {
        match self {
            Medium::Memory => figure,
            Medium::Disk => figure.strip_suffix(DISK).unwrap_or(figure),
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Medium::Memory => "memory",
            Medium::Disk => "disk",
        })
    }
}

fn is_memory(dir: &Path) -> Option<bool> {
    Some(statfs(dir).ok()?.filesystem_type() == TMPFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_disk_says_so() {
        assert_eq!(Medium::Memory.name("suite100.vs_raw"), "suite100.vs_raw");
        assert_eq!(Medium::Disk.name("suite100.vs_raw"), "suite100.vs_raw.disk");
        assert_eq!(Medium::Disk.plain_name("suite100.vs_raw.disk"), "suite100.vs_raw");
    }
}
