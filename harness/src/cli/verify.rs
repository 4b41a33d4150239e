//! `pgharness verify`: everything, one report.

use super::{Answer, check};
use crate::error::Result;
use crate::report::Colour;
use clap::Args;

/// Runs everything, for one report.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    project: check::Project,
}

pub(super) fn run(arguments: &Arguments, colour: Colour) -> Result<Answer> {
    check::battery(&arguments.project, &[], colour)
}
