//! From what the file says to what a check reads.

use super::{Config, files};
use crate::check::{Migrations, Project, Role};
use crate::error::Result;
use crate::secret::Secret;
use std::path::PathBuf;

impl Config {
    /// What checks read: patterns expanded, `env:NAME` looked up.
    ///
    /// # Errors
    /// A pattern of files finds none, the migrations folder is not there, or a variable is not set.
    pub fn project(&self) -> Result<Project> {
        self.find_migrations()?;
        let mut project = Project {
            dir: self.dir().to_owned(),
            file: self.file().map(Into::into),
            migrations: Migrations {
                statements: self.expand(&self.migrations.statements, &["migrations", "statements"])?,
                ..self.migrations.clone()
            },
            bootstrap: self.expand(&self.postgres.bootstrap, &["postgres", "bootstrap"])?,
            extensions: self.postgres.extensions.clone(),
            connections_max: self.postgres.connections_max,
            deployed: self.deployed(),
            fixtures: self.expand(&self.fixtures.files, &["fixtures", "files"])?,
            snapshot: self.snapshot.clone(),
            old_release: self.checks.old_release.clone(),
            tenancy: self.tenancy.clone(),
            access: self.access.clone(),
            structure: self.structure.clone(),
            ..Project::default()
        };
        for (name, keys) in &self.roles {
            let look_up = |setting| self.look_up(setting, &["roles", name, "password"]);
            let password = keys.password.as_ref().map(look_up).transpose()?.map(Secret::new);
            let role = Role {
                password,
                pool_max: keys.pool_max,
                statement_timeout: keys.statement_timeout,
                idle_in_transaction_session_timeout: keys.idle_in_transaction_session_timeout,
                lock_timeout: keys.lock_timeout,
            };
            project.roles.insert(name.clone(), role);
        }
        Ok(project)
    }

    /// The version in production: an exact one that tests run on is taken for it.
    fn deployed(&self) -> Option<String> {
        let exact = self.postgres.version.as_ref().filter(|version| version.contains('.'));
        self.postgres.deployed.as_ref().or(exact).cloned()
    }

    /// A folder that somebody named must be there; without one, what needs migrations is skipped.
    fn find_migrations(&self) -> Result<()> {
        let Migrations { dir, command, .. } = &self.migrations;
        let is_default = *dir == self.dir().join(Migrations::default().dir);
        if dir.is_dir() || is_default || command.is_some() {
            return Ok(());
        }
        let message = format!("there is no folder `{}`", dir.display());
        Err(self.error_at(&["migrations", "dir"], &message))
    }

    fn expand(&self, patterns: &[PathBuf], keys: &[&str]) -> Result<Vec<PathBuf>> {
        files::expand(patterns).map_err(|error| self.error_at(keys, &error.to_string()))
    }
}
