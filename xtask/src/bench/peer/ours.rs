//! Ours, as tests use it.

use super::{Tests, WRITE};
use crate::bench::measure::runtime;
use pgharness::sqlx::Executor;
use pgharness::{Result, Template};

/// How a test reaches its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Way {
    /// By a pool, as a test of `sqlx::test` does.
    Pool,
    /// By a connection.
    Connection,
}

/// Runs tests until there are no more, each in a runtime of its own, as test runners do.
pub(in crate::bench) fn run(template: &Template, way: Way, tests: &Tests) -> Result<()> {
    while tests.next().is_some() {
        runtime()?.block_on(async {
            let db = template.get().await?;
            match way {
                Way::Pool => db.pool().await?.execute(WRITE).await?,
                Way::Connection => db.connection().await?.execute(WRITE).await?,
            };
            Ok::<_, pgharness::Error>(())
        })?;
    }
    Ok(())
}
