//! Trying a mutant: the checks that should find it are run on it, as a user runs them.

use super::folder::Folder;
use super::mutant::{Found, Mutant, Outcome};
use super::operator::HISTORY;
use super::site::Deed;
use pgharness::catalog::{Catalog, diff};
use pgharness::check::{Context, Registry, Verdict, accept};
use pgharness::database::TestDb;
use pgharness::finding::{Finding, Outcome as Ended, Severity};
use pgharness::migration::Migrations;
use pgharness::report::Report;
use pgharness::secret::Secret;
use pgharness::suite::{Config, Suite};
use pgharness::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Connection};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tempfile::TempDir;

/// Where mutants are tried: the project, and what is known of it unbroken.
#[derive(Debug)]
pub(super) struct Stand {
    config: Config,
    context: Context,
    registry: Registry,
    program: Option<PathBuf>,
    /// What a copy of the migrated database is.
    catalog: Catalog,
    /// What is found of the unbroken project.
    known: BTreeSet<(String, String, String)>,
    /// Errors among that.
    pub(super) false_alarms: Vec<String>,
    /// Holds what was written for this run.
    place: TempDir,
    /// Folders that no mutant is written to right now. They are used again: the harness knows of a place what kind of
    /// template is made there.
    vacant: Mutex<Vec<TempDir>>,
}

/// Files of a mutant, and the project with them.
struct Written<'a> {
    config: Config,
    dir: Option<TempDir>,
    vacant: &'a Mutex<Vec<TempDir>>,
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        if let (Some(dir), Ok(mut vacant)) = (self.dir.take(), self.vacant.lock()) {
            vacant.push(dir);
        }
    }
}

impl Stand {
    /// Migrates the unbroken project.
    ///
    /// # Errors
    /// It cannot be migrated, or there is no server.
    pub(super) async fn build(mut config: Config) -> Result<Stand> {
        let place = tempfile::tempdir().map_err(environment)?;
        let is_committed = config.snapshot.file.as_ref().is_some_and(|file| file.exists());
        if !is_committed {
            // What a project without a snapshot has is as good as committed.
            config.snapshot.file = Some(place.path().join("schema.snapshot"));
        }
        let context = Context::new(config.project()?).with_server(config.server()?);
        if !is_committed {
            accept(&context).await?;
        }
        let catalog = read(&context.database().await?).await?;
        let program = std::env::current_exe().ok();
        Ok(Stand {
            config,
            context,
            registry: Registry::standard(),
            program,
            catalog,
            known: BTreeSet::new(),
            false_alarms: Vec::new(),
            place,
            vacant: Mutex::default(),
        })
    }

    /// Runs the checks `ids` on the unbroken project: what they say of it is not said of a mutant.
    ///
    /// # Errors
    /// The server is lost, or the configuration names something that is not there.
    pub(super) async fn look_at_the_unbroken(&mut self, ids: &BTreeSet<&str>) -> Result<()> {
        let only: Vec<String> = ids.iter().filter(|id| **id != LIVE).map(|id| (*id).to_owned()).collect();
        let mut findings = Vec::new();
        if !only.is_empty() {
            findings = self.suite(&self.config, &only).await?.findings;
        }
        if ids.contains(LIVE) {
            findings.extend(self.compare(&self.context.database().await?).await?);
        }
        for finding in findings {
            // A discipline that the project did not choose says nothing to it.
            let is_asked = self.registry.find(&finding.check).is_ok_and(|check| !check.is_opt_in())
                || self.config.checks.opt_in.contains(&finding.check);
            if finding.severity == Severity::Error && is_asked {
                self.false_alarms.push(format!("{}: {}", finding.check, finding.message));
            }
            self.known.insert(key(&finding));
        }
        Ok(())
    }

    /// The project's migrations; none of a command, which knows its own, so that only the database can be broken.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn migrations(&self) -> Result<Migrations> {
        let declared = &self.config.migrations;
        match &declared.command {
            Some(command) => Ok(Migrations::command(command, self.config.dir())),
            None => Migrations::load(&declared.dir, declared.format.unwrap_or_default()),
        }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The catalog of the migrated database.
    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What comes of one mutant.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn attempt(&self, mutant: &Mutant) -> Result<Outcome> {
        match &mutant.site.deed {
            Deed::Live(sql) => self.by_hand(sql).await,
            Deed::Files(folder) => {
                let written = self.written(folder)?;
                let only: Vec<String> = mutant.operator.expected.iter().map(|id| (*id).to_owned()).collect();
                let report = self.suite(&written.config, &only).await?;
                let found = report.findings.iter().find(|finding| self.is_news(finding, &only));
                Ok(match found {
                    Some(finding) => Outcome::Found(Found::of(finding)),
                    None => missed(&report),
                })
            }
        }
    }

