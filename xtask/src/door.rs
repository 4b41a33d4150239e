//! The commands of `pgharness`, on this repository unless a configuration is named.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Where `verify` leaves its report for machines and as a page, within the repository.
const REPORTS: [&str; 2] = ["target/pgharness/report.json", "target/pgharness/report.html"];

pub(crate) fn open(mut arguments: Vec<OsString>) -> ExitCode {
    let has = |name: &str| {
        arguments.iter().filter_map(|argument| argument.to_str()).any(|argument| argument.starts_with(name))
    };
    if !has("--config") && !Path::new("pgharness.toml").is_file() {
        // From a folder further down the repository is meant too. Without the right to go there the error says
        // what is missing.
        let _ = std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    }
    if arguments.first().is_some_and(|command| command == "verify") && !has("--report") {
        arguments.extend(REPORTS.into_iter().flat_map(|file| ["--report".into(), file.into()]));
    }
    pgharness::cli::run(std::iter::once(OsString::from("cargo xtask")).chain(arguments))
}
