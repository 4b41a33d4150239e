//! `pgharness verify`: everything, one report.

use super::check;
use crate::error::Result;
use clap::Args;

/// Runs everything, for one report.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: check::Project,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    check::battery(&arguments.project, &[])
}
