//! Every environment variable that the harness reads, with its default and its meaning: the only file that
//! reads the environment.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::path::PathBuf;

/// An environment variable that the harness reads.
#[derive(Debug)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is not set.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

macro_rules! variables {
    ($($ident:ident = $name:literal, $default:literal, $meaning:literal;)*) => {
        $(pub(crate) const $ident: Variable = Variable { name: $name, default: $default, meaning: $meaning };)*
        /// All variables, in the order of the documentation.
        pub const VARIABLES: &[Variable] = &[$($ident),*];
    };
}

variables! {
    INSTALLATION = "PGHARNESS_INSTALLATION", "searched for",
        "directory of a Postgres installation (the one that holds `bin/postgres`), or of its `bin`";
    VERSION = "PGHARNESS_VERSION", "what is found",
        "Postgres version to use: a major one (`16`) or an exact one (`16.4`)";
    BACKEND = "PGHARNESS_BACKEND", "embedded",
        "`embedded`, `container` or `external`";
    URL = "PGHARNESS_URL", "none",
        "URL of a server to use with the external backend; its role needs CREATEDB";
    IMAGE = "PGHARNESS_IMAGE", "postgres:<version>",
        "image of the container backend";
    CACHE = "PGHARNESS_CACHE", "the user's cache folder",
        "directory for downloads, prepared data directories and state";
    DATA_ROOTS = "PGHARNESS_DATA_ROOTS", "/dev/shm, the cache, /tmp",
        "where data directories may lie, `:`-separated, the first with room is taken";
    OFFLINE = "PGHARNESS_OFFLINE", "0",
        "`1` forbids every download";
    MIRROR = "PGHARNESS_MIRROR", "the upstream archives",
        "base URL of a mirror of the release archives, with `releases.json` and, of each version, `16.4.0/postgresql-16.4.0-<target>.tar.gz` and its `.sha256`";
    GRACE_MS = "PGHARNESS_GRACE_MS", "3000",
        "how long a server waits for another participant after the last one left, in milliseconds";
    KEEP = "PGHARNESS_KEEP", "failed",
        "which databases to keep: `failed`, `always`, `never`";
    AHEAD = "PGHARNESS_AHEAD", "4",
        "how many clones are made ahead of need";
    RECYCLE = "PGHARNESS_RECYCLE", "1",
        "`0`: every test gets a fresh clone, never a database that was put back after another test";
    EXPLAIN = "PGHARNESS_EXPLAIN", "0",
        "`1`: says why a database was dropped instead of put back";
    DATABASES_MIB_MAX = "PGHARNESS_DATABASES_MIB_MAX", "2048, at most half of a tmpfs",
        "cap on the size of all databases of a server, in MiB";
    SERVERS_MAX = "PGHARNESS_SERVERS_MAX", "4",
        "how many shared servers a process uses at a time: the common one, and those of templates that create roles";
    REQUIRE = "PGHARNESS_REQUIRE", "none",
        "comma-separated list of what must be there (`container`, `pgbouncer`, …): tests fail without it instead of being skipped";
    DATABASE_URL = "DATABASE_URL", "none",
        "URL of a service's database, for the reference data layer";
    PGPASSWORD_FILE = "PGPASSWORD_FILE", "none",
        "file with the password for a database by URL whose URL holds none, as secrets are mounted";
    DATABASE_POOL_MAX = "DATABASE_POOL_MAX", "10",
        "cap on a service's connections";
    DATABASE_POOL_ACQUIRE_TIMEOUT_MS = "DATABASE_POOL_ACQUIRE_TIMEOUT_MS", "5000",
        "how long a service waits for a free connection, in milliseconds";
    DATABASE_POOL_STATEMENT_TIMEOUT_MS = "DATABASE_POOL_STATEMENT_TIMEOUT_MS", "30000",
        "how long the server lets a service's statement run, in milliseconds";
    DATABASE_POOL_APPLICATION_NAME = "DATABASE_POOL_APPLICATION_NAME", "pgharness",
        "what `pg_stat_activity` shows of a service";
    CACHE_HOME = "XDG_CACHE_HOME", "~/.cache", "the user's cache folder";
    HOME = "HOME", "from the user database", "the user's home folder";
    SEARCH_PATH = "PATH", "none", "where programs are searched";
    TMPDIR = "TMPDIR", "/tmp", "where temporary files lie";
    HTTP_PROXY = "http_proxy", "`all_proxy`", "proxy for downloads from addresses with `http:`; also in capitals";
    HTTPS_PROXY = "https_proxy", "`all_proxy`", "proxy for downloads from addresses with `https:`; also in capitals";
    ALL_PROXY = "all_proxy", "none", "proxy for all downloads; also in capitals";
    NO_PROXY = "no_proxy", "none",
        "hosts, domains and networks that need no proxy, separated by commas; also in capitals";
    DOCKER_HOST = "DOCKER_HOST", "unix:///var/run/docker.sock", "the container engine";
    MANIFEST_DIR = "CARGO_MANIFEST_DIR", "the working directory", "where the workspace is searched from";
    CI = "CI", "none", "no progress is shown in CI";
    NO_COLOR = "NO_COLOR", "none", "no colours are shown";
    GITHUB_ACTIONS = "GITHUB_ACTIONS", "none", "annotations are written for it";
}

impl Variable {
    /// Its value; not set and empty are the same.
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
    pub(crate) fn os(&self) -> Option<OsString> {
        std::env::var_os(self.name).filter(|value| !value.is_empty())
    }

    /// Its value as text.
    pub(crate) fn text(&self) -> Option<String> {
        self.os().map(|value| value.to_string_lossy().into_owned())
    }

    /// Its value as text; its name may also be written in capitals, which go first.
    #[cfg(feature = "download")]
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
    pub(crate) fn text_of_either_case(&self) -> Option<String> {
        std::env::var(self.name.to_ascii_uppercase())
            .ok()
            .filter(|value| !value.is_empty())
            .or_else(|| self.text())
    }

    /// Its value as a path.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.os().map(PathBuf::from)
    }

    /// Whether it is switched on.
    ///
    /// # Errors
    /// Something is set that means neither on nor off.
    pub(crate) fn switch(&self) -> Result<bool> {
        match self.text().as_deref().unwrap_or(self.default) {
            "0" | "false" | "no" | "off" => Ok(false),
            "1" | "true" | "yes" | "on" => Ok(true),
            other => Err(Error::usage(format!("`{}={other}` is neither `1` nor `0`", self.name))
                .with_help(self.meaning.to_owned())),
        }
    }

    /// Whether it is set to something other than `0`, `false` or `no`; for variables that others define.
    #[cfg(feature = "cli")]
    pub(crate) fn is_on(&self) -> bool {
        self.text().is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "no"))
    }

    /// Its value as a number.
    ///
    /// # Errors
    /// Something is set that is no number.
    pub(crate) fn number(&self) -> Result<Option<u64>> {
        let Some(text) = self.text() else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Error::usage(format!("`{}={text}` is not a number", self.name)).with_help(self.meaning.to_owned())
        })
    }
}

/// The value of a variable that a configuration file names (`env:NAME`).
#[cfg(feature = "checks")]
#[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
pub(crate) fn named(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether `what` is named in `PGHARNESS_REQUIRE`, so that it may not be skipped.
pub fn is_required(what: &str) -> bool {
    REQUIRE.text().is_some_and(|list| list.split(',').any(|item| item.trim() == what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = VARIABLES.iter().map(|variable| variable.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VARIABLES.len());
    }
}
