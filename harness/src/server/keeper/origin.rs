//! What a shared server was started from, written down for those who look for its data when it has stopped.

use super::base::Home;
use crate::error::{Attempt, ErrorKind, Result};
use crate::postgres::{Installation, Request, Settings};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What starts a server again on its parked data, whatever the environment says by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Origin {
    pub(super) workspace: PathBuf,
    /// The directory of the installation's programs.
    bin: PathBuf,
    major: u32,
    pub(in crate::server) settings: Settings,
    /// Where its data may lie.
    pub(super) roots: Vec<PathBuf>,
}

impl Origin {
    pub(super) fn new(home: &Home, from: &Installation, settings: &Settings, roots: &[PathBuf]) -> Origin {
        Origin {
            workspace: home.workspace().to_owned(),
            bin: from.bin().to_owned(),
            major: from.version().major,
            settings: settings.clone(),
            roots: roots.to_owned(),
        }
    }

    /// Reads what lies in this state directory, if anything does.
    pub(super) fn read(state_dir: &Path) -> Option<Origin> {
        serde_json::from_slice(&fs::read(file(state_dir)).ok()?).ok()
    }

    /// Replaces it by rename; only under the lock of the home.
    pub(super) fn write(&self, home: &Home) -> Result<()> {
        let path = file(&home.state_dir);
        let new = path.with_extension("new");
        serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path))
            .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))
    }

    /// The installation. A newer minor version in its place will do.
    ///
    /// # Errors
    /// It is no longer there.
    pub(in crate::server) fn installation(&self) -> Result<Installation> {
        let request = Request::from_env()?.with_explicit(&self.bin).with_version(self.major.to_string());
        Installation::find(&request)
    }
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("origin")
}
