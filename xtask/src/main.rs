//! This repository's own commands.

mod leak_hunt;

use clap::Parser;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(about = "This repository's own commands")]
enum Command {
    /// Kills participants and servers at random moments, and counts what is left of them.
    LeakHunt(leak_hunt::LeakHunt),
    /// What the hunt starts and kills.
    #[command(hide = true)]
    Participant(pgharness_tests::Participant),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::LeakHunt(hunt) => hunt.run(),
        Command::Participant(participant) => participant.run(),
    }
}
