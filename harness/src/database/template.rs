//! Templates: what a database is made from, declared once and built once.

use super::cluster;
use super::declared::Declared;
use super::host::{Host, Request};
use super::isolation::Isolation;
use super::prepared::Prepared;
use super::recipe::{Ingredients, Recipe};
use super::test_db::TestDb;
use crate::env;
use crate::error::{Error, Result};
use crate::server::{Server, ServerConfig};
use once_cell::sync::OnceCell;
use sqlx::migrate::Migrator;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A migrated and seeded database that every test gets a clone of. It is built when it is first needed, by one
/// process for all, and built again when anything that shaped it changes: migrations, fixtures, the server.
///
/// ```
/// use pgharness::{Template, template};
///
/// static APP: Template = template! {};
///
/// # fn main() -> pgharness::Result<()> {
/// let db = APP.get_blocking()?;
/// assert!(db.url().starts_with("postgresql://"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Template {
    origin: Origin,
    prepared: OnceCell<Arc<Prepared>>,
}

#[derive(Debug)]
enum Origin {
    Declared(Declared),
    Built(Box<TemplateBuilder>),
}

/// Describes a template by value, for programs that know their folders only when they run.
#[derive(Clone, Debug)]
pub struct TemplateBuilder {
    root: PathBuf,
    ingredients: Ingredients,
    isolation: Isolation,
    is_recycled: bool,
    server: Option<ServerConfig>,
}

impl Template {
    /// For the macro `template!`.
    #[doc(hidden)]
    pub const fn declared(declared: Declared) -> Self {
        Template { origin: Origin::Declared(declared), prepared: OnceCell::new() }
    }

    /// Describes a template whose paths are relative to `root`.
    pub fn builder(root: impl Into<PathBuf>) -> TemplateBuilder {
        TemplateBuilder {
            root: root.into(),
            ingredients: Ingredients::default(),
            isolation: Isolation::Database,
            is_recycled: true,
            server: None,
        }
    }

    /// An isolated database: a clone of this template, the test's own until the handle is dropped. The first
    /// call starts a server and builds the template if need be; others take about a millisecond while clones
    /// are ready.
    ///
    /// # Errors
    /// There is no server and none can be started, the template cannot be built (a migration or a fixture
    /// fails), or there is no room.
    pub async fn get(&self) -> Result<TestDb> {
        self.get_for(&test_name()).await
    }

    /// As [`get`](Template::get), for the test called `test`.
    ///
    /// # Errors
    /// As [`get`](Template::get).
    pub async fn get_for(&self, test: &str) -> Result<TestDb> {
        let prepared = self.prepared()?;
        if prepared.isolation == Isolation::Cluster {
            return cluster::start(prepared, test).await;
        }
        self.claim(None, test).await
    }

    /// A copy of `db`, a clone of this template, as it is now. Nobody may be in `db` meanwhile.
    ///
    /// # Errors
    /// Somebody is, or as [`get`](Template::get).
    #[cfg(feature = "checks")]
    pub(crate) async fn copy_of(&self, db: &TestDb, test: &str) -> Result<TestDb> {
        self.claim(Some(db.name()), test).await
    }

    async fn claim(&self, source: Option<&str>, test: &str) -> Result<TestDb> {
        let prepared = self.prepared()?;
        let had_own_server = prepared.has_own_server();
        let ask = || async {
            let host = Host::of(&prepared.server_config().await?).await?;
            host.ask(|reply| Request::Get {
                template: prepared.clone(),
                source: source.map(str::to_owned),
                test: test.to_owned(),
                reply,
            })
            .await
        };
        let claimed = match ask().await {
            Err(_) if moved_out(prepared, had_own_server) => ask().await?,
            other => other?,
        };
        TestDb::claimed(claimed, test)
    }

    /// A database on a server of its own, whatever the template's isolation is.
    #[cfg(feature = "explore")]
    pub(crate) async fn get_on_own_server(&self) -> Result<TestDb> {
        cluster::start(self.prepared()?, &test_name()).await
    }

    /// As [`get`](Template::get), for tests without a runtime. Blocks the thread.
    ///
    /// # Errors
    /// As [`get`](Template::get).
    pub fn get_blocking(&self) -> Result<TestDb> {
        let test = test_name();
        let prepared = self.prepared()?;
        if prepared.isolation == Isolation::Cluster {
            return cluster::start_blocking(prepared, &test);
        }
        let had_own_server = prepared.has_own_server();
        let ask = || {
            let host = Host::of_blocking(&prepared.server_config_blocking()?)?;
            host.ask_blocking(|reply| Request::Get {
                template: prepared.clone(),
                source: None,
                test: test.clone(),
                reply,
            })
        };
        let claimed = match ask() {
            Err(_) if moved_out(prepared, had_own_server) => ask()?,
            other => other?,
        };
        TestDb::claimed(claimed, &test)
    }

    /// Builds the template without handing out a clone; gives the server and the template's name on it, which
    /// accepts no connections.
    ///
    /// # Errors
    /// As [`get`](Template::get).
    pub async fn build(&self) -> Result<(Server, String)> {
        let prepared = self.prepared()?;
        let had_own_server = prepared.has_own_server();
        let ask = || async {
            let host = Host::of(&prepared.server_config().await?).await?;
            host.ask(|reply| Request::Build { template: prepared.clone(), reply }).await
        };
        match ask().await {
            Err(_) if moved_out(prepared, had_own_server) => ask().await,
            other => other,
        }
    }

