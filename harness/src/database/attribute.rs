//! What `#[pgharness::test]` expands to a call of.

use super::template::Template;
use super::test_db::TestDb;
use crate::error::Result;
use std::fmt::Debug;
use std::process::{ExitCode, Termination};
use tokio::runtime::{Builder, Runtime};

/// How a test function ended, whatever it returns.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a test cannot return `{Self}`",
    note = "it returns `()`, an `ExitCode`, or a `Result` of what `main` may return"
)]
pub trait TestOutcome {
    /// What the test returned as an error, if it did.
    fn failure(self) -> Option<String>;
}

impl TestOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl TestOutcome for ExitCode {
    fn failure(self) -> Option<String> {
        (self != ExitCode::SUCCESS).then(|| format!("the test returned {self:?}"))
    }
}

impl<T: Termination, E: Debug> TestOutcome for Result<T, E> {
    fn failure(self) -> Option<String> {
        match self {
            Ok(inner) => inner.report().failure(),
            Err(error) => Some(format!("{error:?}")),
        }
    }
}

#[doc(hidden)]
pub fn outcome(outcome: impl TestOutcome) -> Option<String> {
    outcome.failure()
}

/// Runs the body of a test that asks for no database on a runtime of its own.
///
/// # Panics
/// There is no runtime, or the test panics.
#[doc(hidden)]
#[track_caller]
pub fn run_bare<T>(body: impl Future<Output = T>) -> T {
    runtime().block_on(body)
}

#[track_caller]
#[expect(clippy::panic, reason = "the documented test sugar")]
fn runtime() -> Runtime {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("failed to make a runtime: {error}"),
    }
}

/// Runs the body of a test on a runtime of its own, with a database.
///
/// # Panics
/// The database cannot be had, or the test failed: that is how a test runner is told. The panic comes while the
/// database is held, so that it is kept.
#[doc(hidden)]
#[track_caller]
#[expect(clippy::panic, reason = "the documented test sugar")]
pub fn run_test(name: &str, template: &Template, body: impl AsyncFnOnce(&TestDb) -> Result<Option<String>>) {
    let runtime = runtime();
    // The panics come here, not within: the test's place is known here only.
    let db = match runtime.block_on(template.get_for(name)) {
        Ok(db) => db,
        Err(error) => panic!("{error:?}"),
    };
    // The database goes before the runtime does, and its pool's connections need one.
    let _within = runtime.enter();
    match runtime.block_on(body(&db)) {
        Ok(None) => {}
        Ok(Some(failure)) => panic!("{failure}"),
        Err(error) => panic!("{error:?}"),
    }
}
