//! The explorer finds what is wrong with clients together, says nothing of what is right, and does the same every time.

mod determinism;
mod drivers;
mod killed;
mod readme;
mod reduction;
mod scenarios;
mod shapes;

use pgharness::explore::{Access, Explorer};
use pgharness::{Template, template};

static EMPTY: Template = template! {};

/// An exploration that begins every schedule with `setup`, on warm backends.
fn after<T: 'static>(setup: &'static str) -> Explorer<'static, T> {
    Explorer::of(&EMPTY)
        .with_reset(async move |db: Access| {
            let mut connection = db.connection().await?;
            sqlx::raw_sql(setup).execute(&mut connection).await?;
            sqlx::Connection::close(connection).await?;
            Ok(())
        })
        .with_warm_backends()
}

/// The first column of the first row.
async fn ask<T>(db: &Access, sql: &'static str) -> Result<T, pgharness::explore::Failure>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let mut connection = db.connection().await?;
    let value = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    sqlx::Connection::close(connection).await?;
    Ok(value)
}