    /// The server that databases of this template live on.
    ///
    /// # Errors
    /// There is none and none can be started.
    pub async fn server(&self) -> Result<Server> {
        let host = Host::of(&self.prepared()?.server_config().await?).await?;
        host.ask(|reply| Request::Server { reply }).await
    }

    fn prepared(&self) -> Result<&Arc<Prepared>> {
        self.prepared.get_or_try_init(|| match &self.origin {
            Origin::Built(builder) => builder.prepare(),
            Origin::Declared(declared) => declared.builder()?.prepare(),
        })
    }
}

impl TemplateBuilder {
    /// Applies the migrations in this folder, whose format is detected.
    #[must_use]
    pub fn with_migrations(mut self, dir: impl Into<PathBuf>) -> Self {
        self.ingredients.migrations = Some(dir.into());
        self
    }

    /// Applies the migrations that sqlx compiled into the program (`sqlx::migrate!`), in place of a folder's.
    #[must_use]
    pub fn with_migrator(mut self, migrator: &Migrator) -> Self {
        self.ingredients.migrator = Some(migrator.into());
        self
    }

    /// Applies migrations with a command, which gets `DATABASE_URL` and, on an embedded server, finds a `psql` that
    /// fits the server on its `PATH`; the folder from
    /// [`with_migrations`](Self::with_migrations) is then what the template's digest covers.
    #[must_use]
    pub fn with_migration_command(mut self, command: impl Into<String>) -> Self {
        self.ingredients.migration_command = Some(command.into());
        self
    }

    /// Reads the migrations in this format instead of detecting it.
    #[must_use]
    pub fn with_migration_format(mut self, format: crate::migration::Format) -> Self {
        self.ingredients.migration_format = format;
        self
    }

    /// Keeps the built-in runner's history in this table.
    #[must_use]
    pub fn with_history(mut self, table: impl Into<String>) -> Self {
        self.ingredients.history = Some(table.into());
        self
    }

    /// Runs migrations as this role; the bootstrap creates it.
    #[must_use]
    pub fn with_migrator_role(mut self, role: impl Into<String>) -> Self {
        self.ingredients.migrator_role = Some(role.into());
        self
    }

    /// Loads these files of SQL, in this order; `*` in a name stands for anything.
    #[must_use]
    pub fn with_fixtures<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.ingredients.fixtures = patterns.into_iter().map(Into::into).collect();
        self
    }

    /// Loads this text of SQL too, after the files and the texts before it; messages call it `name`.
    #[must_use]
    pub fn with_fixture_text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.ingredients.fixture_texts.push((name.into(), text.into()));
        self
    }

    /// Seeds with a command, after the files of SQL; it gets `DATABASE_URL` and, on an embedded server, finds a
    /// `psql` that fits the server on its `PATH`.
    #[must_use]
    pub fn with_fixture_command(mut self, command: impl Into<String>) -> Self {
        self.ingredients.fixture_command = Some(command.into());
        self
    }

    /// Runs these files as superuser before any migration: roles and the like, which all databases of a server
    /// share. Templates with the same bootstrap share a server that no others use, and it runs there once.
    #[must_use]
    pub fn with_bootstrap<P: Into<PathBuf>>(mut self, files: impl IntoIterator<Item = P>) -> Self {
        self.ingredients.bootstrap = files.into_iter().map(Into::into).collect();
        self
    }

    /// Creates these extensions as superuser before any migration. The server then runs from an installation that
    /// has them, and those that files of SQL create themselves.
    #[must_use]
    pub fn with_extensions<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.ingredients.extensions = names.into_iter().map(Into::into).collect();
        self
    }

    /// What a test has to itself.
    #[must_use]
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Whether a database whose test changed nothing but rows may be put back and handed to another test; else every
    /// test gets a fresh clone. What queries give is the same, but for the order of rows without ORDER BY; the pages
    /// they are on and the server's statistics are not.
    #[must_use]
    pub fn with_recycling(mut self, is_on: bool) -> Self {
        self.is_recycled = is_on;
        self
    }

    /// Uses this server instead of what the environment says.
    #[must_use]
    pub fn with_server(mut self, server: ServerConfig) -> Self {
        self.server = Some(server);
        self
    }

    /// The template.
    pub fn build(self) -> Template {
        Template { origin: Origin::Built(Box::new(self)), prepared: OnceCell::new() }
    }

    /// The extensions that the template needs of its server, as far as that is known before it is built.
    ///
    /// # Errors
    /// A file cannot be read.
    #[cfg(feature = "checks")]
    pub(crate) fn needs(&self) -> Result<super::Needs> {
        Ok(Recipe::read(&self.root, &self.ingredients)?.needs())
    }

    fn prepare(&self) -> Result<Arc<Prepared>> {
        if !self.root.is_dir() {
            return Err(Error::usage(format!("there is no folder `{}`", self.root.display())).with_help(
                "paths of a template are relative to its package's folder at the time of its build",
            ));
        }
        let recipe = Recipe::read(&self.root, &self.ingredients)?;
        let server = match &self.server {
            Some(server) => server.clone(),
            None => ServerConfig::from_env(&self.root)?,
        };
        let is_recycled = env::RECYCLE.switch()? && self.is_recycled;
        Ok(Arc::new(Prepared::new(recipe, server, self.isolation, is_recycled)?))
    }

    /// The folder that paths are relative to.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Whether the template was found out, since it was asked for, to need a server of its own.
fn moved_out(prepared: &Prepared, had_own_server: bool) -> bool {
    !had_own_server && prepared.has_own_server()
}

/// The name of the running test: the test runner names its threads so.
fn test_name() -> String {
    std::thread::current().name().unwrap_or("a thread without a name").to_owned()
}
