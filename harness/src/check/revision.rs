//! A revision of the project, as git has it: only read.

use super::databases::absolute;
use super::project::Project;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::process::{Finished, Program};
use crate::script::hide_passwords;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// So many lines of a difference are shown.
const LINES_MAX: usize = 16;

/// A revision of the project's repository.
#[derive(Debug)]
pub(super) struct Revision {
    name: String,
    /// The folder of the repository.
    root: PathBuf,
}

/// Files of a revision, in a folder that goes with this.
#[derive(Debug)]
pub(super) struct Export {
    dir: TempDir,
    root: PathBuf,
}

impl Revision {
    /// The revision `name` of the repository that the project lies in.
    ///
    /// # Errors
    /// There is no git, no repository, or no such revision in it.
    pub(super) async fn of(project: &Project, name: &str) -> Result<Revision> {
        let dir = canonical(&absolute(&project.dir)?);
        let failed = || format!("failed to find the repository of `{}`", dir.display());
        let found = git(&dir, ["rev-parse", "--show-toplevel"]).await?.check(ErrorKind::Usage, failed)?;
        let root = canonical(Path::new(&found.text()));
        let wanted = format!("{name}^{{commit}}");
        let asked = ["rev-parse", "--quiet", "--verify", "--end-of-options", &wanted];
        if !git(&root, asked).await?.status.success() {
            let message = format!("there is no revision `{name}` in `{}`", root.display());
            return Err(Error::usage(message)
                .with_help("where it was cloned without tags or history: `git fetch --tags --unshallow`"));
        }
        Ok(Revision { name: name.to_owned(), root })
    }

    /// The files and folders at `paths` as they were, checked out as git would here; those that were not there are not.
    ///
    /// # Errors
    /// One is not of the repository, or a file cannot be written.
    pub(super) async fn export(&self, paths: &[PathBuf]) -> Result<Export> {
        let export = Export {
            dir: tempfile::tempdir()
                .attempt(ErrorKind::Environment, || "failed to create a folder".into())?,
            root: self.root.clone(),
        };
        let mut asked = vec!["ls-tree".into(), "-r".into(), "-z".into(), "--name-only".into()];
        asked.extend(["--full-tree".into(), self.name.clone(), "--".into()]);
        for path in paths {
            asked.push(self.within(path)?.to_string_lossy().into_owned());
        }
        // The whole of it is asked for by no path.
        asked.retain(|argument| !argument.is_empty());
        let failed = || format!("failed to list the files of revision `{}`", self.name);
        let listed = git(&self.root, asked).await?.check(ErrorKind::Environment, failed)?;
        for file in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            let object = format!("{}:{file}", self.name);
            let failed = || format!("failed to read `{object}`");
            let shown = git(&self.root, ["cat-file", "--filters", &object]).await?;
            let bytes = shown.check(ErrorKind::Environment, failed)?.stdout;
            let path = export.dir.path().join(file);
            let written =
                path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, bytes));
            written.attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))?;
        }
        Ok(export)
    }

    /// What git says of how the file or folder at `path` differs from what it was: the command, and its first lines,
    /// without passwords.
    ///
    /// # Errors
    /// It is not of the repository.
    pub(super) async fn difference(&self, path: &Path) -> Result<(String, String)> {
        let within = self.within(path)?.display().to_string();
        let finished =
            git(&self.root, ["diff", "--no-color", "--no-ext-diff", &self.name, "--", &within]).await?;
        let text = finished.text();
        let is_header = |line: &&str| !line.starts_with("diff ") && !line.starts_with("index ");
        let mut lines: Vec<String> = text.lines().filter(is_header).map(hide_passwords).collect();
        if lines.len() > LINES_MAX {
            lines.truncate(LINES_MAX);
            lines.push("…".into());
        }
        if lines.is_empty() {
            lines.push("nothing: git does not keep it yet".into());
        }
        Ok((format!("git diff {} -- {within}", self.name), lines.join("\n")))
    }

    /// How people name the revision.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The folders from the repository's own down to that of `path`.
    pub(super) fn folders_to(&self, path: &Path) -> Vec<PathBuf> {
        let path = canonical(path);
        path.ancestors().filter(|dir| dir.starts_with(&self.root)).map(Path::to_owned).collect()
    }

    fn within(&self, path: &Path) -> Result<PathBuf> {
        within(&self.root, path)
    }
}

impl Export {
    /// Where what lies at `path` in the project lies here; there may be nothing.
    ///
    /// # Errors
    /// It is not of the repository.
    pub(super) fn path(&self, path: &Path) -> Result<PathBuf> {
        Ok(self.dir.path().join(within(&self.root, path)?))
    }
}

/// `path` within the repository at `root`.
fn within(root: &Path, path: &Path) -> Result<PathBuf> {
    let path = canonical(path);
    path.strip_prefix(root).map(Path::to_owned).map_err(|_| {
        Error::usage(format!("`{}` is not of the repository `{}`", path.display(), root.display()))
    })
}

/// `path` without links, as far as it is there.
fn canonical(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(canonical), _, _) => canonical,
        (Err(_), Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path.to_owned(),
    }
}

async fn git<A: AsRef<OsStr>>(dir: &Path, arguments: impl IntoIterator<Item = A>) -> Result<Finished> {
    let program = Program::new("git")
        .args(arguments)
        .current_dir(dir)
        // It is to write nothing, not even what would make it faster the next time, and to ask nobody.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    program.run_async().await
}
