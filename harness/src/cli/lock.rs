//! `pgharness lock`: the migrations of a release, which stay as they are from then on.

use super::{Answer, check};
use crate::check::{Context, Locked, lock};
use crate::error::Result;
use clap::Args;

/// Adds the migrations that may be applied somewhere from now on to `migrations.lock`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: check::Project,
    /// Writes the file anew, whatever it says of migrations that were edited, removed or renumbered.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let context = Context::new(arguments.project.load()?.project()?);
    let Locked { file, added, changed } = lock(&context, arguments.force)?;
    let file = file.strip_prefix(".").unwrap_or(&file).display();
    let lines = changed
        .iter()
        .map(|name| format!("! {name}\n"))
        .chain(added.iter().map(|name| format!("+ {name}\n")));
    let end = match added.is_empty() && changed.is_empty() {
        true => format!("`{file}` has all of them\n"),
        false => format!("`{file}` written\n"),
    };
    Ok(Answer { text: lines.chain([end]).collect(), exit_code: 0 })
}
