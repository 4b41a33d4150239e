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
    /// Whether the cap is somebody's wish.
    is_asked: bool,
}

/// What stays free for everything else.
const RESERVE_MIB: u64 = 64;
const MEMORY_RESERVE_MIB: u64 = 512;

impl Space {
    pub(super) fn below(base: PathBuf) -> Result<Space> {
        let asked = env::DATABASES_MIB_MAX.number()?;
        // Of a file system in memory at most half of what is there: the other half is everybody else's.
        let half =
            if is_memory(&base) { free_mib(&base).map_or(u64::MAX, |free| free / 2) } else { u64::MAX };
        let databases_mib_max = asked.unwrap_or(2048).min(half);
        Ok(Space { base, databases_mib_max, is_asked: asked.is_some() })
    }

    /// The cap on the size of all databases together, in MiB.
    pub fn databases_mib_max(&self) -> u64 {
        self.databases_mib_max
    }

    /// Whether there is room for another database of `mib`, where templates take `templates_mib` already and their clones
    /// `clones_mib`. The cap that nobody asked for leaves room for one clone of any template.
    ///
    /// # Errors
    /// There is none; the error says what is full.
    pub fn admit(&self, mib: u64, templates_mib: u64, clones_mib: u64) -> Result<()> {
        let used_mib = templates_mib + clones_mib;
        let is_only_one = clones_mib == 0 && !self.is_asked;
        if used_mib + mib > self.databases_mib_max && !is_only_one {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn space(is_asked: bool) -> Space {
        Space { base: std::env::temp_dir(), databases_mib_max: 10, is_asked }
    }

    #[test]
    fn a_cap_that_nobody_asked_for_leaves_room_for_one_clone() {
        assert!(space(false).admit(9, 9, 0).is_ok());
        let error = space(false).admit(9, 9, 9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "databases take 18 MiB, and another 9 MiB would exceed the cap of 10 MiB"
        );
        assert!(space(true).admit(9, 9, 0).is_err(), "whoever asks for a cap gets it");
        assert!(space(true).admit(2, 4, 4).is_ok());
    }
}
