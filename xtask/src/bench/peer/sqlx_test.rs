//! `sqlx::test`: a new database and all migrations again for every test.

use super::{Tests, WRITE, peer_failed};
use crate::bench::measure::runtime;
use pgharness::Result;
use pgharness::sqlx::migrate::Migrator;
use pgharness::sqlx::testing::{TestArgs, TestFn};
use pgharness::sqlx::{self, Executor, PgPool};
use std::path::Path;

/// The migrations, as the macro embeds them in a program: they are not read while tests run.
pub(in crate::bench) fn migrator(dir: &Path) -> Result<&'static Migrator> {
    let migrator = runtime()?.block_on(Migrator::new(dir)).map_err(|error| peer_failed("sqlx", error))?;
    Ok(Box::leak(Box::new(migrator)))
}

/// Runs tests until there are no more: what the macro writes down for each, on the server that `DATABASE_URL`
/// names.
pub(in crate::bench) fn run(migrator: &'static Migrator, tests: &Tests) -> Result<()> {
    while let Some(test) = tests.next() {
        let mut arguments = TestArgs::new(Box::leak(format!("suite::test_{test}").into_boxed_str()));
        arguments.migrator(migrator);
        let body: fn(PgPool) -> _ = write;
        TestFn::run_test(body, arguments)?;
    }
    Ok(())
}

async fn write(pool: PgPool) -> sqlx::Result<()> {
    pool.execute(WRITE).await.map(|_| ())
}
