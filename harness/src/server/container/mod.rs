//! The container backend: a server in a container, one shared by all processes of a workspace.
//!
//! No process has to live for the container to go: it ends itself when nobody has been connected for a while,
//! and its engine removes it then. That holds for an engine on another machine too.

use super::external::{block_on, inspect};
use super::{Backend, Endpoint, Server, ServerConfig};
use crate::digest::Hasher;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::{Cache, SUPERUSER, Settings};
use crate::process::FileLock;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ImageExt};
use testcontainers_modules::postgres::Postgres;

const WATCH: &str = include_str!("watch.sh");
/// Longer than the keeper's: a container takes seconds to start.
const GRACE_SECONDS: u32 = 10;
const START_DEADLINE: Duration = Duration::from_secs(120);
/// The version of the official image where none is asked for.
const DEFAULT_VERSION: &str = "17";
const PORT: u16 = 5432;

/// A server in a container.
#[derive(Debug)]
pub struct Container {
    image: String,
    settings: Settings,
    config: ServerConfig,
}

/// What processes of a workspace tell one another about their container.
#[derive(Debug, Serialize, Deserialize)]
struct Published {
    host: String,
    port: u16,
    password: String,
}

impl Container {
    /// A server of this image, or of the official one of the wanted version.
    pub fn new(config: &ServerConfig, image: Option<String>) -> Container {
        let version = config.version.as_deref().unwrap_or(DEFAULT_VERSION);
        let image = image.unwrap_or_else(|| format!("postgres:{version}"));
        Container { image, settings: config.settings.clone(), config: config.clone() }
    }

    fn state_dir(&self) -> Result<PathBuf> {
        let image = Hasher::new("container").field("image", &self.image).finish();
        Cache::open()?.private_dir(&format!("servers/{}", self.config.key(&image).short(16)))
    }

    async fn start(&self) -> Result<Published> {
        let password = super::handle::random_password()?;
        let (name, tag) = match self.image.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (self.image.as_str(), "latest"),
        };
        let mut command =
            vec!["sh".to_owned(), "-c".into(), WATCH.into(), "watch".into(), GRACE_SECONDS.to_string()];
        command.extend(self.settings.arguments());
        // Of the settings for a private directory this one does not fit the image's own.
        command.extend(["-c".into(), "unix_socket_permissions=0777".into()]);
        let ready = "database system is ready to accept connections";
        let container: ContainerAsync<Postgres> = Postgres::default()
            .with_user(SUPERUSER)
            .with_password(&password)
            .with_db_name(SUPERUSER)
            .with_name(name)
            .with_tag(tag)
            .with_label("org.pgharness", env!("CARGO_PKG_VERSION"))
            .with_cmd(command)
            .with_ready_conditions(vec![WaitFor::message_on_stderr(ready)])
            .with_startup_timeout(START_DEADLINE)
            .with_host_config_modifier(|host| host.auto_remove = Some(true))
            .start()
            .await
            .map_err(|error| self.explain(error))?;
        let host = container.get_host().await.map_err(|error| self.explain(error))?.to_string();
        let port = container.get_host_port_ipv4(PORT.tcp()).await.map_err(|error| self.explain(error))?;
        // It ends itself: dropping the handle would end it under everybody else.
        std::mem::forget(container);
        Ok(Published { host, port, password })
    }

    fn explain(&self, error: testcontainers::TestcontainersError) -> Error {
        let text = error.to_string().to_lowercase();
        let help = if text.contains("no such image") || text.contains("pull") || text.contains("manifest") {
            format!("pull `{}` or build it, or name another image in {}", self.image, env::IMAGE.name)
        } else {
            format!("is a container engine running? {} names its socket or address", env::DOCKER_HOST.name)
        };
        Error::environment(format!("failed to start a container of `{}`", self.image))
            .with_source(error)
            .with_help(help)
    }

    async fn server(&self, published: &Published) -> Result<Server> {
        let endpoint = Endpoint::tcp(
            published.host.clone(),
            published.port,
            SUPERUSER.into(),
            Secret::new(published.password.clone()),
        );
        let capabilities = inspect(&endpoint).await?;
        Ok(Server::remote(endpoint, capabilities))
    }
}

impl Backend for Container {
    fn name(&self) -> &'static str {
        "container"
    }

    fn attach(&self) -> Result<Server> {
        let dir = self.state_dir()?;
        let state = dir.join("container.json");
        let published = || -> Option<Published> { serde_json::from_slice(&std::fs::read(&state).ok()?).ok() };
        let enter = || block_on(async { self.server(&published()?).await.ok() });
        if let Some(server) = enter()? {
            return Ok(server);
        }
        let _elected = FileLock::wait(&dir.join("lock"))?;
        if let Some(server) = enter()? {
            return Ok(server);
        }
        block_on(async {
            let started = self.start().await?;
            let server = self.server(&started).await?;
            let json = serde_json::to_vec(&started)
                .attempt(ErrorKind::Environment, || "failed to write JSON".into())?;
            let new = state.with_extension("new");
            std::fs::OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&new)
                .and_then(|mut file| file.write_all(&json))
                .and_then(|()| std::fs::rename(&new, &state))
                .attempt(ErrorKind::Environment, || format!("failed to write `{}`", state.display()))?;
            Ok(server)
        })?
    }

    fn replace(&self, _dead: &Server) -> Result<Server> {
        // A dead container does not answer, so entering starts another one.
        self.attach()
    }
}
