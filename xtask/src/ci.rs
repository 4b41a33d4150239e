//! What CI runs besides the tests.

use pgharness::process::Program;
use pgharness::{Error, ErrorKind, Result};
use std::time::Duration;

/// A step of CI: its name, and the cargo command.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    (
        "lints",
        &["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "--deny", "warnings"],
    ),
    (
        "lints of a dev-dependency",
        &["clippy", "--package", "pgharness", "--quiet", "--", "--deny", "warnings"],
    ),
    ("documentation", &["doc", "--workspace", "--no-deps", "--all-features", "--quiet"]),
    ("floors", &["test", "--package", "pgharness-tests", "--test", "it", "--quiet", "--", "floors::"]),
    ("dependencies", &["deny", "--all-features", "check", "bans", "licenses", "sources"]),
];

/// Features that somebody may switch on alone; the others are parts of these.
const ALONE: &[&str] = &["checks", "container", "contracts", "load", "tls"];

/// Runs all steps, the later ones too when an earlier one fails.
pub(crate) fn run() -> Result<()> {
    let steps = STEPS.iter().map(|(name, arguments)| ((*name).to_owned(), arguments.to_vec()));
    let alone = ALONE.iter().map(|feature| {
        let arguments = vec![
            "check",
            "--package",
            "pgharness",
            "--no-default-features",
            "--features",
            *feature,
            "--quiet",
        ];
        (format!("the feature `{feature}` alone"), arguments)
    });
    let mut failed = Vec::new();
    for (name, arguments) in steps.chain(alone) {
        say(&format!("== {name}: cargo {}", arguments.join(" ")));
        let finished = Program::new("cargo")
            .args(arguments)
            .env("RUSTDOCFLAGS", "--deny warnings")
            .deadline(Duration::from_secs(3600))
            .run()?;
        if !finished.status.success() {
            say(&finished.text());
            say(&finished.complaint());
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Usage, format!("failed: {}", failed.join(", ")));
    Err(error.with_help("`cargo deny` comes with `cargo install --locked cargo-deny`"))
}

#[expect(clippy::print_stdout, reason = "a command's own output")]
fn say(text: &str) {
    if !text.is_empty() {
        println!("{text}");
    }
}
