//! How a server comes to be: the contract of the backends, and the choice among them.

use super::{Embedded, External, Server};
use crate::digest::{Digest, Hasher};
use crate::env;
use crate::error::{Error, Result};
use crate::postgres::{Installation, Request, Settings};
use crate::secret::Secret;
use std::fmt;
use std::path::{Path, PathBuf};

/// Makes servers, or finds them. Both calls block and open connections of their own: they belong on a plain
/// thread, never within a runtime.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Its name in configuration: `embedded`, `container`, `external`.
    fn name(&self) -> &'static str;

    /// Enters the server that all processes share, starting it when there is none.
    ///
    /// # Errors
    /// There is none and none could be started, or it cannot be reached.
    fn attach(&self) -> Result<Server>;

    /// As [`attach`](Backend::attach), for one who found `dead` refusing connections.
    ///
    /// # Errors
    /// As [`attach`](Backend::attach).
    fn replace(&self, dead: &Server) -> Result<Server>;

    /// Removes servers and data that killed processes left on this machine.
    fn tidy(&self) {}

    /// Starts a server that belongs to the caller alone, from a copy of `data`, or from an empty cluster.
    ///
    /// # Errors
    /// The backend cannot, or the server does not start.
    fn start_private(&self, data: Option<&Path>, settings: &Settings) -> Result<Server> {
        let _ = (data, settings);
        Err(no_private_server(self.name()))
    }

    /// A data directory with what `cook` does to a fresh private server, made once for `key` and kept for the
    /// next who asks.
    ///
    /// # Errors
    /// The backend cannot, `cook` fails, or the directory cannot be kept.
    fn image(
        &self,
        key: &str,
        settings: &Settings,
        cook: &mut dyn FnMut(&Server) -> Result<()>,
    ) -> Result<Image> {
        let _ = (key, settings, cook);
        Err(no_private_server(self.name()))
    }
}

/// A prepared data directory, to be copied.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it lies.
    pub data: PathBuf,
}

fn no_private_server(backend: &str) -> Error {
    Error::environment(format!("the {backend} backend has no server of one's own"))
        .with_help("cluster isolation needs the embedded backend")
}

/// Where the server comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Binaries on this machine.
    Embedded,
    /// A container of this image; `None`: the official image of the wanted version.
    Container {
        /// The image with its tag.
        image: Option<String>,
    },
    /// A server by URL.
    External {
        /// The URL, with its password.
        url: Secret,
    },
}

/// The server that a project asks for where the environment leaves the choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `embedded`, `container` or `external`.
    pub backend: Option<String>,
    /// The Postgres version, major or exact.
    pub version: Option<String>,
    /// The image of the container backend.
    pub image: Option<String>,
    /// The URL of the external backend.
    pub url: Option<Secret>,
    /// How many connections it takes.
    pub connections_max: Option<u32>,
}

impl Wish {
    /// The backend that is chosen.
    fn backend(&self) -> String {
        env::BACKEND.text().or_else(|| self.backend.clone()).unwrap_or_else(|| "embedded".into())
    }

    /// Whether [`url`](Wish::url) is needed: the backend is the external one, and the environment has none.
    pub fn needs_url(&self) -> bool {
        self.backend() == "external" && env::URL.text().is_none()
    }
}

/// Everything that decides which server is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerConfig {
    /// Where it comes from.
    pub source: Source,
    /// The wanted Postgres version, major or exact.
    pub version: Option<String>,
    /// The directory of the programs that it runs from; `None`: those that the environment names, or that are found
    /// first.
    pub installation: Option<PathBuf>,
    /// The settings it is started with.
    pub settings: Settings,
    /// The workspace that shares it.
    pub workspace: PathBuf,
    /// Names a server apart from the workspace's common one: for a template that changes what all databases of
    /// a server share.
    pub realm: Option<String>,
}

impl ServerConfig {
    /// What the environment says, for the workspace around `dir`.
    ///
    /// # Errors
    /// A variable has a value that it cannot have.
    pub fn from_env(dir: &Path) -> Result<ServerConfig> {
        ServerConfig::resolve(dir, Wish::default())
    }

