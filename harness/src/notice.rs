//! What the harness tells people outside its command line: the only file, besides `cli`, that prints.

use crate::env;
use crate::error::Error;

/// Says where a kept database is: first what opens it at any time, if it outlives its server. Goes to standard
/// error, where a failed test's output is shown.
#[expect(clippy::print_stderr, reason = "this is the file that may print")]
pub(crate) fn kept(database: &str, test: &str, url: &str, outlives_server: bool) {
    eprintln!("pgharness: kept database `{database}` of `{test}`");
    if outlives_server {
        eprintln!("  pgharness psql {database}\n  or, while its server runs: psql \"{url}\"");
    } else {
        eprintln!("  psql \"{url}\"");
    }
}

/// Says why a database was dropped instead of put back, to whoever asks for that.
pub(crate) fn dropped(database: &str, why: &Error) {
    if env::EXPLAIN.switch().unwrap_or(true) {
        warn(&format!("`{database}` was dropped: {}", why.report()));
    }
}

/// Says that a test did not run for want of something, and how to make that a failure.
#[expect(clippy::print_stderr, reason = "this is the file that may print")]
pub fn skipped(what: &str, reason: &str) {
    eprintln!("pgharness: skipped, {reason} (PGHARNESS_REQUIRE={what} makes this a failure)");
}

/// Says something that the user should know and that stops nothing.
#[expect(clippy::print_stderr, reason = "this is the file that may print")]
pub(crate) fn warn(message: &str) {
    eprintln!("pgharness: {message}");
}
