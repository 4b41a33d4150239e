//! A place of a bench's own: what others run is neither used nor disturbed.

use super::medium::Medium;
use super::schema;
use super::scratch::Scratch;
use pgharness::postgres::{Installation, Request};
use pgharness::process::{Program, User};
use pgharness::wait::{self, Look};
use pgharness::{Error, ErrorKind, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders for everything that a bench writes, removed at its end.
pub(super) struct Place {
    dir: Scratch,
    installation: PathBuf,
    user: Option<User>,
}

/// Where data directories lie in a place.
pub(super) const ROOTS: &str = "roots";
/// What lies in a place.
const FOLDERS: [&str; 6] = ["cache", "home", "peer", ROOTS, "tmp", "workspace/migrations"];

impl Place {
    /// A place on `medium` for programs that run as `user`: `None` as we do.
    pub(super) fn new(medium: Medium, user: Option<User>) -> Result<Place> {
        let installation = Installation::find(&Request::from_env()?)?;
        let dir = Scratch::below(&medium.root()?)?;
        let place = Place { dir, installation: installation.bin().to_owned(), user };
        for name in FOLDERS {
            fs::create_dir_all(place.path(name)).map_err(failed)?;
        }
        schema::write_tables(&place.path("workspace/migrations"))?;
        fs::write(place.path("workspace/Cargo.lock"), "").map_err(failed)?;
        // The user that the server runs as must reach the folders within.
        fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o711)).map_err(failed)?;
        match &place.user {
            Some(user) => {
                for name in FOLDERS.into_iter().chain(["workspace"]) {
                    user.own(&place.path(name))?;
                }
            }
            None => {
                if let Some(user) = User::for_server() {
                    user.own(&place.path(ROOTS))?;
                }
            }
        }
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that works in this place, and so do those that it starts.
    pub(super) fn program(&self, program: impl AsRef<Path>) -> Program {
        let program = Program::new(program.as_ref())
            .current_dir(self.dir.path())
            .env("PGHARNESS_INSTALLATION", &self.installation)
            .env("PGHARNESS_CACHE", self.path("cache"))
            .env("PGHARNESS_DATA_ROOTS", self.path(ROOTS))
            .env("PGHARNESS_GRACE_MS", "0")
            .env("TMPDIR", self.path("tmp"))
            .ends_with_us()
            .deadline(Duration::from_secs(4 * 3600));
        match &self.user {
            Some(user) => program.env("HOME", self.path("home")).as_user(Some(user.clone())),
            None => program,
        }
    }

    /// Waits until no server is left here.
    pub(super) fn wait_until_stopped(&self) -> Result<()> {
        wait_until_stopped(&self.path(ROOTS))
    }
}

/// Waits until no server is left below `roots`.
pub(super) fn wait_until_stopped(roots: &Path) -> Result<()> {
    wait::until("the server to stop", Duration::from_secs(60), || {
        let left = entries(roots, "pgh-").len();
        Ok(if left == 0 { Look::Ready(()) } else { Look::NotYet(format!("{left} there")) })
    })
}

/// What in `dir` has a name that begins with `prefix`.
pub(super) fn entries(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect()
}

/// A folder or a file that a bench could not write.
pub(super) fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Environment, "failed to prepare a bench").with_source(error)
}
