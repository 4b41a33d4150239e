//! The release before this one: which migrations it has, and the statements that it sends.

use super::immutable::migrations_of;
use super::lock_file::LockFile;
use super::recorded::Recorded;
use crate::check::migrator::shown_path;
use crate::check::revision::{Export, Revision};
use crate::check::{Project, databases::absolute};
use crate::error::{Attempt, ErrorKind, Result};
use crate::migration::Migrations;
use crate::script::split;
use crate::statement::read_dir;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders that statements lie in, where nobody names others.
const QUERIES: &str = "queries";
const SQLX: &str = ".sqlx";

/// The release before this one.
#[derive(Debug)]
pub(super) struct Release {
    /// How people name it; `None`: nobody said which it is, and each migration is held against what was before it.
    pub(super) name: Option<String>,
    /// The versions that it has applied.
    versions: Vec<String>,
    pub(super) statements: Vec<Sent>,
}

/// A statement that it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Where it was found: `queries/jobs.sql: next_job`.
    pub(super) name: String,
    pub(super) sql: String,
}

/// What sqlx records of a statement, as far as it is used here.
#[derive(Deserialize)]
struct Offline {
    db_name: String,
    query: String,
}

impl Release {
    /// # Errors
    /// The revision, the lock file or a statement cannot be read.
    pub(super) async fn of(project: &Project, now: &Migrations) -> Result<Release> {
        let mut release = Release { name: None, versions: Vec::new(), statements: Vec::new() };
        let declared = project.old_release.as_ref();
        let root = absolute(&project.dir)?;
        let folder = |named: Option<&String>, usual: &str| root.join(named.map_or(usual, String::as_str));
        let queries = folder(declared.and_then(|declared| declared.queries.as_ref()), QUERIES);
        let sqlx = folder(declared.and_then(|declared| declared.sqlx.as_ref()), SQLX);
        let mut then: Option<Export> = None;
        if let Some(name) = project.since() {
            let revision = Revision::of(project, name).await?;
            let migrations = migrations_of(&revision, now).await?;
            release.versions = migrations.iter().map(|one| one.version.to_string()).collect();
            release.name = Some(format!("revision `{name}`"));
            then = Some(revision.export(&[queries.clone(), sqlx.clone()]).await?);
        } else if let Some(locked) = LockFile::of(project, now)? {
            release.versions = locked.lines.into_iter().map(|Recorded { version, .. }| version).collect();
            release.name = Some("the locked migrations".into());
        }
        for (folder, read) in [(queries, named as fn(&Path) -> Result<Vec<Sent>>), (sqlx, recorded_by_sqlx)] {
            let shown = shown_path(project, &folder);
            let place = match &then {
                Some(export) => export.path(&folder)?,
                None => folder,
            };
            if place.is_dir() {
                let found = read(&place)?.into_iter();
                release
                    .statements
                    .extend(found.map(|sent| Sent { name: format!("{shown}/{}", sent.name), ..sent }));
            }
        }
        for file in &project.migrations.statements {
            let text = fs::read_to_string(file).attempt(ErrorKind::Usage, || {
                format!("failed to read the statements in `{}`", file.display())
            })?;
            let shown = shown_path(project, &absolute(file)?);
            release.statements.extend(split(&text).iter().map(|statement| Sent {
                name: format!("{shown} line {}", line_of(&text, statement.text)),
                sql: statement.text.to_owned(),
            }));
        }
        Ok(release)
    }

    /// Whether it has applied the migration of that version.
    pub(super) fn has(&self, version: &str) -> bool {
        self.versions.iter().any(|one| one == version)
    }
}

/// The line in which a part of `text` begins.
fn line_of(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Those of `queries/*.sql`.
fn named(folder: &Path) -> Result<Vec<Sent>> {
    let statements = read_dir(folder)?.into_iter().map(|statement| {
        let file = statement.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Sent { name: format!("{file}: {}", statement.name), sql: statement.sql }
    });
    Ok(statements.collect())
}

/// Those of `.sqlx/query-….json`, without those for other databases.
fn recorded_by_sqlx(folder: &Path) -> Result<Vec<Sent>> {
    let failed = || format!("failed to read the folder `{}`", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).attempt(ErrorKind::Usage, failed)? {
        let path = entry.attempt(ErrorKind::Usage, failed)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
    }
    files.sort();
    let mut statements = Vec::new();
    for file in files {
        let failed = || format!("failed to read `{}`, which sqlx recorded", file.display());
        let text = fs::read_to_string(&file).attempt(ErrorKind::Usage, failed)?;
        let Offline { db_name, query } = serde_json::from_str(&text).attempt(ErrorKind::Usage, failed)?;
        if db_name == "PostgreSQL" {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            statements.push(Sent { name, sql: query });
        }
    }
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn statements_are_found_wherever_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("migrations/1_a.sql", "select 1;"),
            ("queries/a.sql", "-- name: one\nselect 1\n"),
            (".sqlx/query-1.json", r#"{"db_name": "PostgreSQL", "query": "select $1::int", "hash": "x"}"#),
            (".sqlx/query-2.json", r#"{"db_name": "SQLite", "query": "pragma x"}"#),
            ("old.sql", "select 2;\n\nselect\n 3;\n"),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut project = Project { dir: dir.path().to_owned(), ..Project::default() };
        project.migrations.statements = vec![dir.path().join("old.sql")];
        let now = Migrations::load(dir.path().join("migrations"), crate::migration::Format::Sqlx).unwrap();
        let release = Release::of(&project, &now).await.unwrap();
        assert_eq!(release.name, None);
        let found: Vec<_> =
            release.statements.iter().map(|one| (one.name.as_str(), one.sql.trim())).collect();
        assert_eq!(
            found,
            [
                ("queries/a.sql: one", "select 1"),
                (".sqlx/query-1.json", "select $1::int"),
                ("old.sql line 1", "select 2"),
                ("old.sql line 3", "select\n 3"),
            ]
        );
    }
}