    /// What the environment says, and where it says nothing, `wish`; for the workspace around `dir`.
    ///
    /// # Errors
    /// As [`from_env`](ServerConfig::from_env).
    pub fn resolve(dir: &Path, wish: Wish) -> Result<ServerConfig> {
        let source = match wish.backend().as_str() {
            "embedded" => Source::Embedded,
            "container" => Source::Container { image: env::IMAGE.text().or(wish.image) },
            "external" => match env::URL.text().map(Secret::new).or(wish.url) {
                Some(url) => Source::External { url },
                None => {
                    return Err(Error::usage(format!("the external backend needs {}", env::URL.name))
                        .with_help("set it to the URL of a server whose role may create databases"));
                }
            },
            other => {
                return Err(Error::usage(format!("unknown backend `{other}` in {}", env::BACKEND.name))
                    .with_help("known ones: embedded, container, external"));
            }
        };
        let settings = match wish.connections_max {
            Some(connections) => Settings::default().with_connections_max(connections),
            None => Settings::default(),
        };
        Ok(ServerConfig {
            source,
            version: env::VERSION.text().or(wish.version),
            installation: None,
            settings,
            workspace: workspace_of(dir),
            realm: None,
        })
    }

    /// The same server for another realm.
    #[must_use]
    pub fn in_realm(&self, realm: impl Into<String>) -> ServerConfig {
        ServerConfig { realm: Some(realm.into()), ..self.clone() }
    }

    /// The same server from an installation that has these extensions: the one that is found first if it has them,
    /// else another of the version that is asked for. Blocks, and downloads where that is needed and allowed. A server
    /// that does not run from an installation stays what it is.
    ///
    /// # Errors
    /// No installation has them all; the error tells what each lacks, and how to get it.
    pub(crate) fn with_extensions(&self, names: &[String]) -> Result<ServerConfig> {
        if self.source != Source::Embedded || names.is_empty() {
            return Ok(self.clone());
        }
        let request = self.request()?;
        let found = Installation::find(&request.clone().with_extensions(names))?;
        // Named only where it is another: templates that need no extension share the server with those that do.
        match Installation::find(&request.with_offline(true)) {
            Ok(usual) if usual.bin() == found.bin() => Ok(self.clone()),
            _ => Ok(ServerConfig { installation: Some(found.bin().to_owned()), ..self.clone() }),
        }
    }

    /// What is asked of the search for the installation that it runs from.
    pub(crate) fn request(&self) -> Result<Request> {
        let mut request = Request::from_env()?;
        if let Some(version) = &self.version {
            request = request.with_version(version);
        }
        Ok(match &self.installation {
            Some(bin) => request.with_explicit(bin),
            None => request,
        })
    }

    /// The backend that this configuration chooses.
    ///
    /// # Errors
    /// The embedded backend finds no installation, or the configuration cannot be met.
    pub fn backend(&self) -> Result<Box<dyn Backend>> {
        match &self.source {
            Source::Embedded => Ok(Box::new(Embedded::open(self)?)),
            Source::External { url } => Ok(Box::new(External::new(url.clone())?)),
            #[cfg(feature = "container")]
            Source::Container { image } => Ok(Box::new(super::Container::new(self, image.clone()))),
            #[cfg(not(feature = "container"))]
            Source::Container { .. } => Err(Error::usage("the container backend is not compiled in")
                .with_help("enable the feature `container` of `pgharness`")),
        }
    }

    /// Whether templates that change shared objects can get a server of their own.
    pub(crate) fn can_have_realms(&self) -> bool {
        matches!(self.source, Source::Embedded)
    }

    /// The key under which processes find one another's server.
    pub(super) fn key(&self, installation: &Digest) -> Digest {
        Hasher::new("server")
            .field("workspace", self.workspace.as_os_str().as_encoded_bytes())
            .field("installation", installation.bytes())
            .field("settings", self.settings.digest().bytes())
            .field("realm", self.realm.as_deref().unwrap_or_default())
            .finish()
    }
}

/// The outermost folder around `dir` with a `Cargo.lock`, else with a `pgharness.toml`, else `dir` itself.
pub(crate) fn workspace_of(dir: &Path) -> PathBuf {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let outermost = |file: &str| dir.ancestors().filter(|ancestor| ancestor.join(file).exists()).last();
    outermost("Cargo.lock").or_else(|| outermost("pgharness.toml")).unwrap_or(&dir).to_owned()
}
