//! A command of the project that works on a database.

use super::failure::Purpose;
use super::target;
use crate::digest::Hasher;
use crate::error::{Attempt, Error, OUTPUT, Result};
use crate::process::Program;
use crate::wait::Patience;
use sqlx::postgres::PgConnectOptions;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many of a failing command's last lines are shown.
const TAIL: usize = 20;

/// Folders that hold what programs made, not what people wrote.
const MADE: &[&str] = &["target", "node_modules", "__pycache__", "venv"];

/// A command line that is run with a database's URL in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    line: String,
    dir: PathBuf,
    deadline: Duration,
}

impl CommandLine {
    pub(crate) fn new(line: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        CommandLine { line: line.into(), dir: dir.into(), deadline: Duration::from_secs(600) }
    }

    #[must_use]
    pub(crate) fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs it to its end, with `path` as its `PATH` where one is given. If the future is dropped the command is
    /// killed with its descendants.
    ///
    /// # Errors
    /// It cannot be started, fails, or is not done by the deadline; its last lines are told, without the password.
    pub(crate) async fn run(
        &self,
        purpose: Purpose,
        options: &PgConnectOptions,
        path: Option<OsString>,
    ) -> Result<()> {
        let what = format!("`{}` on database `{}`", self.line, target::database_name(options));
        if !self.dir.is_dir() {
            let message =
                format!("failed to run {purpose} command {what}: `{}` is no folder", self.dir.display());
            return Err(Error::new(purpose.kind(), message));
        }
        let mut output = tempfile::tempfile()
            .attempt(purpose.kind(), || "failed to create a file for the output of a command".into())?;
        let copy = output.try_clone().attempt(purpose.kind(), || "failed to copy a descriptor".into())?;
        let mut program = Program::shell(&self.line).current_dir(&self.dir).ends_with_us().output(copy);
        for (name, value) in target::environment(options, path) {
            program = program.env(name, value);
        }
        let mut running = program.start()?;
        let patience = Patience::new(what.as_str(), self.deadline);
        let ended = loop {
            match running.try_status()? {
                Some(status) => break Ok(status),
                None => {
                    if let Err(error) = patience.not_yet("still running").await {
                        break Err(error);
                    }
                }
            }
        };
        let status = match ended {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        drop(running);
        let mut bytes = Vec::new();
        output
            .rewind()
            .and_then(|()| output.read_to_end(&mut bytes))
            .attempt(purpose.kind(), || "failed to read the output of a command".into())?;
        let message = format!("{purpose} command {what} failed: {status}{}", last_lines(&bytes, options));
        Err(Error::new(purpose.kind(), message))
    }

    /// Adds all that shapes what it does, as far as it can be known: the line, and every file below its folder
    /// but those in hidden folders and in folders that programs make (`target`, `node_modules`, …).
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn add_to(&self, hasher: &mut Hasher, purpose: Purpose) -> Result<()> {
        hasher.add("command", &self.line);
        let mut files = Vec::new();
        files_below(&self.dir, &mut files)
            .attempt(purpose.kind(), || format!("failed to list the files below `{}`", self.dir.display()))?;
        files.sort();
        for path in files {
            let inside = path.strip_prefix(&self.dir).unwrap_or(&path);
            let bytes =
                fs::read(&path).attempt(purpose.kind(), || format!("failed to read `{}`", path.display()))?;
            hasher.add("path", inside.as_os_str().as_encoded_bytes());
            hasher.add("file", bytes);
        }
        Ok(())
    }
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // The kind of what a link leads to: a linked file counts, a link in a circle must not.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !name.starts_with('.') && !MADE.contains(&name.as_ref()) {
                files_below(&entry.path(), found)?;
            }
        } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The last lines of the output of a command that worked on the database of `options`, indented, without the
/// password.
pub(crate) fn last_lines(output: &[u8], options: &PgConnectOptions) -> String {
    tail(output, target::password(options).as_deref())
}

/// The server's details are left out too: they show rows.
fn tail(bytes: &[u8], secret: Option<&str>) -> String {
    let mut text = String::from_utf8_lossy(bytes).trim_end().to_owned();
    if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("DETAIL:")).collect();
    let skipped = lines.len().saturating_sub(TAIL);
    let mut shown = String::new();
    for line in &lines[skipped..] {
        shown.push('\n');
        shown.push_str(OUTPUT);
        shown.push_str(line);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_hides_the_password_and_rows() {
        let text: String = (0..30).map(|line| format!("line {line} hunter2\n")).collect();
        let shown = tail(text.as_bytes(), Some("hunter2"));
        assert_eq!(shown.lines().count(), TAIL + 1);
        assert!(shown.ends_with("\n  | line 29 ***"), "{shown}");
        let shown = tail(b"ERROR:  duplicate key\nDETAIL:  Key (email)=(a@b) already exists.\n", None);
        assert_eq!(shown, "\n  | ERROR:  duplicate key");
    }

    #[test]
    fn every_file_below_the_folder_counts() {
        let dir = tempfile::tempdir().unwrap();
        let digest = || {
            let mut hasher = Hasher::new("test");
            CommandLine::new("true", dir.path()).add_to(&mut hasher, Purpose::Migration).unwrap();
            hasher.finish()
        };
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::create_dir_all(dir.path().join("target")).unwrap();
        let empty = digest();
        fs::write(dir.path().join("a/b/c.py"), "1").unwrap();
        let one = digest();
        assert_ne!(empty, one);
        fs::write(dir.path().join("target/x"), "1").unwrap();
        assert_eq!(digest(), one);
        fs::write(dir.path().join("a/b/c.py"), "2").unwrap();
        assert_ne!(digest(), one);
    }
}
