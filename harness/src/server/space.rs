//! How much room a server's databases may take.

use super::keeper::{free_mib, is_memory, memory_available_mib};
use crate::env;
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The file system below a server's data, and the cap on what its databases may take there.
#[derive(Clone, Debug)]
pub struct Space {
    base: PathBuf,
    databases_mib_max: u64,
}

/// What stays free for everything else.
const RESERVE_MIB: u64 = 64;
const MEMORY_RESERVE_MIB: u64 = 512;

impl Space {
    pub(super) fn below(base: PathBuf) -> Result<Space> {
        let asked = env::DATABASES_MIB_MAX.number()?.unwrap_or(2048);
        // Of a file system in memory at most half of what is there: the other half is everybody else's.
        let half =
            if is_memory(&base) { free_mib(&base).map_or(u64::MAX, |free| free / 2) } else { u64::MAX };
        Ok(Space { base, databases_mib_max: asked.min(half) })
    }

    /// The cap on the size of all databases together, in MiB.
    pub fn databases_mib_max(&self) -> u64 {
        self.databases_mib_max
    }

    /// Whether there is room for another database of `mib`, where databases take `used_mib` already.
    ///
    /// # Errors
    /// There is none; the error says what is full.
    pub fn admit(&self, mib: u64, used_mib: u64) -> Result<()> {
        if used_mib + mib > self.databases_mib_max {
            return Err(Error::environment(format!(
                "databases take {used_mib} MiB, and another {mib} MiB would exceed the cap of {} MiB",
                self.databases_mib_max
            ))
            .with_help(format!(
                "drop databases earlier, run fewer tests at a time, or raise {}",
                env::DATABASES_MIB_MAX.name
            )));
        }
        if free_mib(&self.base).is_some_and(|free| free < mib + RESERVE_MIB) {
            return Err(Error::environment(format!(
                "no room for another database of {mib} MiB below `{}`",
                self.base.display()
            ))
            .with_help(format!("free some room there, or name another folder in {}", env::DATA_ROOTS.name)));
        }
        if is_memory(&self.base) && memory_available_mib().is_some_and(|free| free < mib + MEMORY_RESERVE_MIB)
        {
            return Err(Error::environment(format!(
                "too little memory for another database of {mib} MiB below `{}`",
                self.base.display()
            ))
            .with_help(format!("name a folder on a disk in {}", env::DATA_ROOTS.name)));
        }
        Ok(())
    }
}
