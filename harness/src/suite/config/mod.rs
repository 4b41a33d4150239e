//! `pgharness.toml`: read, checked, with every path made one that can be opened.

mod files;
mod project;
mod sections;
mod server;
mod setting;
mod source;
mod validate;

pub use sections::{Backend, Checks, Fixtures, Postgres, RoleKeys};
pub use setting::Setting;

use crate::check::{Access, Allowance, Migrations, Registry, Snapshot, Structure, Tenancy};
use crate::error::{Attempt, Error, ErrorKind, Result};
use serde::Deserialize;
use source::{Source, Step};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the file.
pub const FILE_NAME: &str = "pgharness.toml";

/// What `pgharness.toml` says. Names of keys are frozen; see each field for what holds without it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The server.
    pub postgres: Postgres,
    /// The migrations.
    pub migrations: Migrations,
    /// The seed data.
    pub fixtures: Fixtures,
    /// The committed snapshot.
    pub snapshot: Snapshot,
    /// Which checks run, and what they compare with.
    pub checks: Checks,
    /// How tenants are kept apart.
    pub tenancy: Option<Tenancy>,
    /// The roles that services connect as.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Who may do what.
    pub access: Access,
    /// What the tables look like.
    pub structure: Structure,
    /// The findings that are accepted.
    pub allow: Vec<Allowance>,
    #[serde(skip)]
    source: Source,
}

impl Config {
    /// Reads the file at `path`; paths in it count from its folder.
    ///
    /// # Errors
    /// It cannot be read, or says something that cannot be: the error names file, line and key.
    pub fn load(path: &Path) -> Result<Config> {
        Config::load_with(path, &super::registry())
    }

    /// As [`load`](Config::load), for checks of the caller's own.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(path: &Path, registry: &Registry) -> Result<Config> {
        let text = fs::read_to_string(path)
            .attempt(ErrorKind::Usage, || format!("failed to read the configuration `{}`", path.display()))?;
        Config::parse(path, &text, registry)
    }

    /// Reads `text` as if the file at `path` held it.
    ///
    /// # Errors
    /// As [`load`](Config::load).
    #[cfg(feature = "cli")]
    pub(crate) fn read(path: &Path, text: &str) -> Result<Config> {
        Config::parse(path, text, &super::registry())
    }

    /// What holds for the project in `dir` without a file.
    pub fn default_for(dir: &Path) -> Config {
        let mut config = Config::default();
        config.rebase(dir);
        config
    }

    /// The file in `dir`, or what holds without one.
    ///
    /// # Errors
    /// There is one, and it cannot be read or understood.
    pub fn load_or_default(dir: &Path) -> Result<Config> {
        let path = dir.join(FILE_NAME);
        // So that messages say `pgharness.toml`, as people do.
        let path = path.strip_prefix(".").unwrap_or(&path);
        if path.is_file() { Config::load(path) } else { Ok(Config::default_for(dir)) }
    }

    fn parse(path: &Path, text: &str, registry: &Registry) -> Result<Config> {
        let source = Source::new(path, text);
        let mut config: Config = toml::from_str(text).map_err(|error| source.refused(&error))?;
        config.source = source;
        config.validate(registry)?;
        for (number, allowance) in config.allow.iter_mut().enumerate() {
            allowance.place = config.source.place(&[Step::key("allow"), Step::Item(number)]);
        }
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        config.rebase(&dir);
        Ok(config)
    }

    /// The folder of the project.
    pub fn dir(&self) -> &Path {
        self.source.dir()
    }

    /// The file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.source.file()
    }

    /// The URL of the external server, with its `env:NAME` looked up.
    ///
    /// # Errors
    /// The variable that it names is not set.
    pub fn url(&self) -> Result<Option<String>> {
        let url = self.postgres.url.as_ref();
        url.map(|setting| self.look_up(setting, &["postgres", "url"])).transpose()
    }

    /// The text of a setting: its own, or that of the variable it names.
    fn look_up(&self, setting: &Setting, keys: &[&str]) -> Result<String> {
        let value = setting.value().map_err(|error| {
            let located = self.error_at(keys, &error.to_string());
            match error.help() {
                Some(help) => located.with_help(help),
                None => located,
            }
        })?;
        Ok(value.expose().to_owned())
    }

    fn error_at(&self, keys: &[&str], message: &str) -> Error {
        let steps: Vec<Step> = keys.iter().map(|key| Step::key(key)).collect();
        self.source.error_at(&steps, message)
    }

    fn rebase(&mut self, dir: &Path) {
        self.source.set_dir(dir);
        let rebase = |path: &mut PathBuf| *path = dir.join(&*path);
        rebase(&mut self.migrations.dir);
        self.migrations.lock.iter_mut().for_each(rebase);
        self.migrations.statements.iter_mut().for_each(rebase);
        self.postgres.bootstrap.iter_mut().for_each(rebase);
        self.fixtures.files.iter_mut().for_each(rebase);
        self.snapshot.file.iter_mut().for_each(rebase);
    }
}

#[cfg(test)]
mod tests;
