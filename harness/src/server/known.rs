//! The shared servers that were started on this machine, running or stopped.

use super::keeper::{self, Home, Origin};
use super::{Embedded, Server};
use crate::error::Result;
use crate::postgres::Cache;
use std::path::Path;

/// A shared server of this user as it was last started, whatever the environment says by now.
#[derive(Debug)]
pub(crate) struct KnownServer {
    home: Home,
    origin: Origin,
    cache: Cache,
}

impl KnownServer {
    /// All that are remembered, of all workspaces.
    ///
    /// # Errors
    /// The cache cannot be opened.
    pub(crate) fn all() -> Result<Vec<KnownServer>> {
        let cache = Cache::open()?;
        let homes = Home::all(&cache)?.into_iter();
        Ok(homes.map(|(home, origin)| KnownServer { home, origin, cache: cache.clone() }).collect())
    }

    /// The workspace that shares it.
    pub(crate) fn workspace(&self) -> &Path {
        self.home.workspace()
    }

    /// The folder for what is remembered about it between runs.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.home.state_dir
    }

    /// Whether it has the data of this generation, or would find them when it is started again.
    pub(crate) fn has_generation(&self, generation: &str) -> bool {
        keeper::has_generation(&self.home, &self.origin, generation)
    }

    /// Enters it if its data are of this generation, starting it again if need be. `None`: they are gone.
    /// Blocks; not to be called within a runtime.
    ///
    /// # Errors
    /// Its installation is no longer there, or it does not start.
    pub(crate) fn enter(&self, generation: &str) -> Result<Option<Server>> {
        let Some(attached) = keeper::reenter(&self.home, &self.origin, &self.cache, generation)? else {
            return Ok(None);
        };
        let embedded = Embedded {
            installation: self.origin.installation()?,
            cache: self.cache.clone(),
            home: self.home.clone(),
            settings: self.origin.settings.clone(),
        };
        embedded.server(attached, true).map(Some)
    }
}
