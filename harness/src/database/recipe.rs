//! What a template is made of, read from its files when it is first used.

use super::needs::Needs;
use crate::digest::{Digest, Hasher};
use crate::error::{Attempt, ErrorKind, Result};
use crate::fixture::Fixtures;
use crate::ident::quote_ident;
use crate::migration::{Format, Migrations, Runner};
use crate::server::{Extensions, Server, ServerConfig};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::path::{Path, PathBuf};

/// Raised when the way templates are built changes: those of older harnesses are then built anew.
const FORMAT: &str = "4";

/// The parts of a template as they are declared.
#[derive(Clone, Debug, Default)]
pub(super) struct Ingredients {
    pub(super) migrations: Option<PathBuf>,
    pub(super) migrator: Option<Migrations>,
    pub(super) migration_command: Option<String>,
    pub(super) migration_format: Format,
    pub(super) history: Option<String>,
    pub(super) migrator_role: Option<String>,
    pub(super) fixtures: Vec<String>,
    /// Names, and what they call.
    pub(super) fixture_texts: Vec<(String, String)>,
    pub(super) fixture_command: Option<String>,
    pub(super) bootstrap: Vec<PathBuf>,
    pub(super) extensions: Vec<String>,
}

impl Ingredients {
    /// Where they lie: the same before and after one of them is edited.
    fn place(&self, root: &Path) -> Digest {
        let mut hasher = Hasher::new("place").field("root", root.as_os_str().as_encoded_bytes());
        for dir in self.migrations.iter().chain(&self.bootstrap) {
            hasher.add("path", dir.as_os_str().as_encoded_bytes());
        }
        for fixture in self.fixtures.iter().chain(self.fixture_texts.iter().map(|(name, _)| name)) {
            hasher.add("fixture", fixture);
        }
        for command in self.migration_command.iter().chain(&self.fixture_command) {
            hasher.add("command", command);
        }
        hasher.finish()
    }
}

/// The parts of a template as they were read.
#[derive(Debug)]
pub(crate) struct Recipe {
    bootstrap: Fixtures,
    extensions: Vec<String>,
    migrations: Option<Migrations>,
    history: Option<String>,
    migrator_role: Option<String>,
    fixtures: Fixtures,
    place: Digest,
}

impl Recipe {
    /// Reads the files below `root`.
    ///
    /// # Errors
    /// A file is missing, a migration has an unsafe name, or a format is unknown.
    pub(super) fn read(root: &Path, ingredients: &Ingredients) -> Result<Recipe> {
        let patterns = ingredients.bootstrap.iter().map(|file| file.to_string_lossy().into_owned());
        let dir = ingredients.migrations.as_deref().map(|dir| root.join(dir));
        let migrations = match (&ingredients.migration_command, &ingredients.migrator, dir) {
            (Some(line), _, dir) => Some(Migrations::command(line, dir.unwrap_or_else(|| root.to_owned()))),
            (None, Some(migrations), _) => Some(migrations.clone()),
            (None, None, Some(dir)) => Some(Migrations::load(dir, ingredients.migration_format)?),
            (None, None, None) => None,
        };
        let mut fixtures = Fixtures::load(root, &ingredients.fixtures)?;
        for (name, text) in &ingredients.fixture_texts {
            fixtures = fixtures.and_text(name, text);
        }
        if let Some(line) = &ingredients.fixture_command {
            fixtures = fixtures.and_command(line, root);
        }
        Ok(Recipe {
            bootstrap: Fixtures::load(root, patterns)?,
            extensions: ingredients.extensions.clone(),
            migrations,
            history: ingredients.history.clone(),
            migrator_role: ingredients.migrator_role.clone(),
            fixtures,
            place: ingredients.place(root),
        })
    }

    /// Where its files lie, whatever is in them.
    pub(super) fn place(&self) -> &Digest {
        &self.place
    }

    /// The digest of everything that shapes a database, but for the server's version. It is wrong if a migration
    /// or a fixture depends on something outside its folder: the clock, another server, an environment variable.
    pub(super) fn digest(&self, server: &ServerConfig) -> Result<Digest> {
        let mut hasher = Hasher::new("recipe")
            .field("format", FORMAT)
            .field("settings", server.settings.digest().bytes())
            .field("extensions", self.extensions.join("\n"))
            .field("history", self.history.as_deref().unwrap_or_default())
            .field("migrator", self.migrator_role.as_deref().unwrap_or_default());
        hasher.add("bootstrap", self.bootstrap_digest(server)?.bytes());
        if let Some(migrations) = &self.migrations {
            migrations.add_to(&mut hasher)?;
        }
        hasher.add("end", "of the migrations");
        self.fixtures.add_to(&mut hasher)?;
        Ok(hasher.finish())
    }

    /// The digest of the bootstrap alone.
    pub(super) fn bootstrap_digest(&self, server: &ServerConfig) -> Result<Digest> {
        let mut hasher = Hasher::new("bootstrap")
            .field("format", FORMAT)
            .field("settings", server.settings.digest().bytes());
        self.bootstrap.add_to(&mut hasher)?;
        Ok(hasher.finish())
    }

    /// Whether something runs that is meant to create roles.
    pub(super) fn has_bootstrap(&self) -> bool {
        !self.bootstrap.is_empty()
    }

    /// Runs the bootstrap against the empty database `name`.
    ///
    /// # Errors
    /// A file fails; the error shows the place in it, with what the server says.
    pub(super) async fn begin(&self, server: &Server, name: &str) -> Result<()> {
        let superuser = server.endpoint().options(name);
        self.bootstrap.apply_with_tools(&superuser, server.installation()).await
    }

    /// The extensions that it needs, as far as that is known before it runs: a command's are not.
    pub(super) fn needs(&self) -> Needs {
        let mut needs = Needs::declared(&self.extensions);
        let migrations = self.migrations.iter().flatten().map(|migration| &migration.script);
        self.bootstrap
            .scripts()
            .chain(migrations)
            .chain(self.fixtures.scripts())
            .for_each(|script| needs.add(script));
        needs
    }

    /// Runs everything else against the database `name`.
    ///
    /// # Errors
    /// As [`begin`](Recipe::begin).
    pub(super) async fn fill(&self, server: &Server, name: &str) -> Result<()> {
        let superuser = server.endpoint().options(name);
        self.create_extensions(server, &superuser).await?;
        if let Some(migrations) = &self.migrations {
            let migrator = match &self.migrator_role {
                Some(role) => superuser.clone().username(role),
                None => superuser.clone(),
            };
            let mut runner = Runner::new(migrations).with_tools(server.installation());
            if let Some(history) = &self.history {
                runner = runner.with_history(history);
            }
            runner.apply(&migrator).await?;
        }
        self.fixtures.apply_with_tools(&superuser, server.installation()).await
    }

    async fn create_extensions(&self, server: &Server, superuser: &PgConnectOptions) -> Result<()> {
        let needs = self.needs();
        if needs.is_empty() {
            return Ok(());
        }
        let mut connection = crate::server::connect(superuser).await?;
        // All that is missing is told at once, and before a migration is half-way.
        Extensions::of(&mut connection)
            .await?
            .require(&needs.names(), server.installation())
            .attempt(ErrorKind::Environment, || needs.unmet())?;
        for extension in &self.extensions {
            connection
                .execute(AssertSqlSafe(format!(
                    "create extension if not exists {} cascade",
                    quote_ident(extension)
                )))
                .await
                .attempt(ErrorKind::Environment, || format!("failed to create extension `{extension}`"))?;
        }
        let _ = connection.close().await;
        Ok(())
    }
}
