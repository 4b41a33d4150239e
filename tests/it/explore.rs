//! The explorer finds what is wrong with clients together, says nothing of what is right, and does the same every time.

mod determinism;
mod drivers;
mod killed;
mod readme;
mod reduction;
mod scenarios;
mod shapes;

use pgharness::explore::{Access, Explorer, Failure};
use pgharness::{Template, template};
use sqlx::Connection;

static EMPTY: Template = template! {};

/// An exploration that begins every schedule with `setup`, on warm backends.
fn after<T: 'static>(setup: &'static str) -> Explorer<'static, T> {
    Explorer::of(&EMPTY)
        .with_reset(async move |db: Access| {
            let mut connection = db.connection().await?;
            sqlx::raw_sql(setup).execute(&mut connection).await?;
            connection.close().await?;
            Ok(())
        })
        .with_warm_backends()
}

/// Reads the balance with `read`, then writes it back with 10 more.
fn deposit(read: &'static str) -> impl AsyncFn(Access) -> Result<(), Failure> + Copy + Send + Sync + 'static {
    async move |db: Access| {
        let mut connection = db.connection().await?;
        let mut tx = connection.begin().await?;
        let balance: i32 = sqlx::query_scalar(read).fetch_one(&mut *tx).await?;
        sqlx::query("update account set balance = $1").bind(balance + 10).execute(&mut *tx).await?;
        tx.commit().await?;
        connection.close().await?;
        Ok(())
    }
}

/// The first column of the first row.
async fn ask<T>(db: &Access, sql: &'static str) -> Result<T, Failure>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let mut connection = db.connection().await?;
    let value = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(value)
}
