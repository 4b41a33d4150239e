//! A loop by hand: create from a template, connect, write, drop.

use super::{Tests, wait_until_left};
use crate::bench::measure::runtime;
use pgharness::Result;
use pgharness::sqlx::postgres::PgConnectOptions;
use pgharness::sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// Runs tests until there are no more, over one connection that creates and drops. The template is ours, and its
/// files are copied: byte by byte, or by what the server was told in `preparation`.
pub(in crate::bench) fn run(
    server: &PgConnectOptions,
    template: &str,
    preparation: &'static str,
    tests: &Tests,
) -> Result<()> {
    runtime()?.block_on(async {
        let mut control = server.connect().await?;
        control.execute(preparation).await?;
        while let Some(test) = tests.next() {
            let create = format!("create database raw_{test} template {template} strategy file_copy");
            control.execute(AssertSqlSafe(create)).await?;
            let mut connection = server.clone().database(&format!("raw_{test}")).connect().await?;
            connection.execute(AssertSqlSafe(tests.write.as_str())).await?;
            connection.close().await?;
            wait_until_left(&mut control, &format!("raw_{test}")).await?;
            control.execute(AssertSqlSafe(format!("drop database raw_{test}"))).await?;
        }
        control.close().await?;
        Ok(())
    })
}
