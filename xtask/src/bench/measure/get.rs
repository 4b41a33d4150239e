//! What one database costs a test, beside the same done by hand.

use super::{Measure, ms, runtime};
use crate::bench::figure::Figure;
use crate::bench::samples::Samples;
use pgharness::sqlx::{self, AssertSqlSafe, Connection, Executor};
use pgharness::wait::{self, Look};
use pgharness::{Result, Template};
use std::time::{Duration, Instant};

/// A clone that is ready, from `get` to the first answer, beside a rename, a connection and a query; and a database that
/// was put back, with the connection that did so, beside the connection and the query alone.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let (fresh, recycled) = (bench.recipe().with_recycling(false).build(), bench.template());
    runtime()?.block_on(async {
        let (server, source) = fresh.build().await?;
        let mut control = server.connect("postgres").await?;
        // The first one starts the makers.
        drop(fresh.get().await?);
        let (mut ready, mut opened, mut renamed, mut connected) =
            <(Samples, Samples, Samples, Samples)>::default();
        for run in 0..bench.runs * 4 {
            wait_until_calm(&mut control, 0).await?;
            ready.push(first_answer(&fresh).await?);

            wait_until_calm(&mut control, 0).await?;
            drop(recycled.get().await?);
            wait_until_calm(&mut control, 1).await?;
            opened.push(first_answer(&recycled).await?);

            let (new, name) = (format!("raw_new_{run}"), format!("raw_{run}"));
            let create = format!("create database {new} template {source} strategy file_copy");
            control.execute(AssertSqlSafe(create)).await?;
            wait_until_calm(&mut control, 1).await?;
            let started = Instant::now();
            control.execute(AssertSqlSafe(format!("alter database {new} rename to {name}"))).await?;
            let connecting = Instant::now();
            let mut connection = server.connect(&name).await?;
            connection.execute("select 1").await?;
            connected.push(ms(connecting));
            renamed.push(ms(started));
            let _ = connection.close().await;
            control.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await?;
        }
        Ok(vec![
            ready.times_better("get.ready_vs_raw", "rename + connect + select", &renamed),
            opened.times_better("get.opened_vs_raw", "connect + select", &connected),
        ])
    })
}

/// How long a database takes from `get` to the first answer, in milliseconds.
async fn first_answer(template: &Template) -> Result<f64> {
    let started = Instant::now();
    let db = template.get().await?;
    db.connection().await?.execute("select 1").await?;
    Ok(ms(started))
}

/// Waits until a clone lies ready and nobody works: neither clones are made nor databases dropped, and those that were
/// put back, at least `spares`, have a connection each.
async fn wait_until_calm(control: &mut sqlx::PgConnection, spares: i64) -> Result<()> {
    wait::until_async("a clone to be ready and the server to be idle", Duration::from_secs(30), async || {
        let sql = "select (select count(*) from pg_database where datname like 'pgh\\_r\\_%' and datconnlimit <> -2),
                          (select count(*) from pg_stat_activity
                           where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()),
                          (select count(*) from pg_database where datname like 'pgh\\_c\\_%'),
                          (select count(*) from pg_stat_activity where datname like 'pgh\\_c\\_%')";
        let (ready, busy, claimed, connected): (i64, i64, i64, i64) =
            sqlx::query_as(sql).fetch_one(&mut *control).await?;
        Ok(if ready > 0 && busy == 0 && claimed == connected && claimed >= spares {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{ready} ready, {claimed} put back or in use, {busy} sessions busy"))
        })
    })
    .await
}
