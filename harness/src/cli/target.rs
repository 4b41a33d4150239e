//! Which database a command works on, and with which migrations.

use super::check;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::migration::{Migrations, Runner};
use crate::secret::{Secret, redact_url};
use crate::suite::Config;
use clap::Args;
use sqlx::postgres::PgConnectOptions;
use std::path::PathBuf;

/// A database by its URL.
#[derive(Args, Debug)]
pub(super) struct Target {
    /// The database; without it that of `DATABASE_URL`. Its password may lie in the file of `PGPASSWORD_FILE`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Where the password for a database comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PasswordFrom {
    Url,
    File(PathBuf),
    /// libpq's own places, or none is asked for.
    Elsewhere,
}

impl Target {
    /// How to connect, and where the password is from; `None` if no database is named.
    ///
    /// # Errors
    /// The URL is none, or the password's file cannot be read.
    pub(super) fn find(&self) -> Result<Option<(PgConnectOptions, PasswordFrom)>> {
        let (url, from) = match (&self.url, env::DATABASE_URL.text()) {
            (Some(url), _) => (url.clone(), "`--url`"),
            (None, Some(url)) => (url, env::DATABASE_URL.name),
            (None, None) => return Ok(None),
        };
        let options: PgConnectOptions =
            url.parse().attempt(ErrorKind::Usage, || format!("{from} is no URL of a database"))?;
        if redact_url(&url) != url {
            return Ok(Some((options, PasswordFrom::Url)));
        }
        Ok(Some(match env::PGPASSWORD_FILE.path() {
            None => (options, PasswordFrom::Elsewhere),
            Some(path) => (options.password(password(&path)?.expose()), PasswordFrom::File(path)),
        }))
    }

    /// How to connect.
    ///
    /// # Errors
    /// As [`find`](Target::find), or no database is named.
    pub(super) fn options(&self) -> Result<PgConnectOptions> {
        let found = self.find()?.map(|(options, _)| options);
        found.ok_or_else(|| {
            Error::usage("no database is named")
                .with_help(format!("set {}, or give `--url`", env::DATABASE_URL.name))
        })
    }
}

/// The password in a file, without the end of its line, which editors add.
fn password(path: &PathBuf) -> Result<Secret> {
    let text = std::fs::read_to_string(path).attempt(ErrorKind::Usage, || {
        format!(
            "failed to read the password in `{}`, the file of {}",
            path.display(),
            env::PGPASSWORD_FILE.name
        )
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::usage(format!(
            "`{}`, the file of {}, is empty",
            path.display(),
            env::PGPASSWORD_FILE.name
        ))),
        password => Ok(Secret::new(password)),
    }
}

/// Migrations: those of the project, or of a folder.
#[derive(Args, Debug)]
pub(super) struct Source {
    #[command(flatten)]
    project: check::Project,
    /// A folder of migrations, in place of the one that the configuration names.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// How the files of that folder are laid out.
    #[arg(long, default_value = "auto", requires = "dir")]
    format: String,
    /// The table for the history, if it is not that of the format's own tool.
    #[arg(long, value_name = "TABLE")]
    history: Option<String>,
}

/// A database, and migrations for it.
#[derive(Args, Debug)]
pub(super) struct Job {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) source: Source,
}

/// Migrations, and where their history goes.
pub(super) struct Loaded {
    pub(super) migrations: Migrations,
    history: Option<String>,
}

impl Source {
    /// The project's configuration, with the folder that is to take the place of its own.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn config(&self) -> Result<Config> {
        let mut config = self.project.load()?;
        if let Some(dir) = &self.dir {
            config.migrations.dir = dir.clone();
            config.migrations.format = Some(self.format.parse()?);
            config.migrations.command = None;
        }
        if self.history.is_some() {
            config.migrations.history = self.history.clone();
        }
        Ok(config)
    }

    /// # Errors
    /// The configuration or the migrations cannot be read.
    pub(super) fn load(&self) -> Result<Loaded> {
        if let Some(dir) = &self.dir {
            let migrations = Migrations::load(dir, self.format.parse()?)?;
            return Ok(Loaded { migrations, history: self.history.clone() });
        }
        let config = self.project.load()?;
        let declared = &config.migrations;
        let migrations = match &declared.command {
            Some(line) => Migrations::command(line, config.dir()),
            None => Migrations::load(&declared.dir, declared.format.unwrap_or_default())?,
        };
        Ok(Loaded { migrations, history: self.history.clone().or_else(|| declared.history.clone()) })
    }
}

impl Loaded {
    /// What applies them.
    pub(super) fn runner(&self) -> Runner<'_> {
        let runner = Runner::new(&self.migrations);
        match &self.history {
            Some(table) => runner.with_history(table),
            None => runner,
        }
    }
}
