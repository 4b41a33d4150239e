//! `operations.literal-secrets`: passwords in files that are committed.

use super::secret_text::{Language, passwords, redacted};
use crate::check::{Check, Context, Example, Explanation, Project, Running, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use std::fs;
use std::path::{Path, PathBuf};

/// How many lines of one file the evidence shows.
const LINES_MAX: usize = 5;

/// How much of a line it shows, in characters.
const LINE_LENGTH_MAX: usize = 160;

/// No password stands in migrations, fixtures, bootstrap files or `pgharness.toml`.
pub(in crate::check) struct LiteralSecrets;

impl Check for LiteralSecrets {
    fn id(&self) -> &'static str {
        "operations.literal-secrets"
    }

    fn summary(&self) -> &'static str {
        "no password in migrations, fixtures or configuration"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No line of a migration, a fixture, a bootstrap file or `pgharness.toml` sets a role's \
                     password to a literal, or holds a connection URL or string with one. It reads text: a \
                     password that is put together by code is not seen. A SCRAM verifier is no password.",
            matters: "Whoever may read the repository, or an image that its files are copied into, may log in; and \
                      a migration gives every installation the same password. Both stay so after the line is \
                      deleted, since history keeps it.",
            remedy: "Change the password: it is known. Create roles without one in migrations, and set it where \
                     the service is deployed (`alter role web_app password :'web_app_password'` in psql, with the \
                     value from the environment). In `pgharness.toml` write `env:NAME`.",
        }
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.literal-secrets": "bad.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(async move { look(context.project()) })
    }
}

fn look(project: &Project) -> Result<Verdict> {
    let mut files: Vec<(PathBuf, Severity)> = Vec::new();
    if project.migrations.dir.is_dir() {
        // What migrates here migrates in production; a seed or a bootstrap file may be a developer's own.
        let mut migrations = files_below(&project.migrations.dir)?;
        migrations.sort();
        files.extend(migrations.into_iter().map(|file| (file, Severity::Error)));
    }
    let others = project.bootstrap.iter().chain(&project.fixtures).chain(&project.file);
    files.extend(others.map(|file| (file.clone(), Severity::Warning)));
    if files.is_empty() {
        return Ok(Verdict::skipped("there are no migrations, fixtures or configuration"));
    }
    let mut findings = Vec::new();
    for (file, severity) in files {
        findings.extend(look_into(&file, severity, &project.dir)?);
    }
    Ok(Verdict::of(findings))
}

fn look_into(file: &Path, severity: Severity, dir: &Path) -> Result<Option<Finding>> {
    let bytes =
        fs::read(file).attempt(ErrorKind::Usage, || format!("failed to read `{}`", file.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let is_toml = file.extension().is_some_and(|ending| ending == "toml");
    let language = if is_toml { Language::Toml } else { Language::Sql };
    let name = file.strip_prefix(dir).unwrap_or(file).display().to_string();
    let mut lines = text.lines().enumerate().filter_map(|(number, line)| {
        let found = passwords(line, language);
        let shown: String =
            redacted(line.trim_end(), &found).trim_start().chars().take(LINE_LENGTH_MAX).collect();
        (!found.is_empty()).then(|| Evidence::step(format!("{name} line {}", number + 1), shown))
    });
    let mut evidence: Vec<Evidence> = lines.by_ref().take(LINES_MAX).collect();
    if evidence.is_empty() {
        return Ok(None);
    }
    let more = lines.count();
    if more > 0 {
        evidence.push(Evidence::step(name.clone(), format!("{more} more")));
    }
    Ok(Some(Finding {
        check: LiteralSecrets.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("file", name.clone()),
        message: format!("`{name}` holds a password"),
        help: if is_toml {
            "change the password, and write `env:NAME` in place of it".into()
        } else {
            "change the password, and set it where the service is deployed".into()
        },
        evidence,
    }))
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("failed to list the folder `{}`", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).attempt(ErrorKind::Usage, what)? {
        let path = entry.attempt(ErrorKind::Usage, what)?.path();
        // A link is followed to a file, never to a folder: it might lead back.
        if path.is_dir() && !path.is_symlink() {
            files.extend(files_below(&path)?);
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Kind;

    fn project(dir: &Path) -> Project {
        let mut project = Project { dir: dir.to_owned(), ..Project::default() };
        project.migrations.dir = dir.join("migrations");
        fs::create_dir(&project.migrations.dir).unwrap();
        project
    }

    fn findings(project: &Project) -> Vec<Finding> {
        match look(project).unwrap() {
            Verdict::Ran { findings, .. } => findings,
            Verdict::Skipped(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn bad_examples_are_found_and_good_ones_are_not() {
        for example in LiteralSecrets.examples() {
            let dir = tempfile::tempdir().unwrap();
            let project = project(dir.path());
            fs::write(project.migrations.dir.join("0001_a.sql"), example.sql).unwrap();
            let findings = findings(&project);
            assert_eq!(findings.is_empty(), example.kind() == Kind::Good, "{}: {findings:#?}", example.file);
            assert!(!format!("{findings:?}").contains("hunter"), "{findings:?}");
        }
    }

    #[test]
    fn the_evidence_names_each_line_without_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let mut project = project(dir.path());
        let config = dir.path().join("pgharness.toml");
        fs::write(&config, "[postgres]\nurl = \"postgres://u:hunter2@h/db\"\n").unwrap();
        fs::write(
            project.migrations.dir.join("0001_a.sql"),
            "select 1;\n  alter role a password 'hunter2';\n",
        )
        .unwrap();
        project.file = Some(config);
        let findings = findings(&project);
        let seen: Vec<_> = findings
            .iter()
            .map(|finding| {
                (finding.severity, finding.evidence[0].sql.as_str(), finding.evidence[0].result.as_str())
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Severity::Error, "migrations/0001_a.sql line 2", "alter role a password '***';"),
                (Severity::Warning, "pgharness.toml line 2", "url = \"postgres://u:***@h/db\""),
            ]
        );
    }

    #[test]
    fn without_any_file_there_is_nothing_to_pass() {
        assert!(matches!(look(&Project::default()).unwrap(), Verdict::Skipped(_)));
    }
}