    /// The project with other migrations.
    fn written(&self, folder: &Folder) -> Result<Written<'_>> {
        let vacant = self.vacant.lock().ok().and_then(|mut vacant| vacant.pop());
        let place = match vacant {
            Some(place) => place,
            None => tempfile::tempdir_in(self.place.path()).map_err(environment)?,
        };
        let dir = place.path().join("migrations");
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(environment(error)),
            _ => folder.write(&dir).map_err(environment)?,
        }
        let mut config = self.config.clone();
        config.migrations.dir.clone_from(&dir);
        if let Some(bootstrap) = &folder.bootstrap {
            let path = place.path().join("bootstrap.sql");
            std::fs::write(&path, bootstrap).map_err(environment)?;
            config.postgres.bootstrap.push(path);
        }
        if let Some(command) = &folder.command {
            config.migrations.command = Some(command.replace("{dir}", &dir.display().to_string()));
            config.migrations.history = Some(HISTORY.into());
            config.migrations.concurrent = true;
        }
        Ok(Written { config, dir: Some(place), vacant: &self.vacant })
    }

    /// A database of the project with other migrations.
    ///
    /// # Errors
    /// They cannot be applied, or the fixtures do not fit what they bring about.
    pub(super) async fn migrated(&self, folder: &Folder) -> Result<TestDb> {
        let written = self.written(folder)?;
        let config = &written.config;
        Context::new(config.project()?).with_server(config.server()?).database().await
    }

    /// A copy of the migrated database, changed by hand.
    pub(super) async fn changed(&self, sql: &str) -> Result<std::result::Result<TestDb, sqlx::Error>> {
        let db = self.context.database().await?;
        let mut connection = db.connection().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
        let _ = connection.close().await;
        Ok(done.map(|_| db))
    }

    async fn by_hand(&self, sql: &str) -> Result<Outcome> {
        let db = match self.changed(sql).await? {
            Ok(db) => db,
            // What the server refuses nobody can have done.
            Err(error) => return Ok(Outcome::Stillborn(error.to_string())),
        };
        let findings = self.compare(&db).await?;
        let only = [LIVE.to_owned()];
        if let Some(finding) = findings.iter().find(|finding| self.is_news(finding, &only)) {
            return Ok(Outcome::Found(Found::of(finding)));
        }
        let changes = diff(&self.catalog, &read(&db).await?);
        if changes.is_empty() {
            return Ok(Outcome::Equivalent);
        }
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        Ok(Outcome::Missed {
            got: vec![],
            reason: format!("`{LIVE}` says nothing of {}", changes.join("; ")),
        })
    }

    /// What `drift.live` says of `db`.
    pub(super) async fn compare(&self, db: &TestDb) -> Result<Vec<Finding>> {
        let context = self.context.against(Secret::new(db.url()));
        match self.registry.find(LIVE)?.run(&context).await? {
            Verdict::Ran { findings, .. } => Ok(findings),
            Verdict::Skipped(reason) => {
                Err(Error::new(ErrorKind::Environment, format!("`{LIVE}`: {reason}")))
            }
        }
    }

    async fn suite(&self, config: &Config, only: &[String]) -> Result<Report> {
        Suite::new(config).with_only(only).with_program(self.program.clone()).run().await
    }

    /// Whether one of the checks `ids` says it, and not of the unbroken project too.
    fn is_news(&self, finding: &Finding, ids: &[String]) -> bool {
        ids.contains(&finding.check) && !self.known.contains(&key(finding))
    }
}

const LIVE: &str = "drift.live";

/// What tells one finding from another: not the transcript, in which places differ.
fn key(finding: &Finding) -> (String, String, String) {
    (finding.check.clone(), finding.subject.to_string(), finding.message.clone())
}

/// What the checks said instead. Migrations that the server refuses are broken in another way than was meant.
fn missed(report: &Report) -> Outcome {
    let refusals =
        ["cannot be applied: see `migration.clean-apply`", "the project's database cannot be built"];
    let is_refusal = |reason: &&String| refusals.iter().any(|refusal| reason.contains(refusal));
    let refused: Option<Vec<&String>> =
        report.checks.iter().map(|check| check.reason.as_ref().filter(is_refusal)).collect();
    if let Some(reason) = refused.as_ref().and_then(|refused| refused.first()) {
        return Outcome::Stillborn((*reason).clone());
    }
    let got = report.findings.iter().map(|finding| finding.check.clone()).collect::<BTreeSet<_>>();
    let told = report.checks.iter().map(|check| match (&check.outcome, &check.reason) {
        (Ended::Skipped, Some(reason)) => format!("`{}` was skipped: {reason}", check.id),
        (Ended::Failed, _) => format!("`{}` says what it says of the unbroken project", check.id),
        _ => format!("`{}` finds nothing wrong", check.id),
    });
    Outcome::Missed { got: got.into_iter().collect(), reason: told.collect::<Vec<_>>().join("; ") }
}

async fn read(db: &TestDb) -> Result<Catalog> {
    let mut connection = db.connection().await?;
    let catalog = Catalog::read(&mut connection).await?;
    let _ = connection.close().await;
    Ok(catalog)
}

fn environment(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Environment, "failed to write the files of a mutant").with_source(error)
}

/// Where a configuration is looked for.
pub(super) fn load(config: Option<&Path>) -> Result<Config> {
    match config {
        Some(path) => Config::load(path),
        None => Config::load_or_default(Path::new(".")),
    }
}
