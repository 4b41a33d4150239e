//! The databases of a project under check.

use super::project::Project;
use crate::database::{Needs, Template, TemplateBuilder, TestDb};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::server::{Capabilities, ServerConfig};
use once_cell::sync::OnceCell;
use sqlx::Connection;
use std::path::{Path, PathBuf};

/// What `pgharness` calls itself where a database tells what it was made for.
pub(super) const USER: &str = "pgharness check";

/// What is known of the server.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) capabilities: Capabilities,
    /// As people write it: `15.18`.
    pub(super) version: String,
}

/// The databases of a project, made when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Databases {
    /// The server that is asked for; `None`: what the environment says.
    wanted: Option<ServerConfig>,
    server: OnceCell<ServerConfig>,
    template: OnceCell<Template>,
    built: tokio::sync::OnceCell<Option<Error>>,
    facts: tokio::sync::OnceCell<Facts>,
}

impl Databases {
    /// Databases on this server.
    pub(super) fn on(server: ServerConfig) -> Self {
        Databases { wanted: Some(server), ..Databases::default() }
    }

    /// The server of all of the project's databases, those included that checks migrate themselves: with the extensions
    /// that the migrations create. What cannot be read of them is for the checks to tell.
    pub(super) fn server(&self, project: &Project) -> Result<&ServerConfig> {
        self.server.get_or_try_init(|| {
            let wanted = match &self.wanted {
                Some(wanted) => wanted.clone(),
                None => ServerConfig::from_env(&absolute(&project.dir)?)?,
            };
            needs_of(project).unwrap_or_default().on(&wanted)
        })
    }

    /// Bootstrap and extensions.
    pub(super) fn builder(&self, project: &Project) -> Result<TemplateBuilder> {
        Ok(bare_template_of(project)?.with_server(self.server(project)?.clone()))
    }

    pub(super) fn template(&self, project: &Project) -> Result<&Template> {
        self.template
            .get_or_try_init(|| Ok(template_of(project)?.with_server(self.server(project)?.clone()).build()))
    }

    pub(super) async fn database(&self, project: &Project) -> Result<TestDb> {
        let template = self.template(project)?;
        // Once for all: what cannot be built would else be tried by every check.
        let failure = self
            .built
            .get_or_init(|| async {
                let failure = template.build().await.err()?;
                let message = "the project's database cannot be built";
                Some(Error::new(failure.kind(), message).with_source(failure))
            })
            .await;
        match failure {
            Some(failure) => Err(failure.copy()),
            None => template.get_for(USER).await,
        }
    }

    /// Whether any database was asked for.
    pub(super) fn were_used(&self) -> bool {
        self.server.get().is_some() && (self.template.get().is_some() || self.facts.get().is_some())
    }

    pub(super) async fn facts(&self, project: &Project) -> Result<&Facts> {
        self.facts
            .get_or_try_init(|| async {
                let server = self.template(project)?.server().await?;
                let mut control = server.connect(server.endpoint().maintenance_database()).await?;
                let version: String =
                    sqlx::query_scalar("select split_part(current_setting('server_version'), ' ', 1)")
                        .fetch_one(&mut control)
                        .await?;
                let _ = control.close().await;
                Ok(Facts { capabilities: server.capabilities(), version })
            })
            .await
    }
}

/// The extensions that the project's template needs.
///
/// # Errors
/// A file of it cannot be read.
pub(crate) fn needs_of(project: &Project) -> Result<Needs> {
    template_of(project)?.needs()
}

/// The project's template, on whatever server.
fn template_of(project: &Project) -> Result<TemplateBuilder> {
    let root = absolute(&project.dir)?;
    let fixtures = patterns(project, &root, &project.fixtures)?;
    let migrations = &project.migrations;
    let mut builder = bare_template_of(project)?.with_fixtures(fixtures);
    if let Some(history) = &migrations.history {
        builder = builder.with_history(history);
    }
    Ok(match &migrations.command {
        // It runs in the project's folder, as people do.
        Some(command) => builder.with_migration_command(command),
        None if migrations.exist() => builder
            .with_migrations(absolute(&migrations.dir)?)
            .with_migration_format(migrations.format.unwrap_or_default()),
        None => builder,
    })
}

/// As [`template_of`], with bootstrap and extensions only.
fn bare_template_of(project: &Project) -> Result<TemplateBuilder> {
    let root = absolute(&project.dir)?;
    let bootstrap = patterns(project, &root, &project.bootstrap)?;
    let builder = Template::builder(root)
        .with_bootstrap(bootstrap)
        .with_extensions(project.extensions.clone())
        // Blocks and plans are those of a fresh clone.
        .with_recycling(false);
    Ok(match &project.migrations.migrator_role {
        Some(role) => builder.with_migrator_role(role),
        None => builder,
    })
}

/// `files` as patterns below `root` that fit nothing else, so that digests do not depend on where it lies.
fn patterns(project: &Project, root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    files
        .iter()
        .map(|file| {
            let file = match file.strip_prefix(&project.dir) {
                Ok(inside) => inside.to_owned(),
                Err(_) => absolute(file)?,
            };
            let inside = file.strip_prefix(root).unwrap_or(&file);
            Ok(glob::Pattern::escape(&inside.to_string_lossy()))
        })
        .collect()
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::path::absolute(path)
        .attempt(ErrorKind::Environment, || format!("failed to find the place of `{}`", path.display()))
}
