//! The directories of an installation beside that of its programs.

use super::Installation;
use super::installation::run_once_written;
use crate::error::{Error, ErrorKind, Result};
use crate::process::{Program, User};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

impl Installation {
    /// The directory of its shared files, in which `extension/` lies.
    ///
    /// # Errors
    /// `initdb` does not tell, and no place that we know has it.
    pub fn sharedir(&self) -> Result<PathBuf> {
        if let Some(dir) = self.share_places().into_iter().find(|dir| self.is_shared_by(dir)) {
            return Ok(dir);
        }
        // It depends on how the server was built, and `pg_config` is in another package: `initdb` knows too.
        let told = run_once_written(|| {
            Program::new(self.program("initdb"))
                .args(["--show", "-D", "/nonexistent"])
                .env("LC_ALL", "C")
                .current_dir("/")
                .as_user(User::for_server())
                .ends_with_us()
        })?;
        let lines = format!("{}\n{}", told.text(), told.complaint());
        lines.lines().find_map(|line| line.strip_prefix("share_path=")).map(PathBuf::from).ok_or_else(|| {
            Error::environment(format!(
                "`{}` does not tell its share directory: {}",
                self.program("initdb").display(),
                lines.trim()
            ))
        })
    }

    /// Where it lies in most builds. To look there takes no program, which every process of a test runner would
    /// start.
    fn share_places(&self) -> Vec<PathBuf> {
        let root = self.bin().parent().unwrap_or(self.bin());
        vec![
            root.join("share/postgresql"),
            root.join("share"),
            PathBuf::from(format!("/usr/share/postgresql/{}", self.version().major)),
        ]
    }

    /// Whether `dir` has the file that `initdb` begins with, and that file says that it is of our version.
    fn is_shared_by(&self, dir: &Path) -> bool {
        let mut line = Vec::new();
        let read = File::open(dir.join("postgres.bki"))
            .and_then(|file| BufReader::new(file).take(100).read_until(b'\n', &mut line));
        let expected = format!("# PostgreSQL {}", self.version().major);
        read.is_ok() && line.trim_ascii_end() == expected.as_bytes()
    }

    /// The directory of its loadable modules, `$libdir`.
    ///
    /// # Errors
    /// `pg_config` is not there, or fails, and no place that we know has them.
    pub fn pkglibdir(&self) -> Result<PathBuf> {
        let pg_config = self.program("pg_config");
        if pg_config.exists() {
            let told = Program::new(&pg_config)
                .arg("--pkglibdir")
                .ends_with_us()
                .run()?
                .check(ErrorKind::Environment, || format!("failed to run `{}`", pg_config.display()))?;
            return Ok(PathBuf::from(told.text()));
        }
        let places = self.module_places();
        places.iter().find(|dir| has_modules(dir)).cloned().ok_or_else(|| {
            let places: Vec<_> = places.iter().map(|dir| format!("`{}`", dir.display())).collect();
            Error::environment(format!(
                "found no modules of the installation `{}`; looked in {}",
                self.bin().display(),
                places.join(", ")
            ))
        })
    }

    fn module_places(&self) -> Vec<PathBuf> {
        let major = self.version().major;
        let root = self.bin().parent().unwrap_or(self.bin());
        vec![
            root.join("lib/postgresql"),
            root.join("lib"),
            root.join(format!("lib/postgresql@{major}")),
            root.join("lib64/pgsql"),
            PathBuf::from(format!("/usr/lib/postgresql{major}")),
            PathBuf::from("/usr/lib64/pgsql"),
        ]
    }
}

/// Whether a module that every server comes with lies in `dir`.
fn has_modules(dir: &Path) -> bool {
    ["so", "dylib"].iter().any(|ending| dir.join(format!("dict_snowball.{ending}")).exists())
}
