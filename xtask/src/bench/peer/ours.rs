//! Ours, as tests use it.

use super::Tests;
use crate::bench::measure::runtime;
use pgharness::sqlx::{AssertSqlSafe, Executor};
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
        let write = AssertSqlSafe(tests.write.as_str());
        runtime()?.block_on(async {
            let db = template.get().await?;
            match way {
                Way::Pool => db.pool().await?.execute(write).await?,
                Way::Connection => db.connection().await?.execute(write).await?,
            };
            Ok::<_, pgharness::Error>(())
        })?;
    }
    Ok(())
}
