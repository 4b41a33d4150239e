//! The embedded backend: a server from binaries on this machine, kept by a keeper.

use super::handle::Local;
use super::keeper::{self, Home, Launch, Park, Source};
use super::{Backend, Capabilities, Image, Leases, Server, ServerConfig, Space, image};
use crate::digest::Hasher;
use crate::error::Result;
use crate::postgres::{Cache, DataDir, Installation, Settings};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Servers from an installation, one shared by all processes of a workspace.
#[derive(Debug)]
pub struct Embedded {
    pub(super) installation: Installation,
    pub(super) cache: Cache,
    pub(super) home: Home,
    pub(super) settings: Settings,
}

impl Embedded {
    /// Finds the installation and opens the home of its server.
    ///
    /// # Errors
    /// There is no installation and none can be fetched, or the cache cannot be written.
    pub fn open(config: &ServerConfig) -> Result<Embedded> {
        let cache = Cache::open()?;
        let installation = Installation::find(&config.request()?)?;
        let home = Home::open(&cache, &config.key(&installation.identity()), &config.workspace)?;
        Ok(Embedded { installation, cache, home, settings: config.settings.clone() })
    }

    /// Starts a server that only we know of: it ends with our handle.
    fn launch(&self, source: PathBuf, settings: &Settings, park: Park) -> Result<Server> {
        let launch = Launch {
            home: &self.home,
            installation: &self.installation,
            settings,
            root: keeper::choose_root(&self.cache)?,
            source: Source::Copy(source),
            park,
            grace: Duration::ZERO,
        };
        self.server(launch.start()?, false)
    }

    pub(super) fn server(&self, attached: keeper::Attached, is_shared: bool) -> Result<Server> {
        let keeper::Attached { door, port } = attached;
        let capabilities = Capabilities {
            private_cluster: true,
            signals: true,
            create_role: true,
            superuser: true,
            tcp: true,
            file_copy: true,
            parked_data: is_shared,
        };
        let space = Space::below(door.base.clone())?;
        let leases = Leases::Files(self.home.state_dir.join("owners"));
        let local = Local {
            installation: self.installation.clone(),
            door,
            port,
            state_dir: self.home.state_dir.clone(),
            space,
        };
        Ok(Server::local(capabilities, leases, local))
    }
}

impl Backend for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn attach(&self) -> Result<Server> {
        self.server(keeper::attach(&self.home, &self.installation, &self.settings, &self.cache)?, true)
    }

    fn replace(&self, dead: &Server) -> Result<Server> {
        let Some(base) = dead.base() else { return self.attach() };
        self.server(keeper::replace(&self.home, &self.installation, &self.settings, &self.cache, base)?, true)
    }

    fn tidy(&self) {
        keeper::tidy(&self.home, &self.cache);
    }

    fn start_private(&self, data: Option<&Path>, settings: &Settings) -> Result<Server> {
        let source = match data {
            Some(data) => data.to_owned(),
            None => DataDir::prepared(&self.installation, &self.cache)?.path().to_owned(),
        };
        self.launch(source, settings, Park::Never)
    }

    fn image(
        &self,
        key: &str,
        settings: &Settings,
        cook: &mut dyn FnMut(&Server) -> Result<()>,
    ) -> Result<Image> {
        let key = Hasher::new("image")
            .field("contents", key)
            .field("installation", self.installation.identity().bytes())
            .field("settings", settings.digest().bytes())
            .finish()
            .short(16);
        image::find_or_make(&self.cache, &key, |data| {
            let prepared = DataDir::prepared(&self.installation, &self.cache)?;
            let park = Park::Image { data: data.to_owned(), mib_max: IMAGE_MIB_MAX };
            let server = self.launch(prepared.path().to_owned(), settings, park)?;
            cook(&server)?;
            server.stop_and_park(data)
        })
    }
}

/// A larger image is not kept.
const IMAGE_MIB_MAX: u64 = 4096;
