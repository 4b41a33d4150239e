//! The program that measures: this one, built in release and with the peers.

use super::place::failed;
use super::scratch::Scratch;
use pgharness::process::{Program, User};
use pgharness::{Error, ErrorKind, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program that measures, where every user can run it; removed when dropped.
pub(super) struct Release {
    dir: Scratch,
}

impl Release {
    /// Builds it. Cargo finds out that nothing changed in a fraction of a second.
    pub(super) fn build() -> Result<Release> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let ours = std::env::current_exe().map_err(failed)?;
        let target = ours.ancestors().nth(2).ok_or_else(|| {
            Error::new(ErrorKind::Environment, format!("`{}` lies in no target folder", ours.display()))
        })?;
        Program::new("cargo")
            .args(["build", "--release", "--quiet", "--package", "xtask", "--features", "peers"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(repository)
            .deadline(Duration::from_secs(3600))
            .run()?
            .check(ErrorKind::Environment, || "failed to build what measures".into())?;
        // The target folder may be closed to an ordinary user.
        let dir = Scratch::below(&std::env::temp_dir())?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
        fs::copy(target.join("release/xtask"), dir.path().join("xtask")).map_err(failed)?;
        Ok(Release { dir })
    }

    pub(super) fn program(&self) -> PathBuf {
        self.dir.path().join("xtask")
    }
}

/// The ordinary user that peers need, where we are root.
pub(super) fn ordinary_user() -> Option<User> {
    User::for_server()
}
