//! `pgharness init`: a commented `pgharness.toml`, from what is in a folder and what its migrations make.

mod compose;
mod file;
mod folder;
mod growth;
mod lacking;
mod meaning;
mod schema;
mod sections;

use super::{Answer, block_on};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::suite::Config;
use crate::suite::config::FILE_NAME;
use clap::Args;
use file::{File, ROLES_FILE};
use folder::Folder;
use growth::{Growth, roles_sql};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a commented `pgharness.toml` for the project in this folder.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The project's folder; without it this one.
    #[arg(value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// Replaces a `pgharness.toml` that is there.
    #[arg(long)]
    force: bool,
    /// Prints it, and writes nothing.
    #[arg(long)]
    stdout: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let [path, roles] = [FILE_NAME, ROLES_FILE].map(|name| arguments.dir.join(name));
    let path = path.strip_prefix(".").unwrap_or(&path);
    let is_free = |path: &Path| !path.exists() || arguments.force || arguments.stdout;
    if !is_free(path) {
        return Err(occupied(path));
    }
    let folder = Folder::look(&arguments.dir)?;
    // Built as the file says, so that what is written is what was tried.
    let first = File::of(&folder, None).text;
    let migrations = folder.migrations(&arguments.dir);
    let growth = block_on(Growth::of(Config::read(path, &first)?, migrations.as_deref()))?;
    let file = File::of(&folder, Some(&growth));
    // Nobody is left with a file that cannot be read.
    Config::read(path, &file.text)?;
    if arguments.stdout {
        return Ok(Answer { text: file.text, exit_code: 0 });
    }
    if !growth.roles.is_empty() {
        if !is_free(roles.as_path()) {
            return Err(occupied(&roles));
        }
        write(
            &roles,
            &format!(
                "-- Written by `pgharness init`: roles that the migrations name.\n{}",
                roles_sql(&growth.roles)
            ),
        )?;
    }
    write(path, &file.text)?;
    let mut said = format!("`{}` written\n", path.display());
    for (sign, lines) in [("+", file.found), ("-", file.missing)] {
        said.extend(lines.iter().map(|line| format!("{sign} {line}\n")));
    }
    said.push_str("read it, then run `pgharness check`\n");
    Ok(Answer { text: said, exit_code: 0 })
}

fn occupied(path: &Path) -> Error {
    Error::usage(format!("`{}` is there already", path.display()))
        .with_help("`--stdout` shows what would be written, `--force` replaces it")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))
}
