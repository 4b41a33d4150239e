//! A participant as a program of its own.

use clap::Parser;

fn main() -> std::process::ExitCode {
    pgharness_tests::Participant::parse().run()
}
