//! What a check works with.

use super::databases::{Databases, USER};
use super::first_run::FirstRun;
use super::need::Need;
use super::project::Project;
use super::tenancy::Scene;
use super::walk::Walk;
use crate::database::{Isolation, Template, TestDb};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::server::{Capabilities, Capability, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a check works with: the project, databases made from it, and what their server can do.
#[derive(Debug, Default)]
pub struct Context {
    project: Project,
    databases: Arc<Databases>,
    first_run: Arc<tokio::sync::OnceCell<Result<FirstRun>>>,
    walk: Arc<tokio::sync::OnceCell<Result<Option<Walk>>>>,
    scene: Arc<tokio::sync::OnceCell<Result<Result<Scene, String>>>>,
    program: Option<PathBuf>,
    jobs: Option<usize>,
}

impl Context {
    /// A context for `project`, on the server that the environment says.
    pub fn new(project: Project) -> Self {
        Context { project, ..Context::default() }
    }

    /// Uses this server instead.
    #[must_use]
    pub fn with_server(mut self, server: ServerConfig) -> Self {
        self.databases = Arc::new(Databases::on(server));
        self
    }

    /// Where the program `pgharness` lies, for checks that need processes of our own.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// The same with another live database to compare with, by its URL: what was made of the migrations is shared.
    #[must_use]
    pub fn against(&self, live: Secret) -> Self {
        Context {
            project: Project { live: Some(live), ..self.project.clone() },
            databases: self.databases.clone(),
            first_run: self.first_run.clone(),
            walk: self.walk.clone(),
            scene: self.scene.clone(),
            program: self.program.clone(),
            jobs: self.jobs,
        }
    }

    /// How many things a check does at a time at most; as many as it likes if not set.
    #[must_use]
    pub fn with_jobs(mut self, jobs: usize) -> Self {
        self.jobs = Some(jobs.max(1));
        self
    }

    /// The project under check.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The program `pgharness`, where it is known.
    pub fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// How many things to do at a time, of which `wanted` could be.
    pub(super) fn at_once(&self, wanted: usize) -> usize {
        self.jobs.map_or(wanted, |jobs| jobs.min(wanted))
    }

    /// The project's template: bootstrap, extensions, migrations, fixtures.
    ///
    /// # Errors
    /// The configuration of its server cannot be read.
    pub fn template(&self) -> Result<&Template> {
        self.databases.template(&self.project)
    }

    /// A clone of the project's [`template`](Context::template), the check's own until it is dropped. Its URL
    /// is what transcripts are pasted into.
    ///
    /// # Errors
    /// There is no server, or the project's database cannot be built. It is tried once: every check gets the
    /// same error, and what fails in a migration is `migration.clean-apply`'s finding.
    pub async fn database(&self) -> Result<TestDb> {
        self.databases.database(&self.project).await
    }

    /// A template with the project's bootstrap and extensions and nothing else, for checks that migrate.
    ///
    /// # Errors
    /// As [`template`](Context::template).
    pub fn bare(&self) -> Result<Template> {
        Ok(self.databases.builder(&self.project)?.build())
    }

    /// An empty database with the project's bootstrap and extensions, on a server of its own where the backend
    /// has that: migrations may create roles, which all databases of a server share.
    ///
    /// # Errors
    /// There is no server, or the bootstrap fails.
    pub async fn vacant(&self) -> Result<TestDb> {
        let mut builder = self.databases.builder(&self.project)?;
        if self.capabilities().await?.has(Capability::PrivateCluster) {
            builder = builder.with_isolation(Isolation::Cluster);
        }
        builder.build().get_for(USER).await
    }

    /// As [`vacant`](Context::vacant), on a server of its own with these settings.
    ///
    /// # Errors
    /// There is no server, the backend has none of one's own, or the bootstrap fails.
    pub(super) async fn vacant_with(&self, settings: &[(&str, &str)]) -> Result<TestDb> {
        let mut config = self.server()?.clone();
        for (name, value) in settings {
            config.settings = config.settings.with(*name, *value);
        }
        let builder = self.databases.builder(&self.project)?.with_server(config);
        builder.with_isolation(Isolation::Cluster).build().get_for(USER).await
    }

    /// The migrations applied once from zero, for all checks that look at what came of it.
    ///
    /// # Errors
    /// They cannot be read, or there is no database to apply them to. That they fail is told by the run itself.
    pub(super) async fn first_run(&self) -> Result<&FirstRun> {
        self.first_run.get_or_init(|| FirstRun::of(self)).await.as_ref().map_err(Error::copy)
    }

    /// The migrations applied one at a time, from zero, for all checks that look at each; `None` of a command.
    ///
    /// # Errors
    /// They cannot be read or applied, or there is no database.
    pub(super) async fn walk(&self) -> Result<Option<&Walk>> {
        match self.walk.get_or_init(|| Walk::of(self)).await {
            Ok(walk) => Ok(walk.as_ref()),
            Err(error) => Err(error.copy()),
        }
    }

    /// What all checks of tenancy attack, set once; or why there is nothing to attack.
    ///
    /// # Errors
    /// As [`database`](Context::database), or a role that the project names is not there.
    pub(super) async fn scene(&self) -> Result<Result<&Scene, String>> {
        match self.scene.get_or_init(|| Scene::set(self)).await {
            Ok(scene) => Ok(scene.as_ref().map_err(Clone::clone)),
            Err(error) => Err(error.copy()),
        }
    }

    /// The configuration of the project's server.
    ///
    /// # Errors
    /// The environment asks for what cannot be.
    pub fn server(&self) -> Result<&ServerConfig> {
        self.databases.server(&self.project)
    }

    /// What the project's server can do.
    ///
    /// # Errors
    /// There is no server.
    pub async fn capabilities(&self) -> Result<Capabilities> {
        Ok(self.databases.facts(&self.project).await?.capabilities)
    }

    /// The version of the server, if any check had a database.
    ///
    /// # Errors
    /// The server went away.
    pub async fn postgres(&self) -> Result<Option<String>> {
        if !self.databases.were_used() {
            return Ok(None);
        }
        Ok(Some(self.databases.facts(&self.project).await?.version.clone()))
    }

    /// Why a check with these needs cannot run: "needs `[roles]` and a superuser"; nothing when it can.
    ///
    /// # Errors
    /// Something is needed of the server, and there is none.
    pub async fn lacks(&self, needs: &[Need]) -> Result<Option<String>> {
        let mut unmet = Vec::new();
        for need in needs {
            let is_met = match need {
                Need::Can(capability) => self.capabilities().await?.has(*capability),
                other => other.is_met(&self.project),
            };
            if !is_met {
                unmet.push(need.to_string());
            }
        }
        Ok((!unmet.is_empty()).then(|| format!("needs {}", unmet.join(" and "))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::project::Role;
    use super::*;

    #[tokio::test]
    async fn what_lacks_is_named_and_what_is_there_is_not() {
        let mut project = Project::default();
        project.roles.insert("web_app".into(), Role::default());
        let context = Context::new(project);
        let needs = [Need::Roles, Need::Matrix, Need::Onboarding];
        let lacks = context.lacks(&needs).await.unwrap();
        assert_eq!(lacks.as_deref(), Some("needs `[access.matrix]` and `tenancy.onboard`"));
        assert_eq!(context.lacks(&needs[..1]).await.unwrap(), None);
    }
}
