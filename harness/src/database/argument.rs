//! What a test function can ask for.

use super::test_db::TestDb;
use crate::error::Result;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};

/// What the function under `#[pgharness::test]` can have as an argument.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a test cannot ask for `{Self}`",
    label = "not one of `PgPool`, `PoolConnection<Postgres>`, `PgPoolOptions`, `PgConnectOptions`, `TestDb` and `&TestDb`",
    note = "types of sqlx are those of sqlx 0.9, which is `pgharness::sqlx`: a crate with another version of sqlx asks for \
            `TestDb`, and connects its own pool to `db.url()`"
)]
pub trait Argument: Sized {
    /// The argument of a test that has this database.
    #[expect(async_fn_in_trait, reason = "called by the macro alone, on one thread")]
    async fn of(db: &TestDb) -> Result<Self>;
}

impl Argument for PgPool {
    async fn of(db: &TestDb) -> Result<PgPool> {
        db.pool().await
    }
}

impl Argument for PoolConnection<Postgres> {
    async fn of(db: &TestDb) -> Result<PoolConnection<Postgres>> {
        Ok(db.pool().await?.acquire().await?)
    }
}

impl Argument for PgPoolOptions {
    async fn of(_: &TestDb) -> Result<PgPoolOptions> {
        Ok(TestDb::pool_options())
    }
}

impl Argument for PgConnectOptions {
    async fn of(db: &TestDb) -> Result<PgConnectOptions> {
        Ok(db.options())
    }
}

impl Argument for TestDb {
    async fn of(db: &TestDb) -> Result<TestDb> {
        Ok(db.share())
    }
}
