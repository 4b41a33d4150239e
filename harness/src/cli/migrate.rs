//! `pgharness migrate`: the job of a Compose service or a Helm hook, and what a check starts several of.

use super::target::Job;
use super::{Answer, block_on};
use crate::error::Result;

pub(super) fn run(arguments: &Job) -> Result<Answer> {
    let loaded = arguments.source.load()?;
    let options = arguments.target.options()?;
    let applied = block_on(async { loaded.runner().apply(&options).await })?;
    let text = match (loaded.migrations.command_line(), applied.applied.is_empty()) {
        (Some(line), _) => format!("`{line}` ran\n"),
        (None, true) => format!("nothing is pending: {} applied before\n", applied.already),
        (None, false) => applied.applied.iter().map(|one| format!("{}\n", one.name)).collect(),
    };
    Ok(Answer { text, exit_code: 0 })
}
