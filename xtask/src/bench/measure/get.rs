//! What one database costs a test, beside the same done by hand.

use super::{Measure, ms, runtime};
use crate::bench::figure::Figure;
use crate::bench::samples::Samples;
use pgharness::sqlx::{self, AssertSqlSafe, Connection, Executor};
use pgharness::wait::{self, Look};
use pgharness::{Result, Template};
use std::time::{Duration, Instant};

/// So many clones are made ahead, if nobody asks for another number.
const AHEAD: i64 = 4;

/// A clone that is ready, from `get` to the first answer, beside a rename, a connection and a query; and a database that
/// was put back, with the connection that did so, beside the connection and the query alone.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let (fresh, recycled) = (bench.recipe().with_recycling(false).build(), bench.template());
    runtime()?.block_on(async {
        let (server, source) = fresh.build().await?;
        let mut control = server.connect("postgres").await?;
        // Clones are made ahead from the second order on, as many more as were asked for before.
        for _ in 0..=AHEAD {
            drop(fresh.get().await?);
        }
        let mut last = String::new();
        let (mut ready, mut opened, mut renamed, mut connected) =
            <(Samples, Samples, Samples, Samples)>::default();
        for run in 0..bench.runs * 4 {
            wait_until_calm(&mut control, &last).await?;
            ready.push(first_answer(&fresh, &mut last).await?);

            // One whose session did not leave in time is dropped instead.
            while wait_until_calm(&mut control, &last).await? == 0 {
                first_answer(&recycled, &mut last).await?;
            }
            opened.push(first_answer(&recycled, &mut last).await?);

            wait_until_calm(&mut control, &last).await?;
            let (new, name) = (format!("raw_new_{run}"), format!("raw_{run}"));
            let create = format!("create database {new} template {source} strategy file_copy");
            control.execute(AssertSqlSafe(create)).await?;
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

/// How long a database takes from `get` to the first answer, in milliseconds. Tells its name.
async fn first_answer(template: &Template, name: &mut String) -> Result<f64> {
    let started = Instant::now();
    let db = template.get().await?;
    db.connection().await?.execute("select 1").await?;
    let answer_ms = ms(started);
    db.name().clone_into(name);
    Ok(answer_ms)
}

/// Waits until as many clones lie ready as are made ahead (or one more, where two makers saw the last one missing), the
/// database `last` is dropped or put back, by which it gets another name, and nobody works. Says how many were put
/// back: those have a connection each, and those that are ready have none.
async fn wait_until_calm(control: &mut sqlx::PgConnection, last: &str) -> Result<i64> {
    wait::until_async("clones to be ready and the server to be idle", Duration::from_secs(30), async || {
        let sql = "select count(*) filter (where sessions = 0), count(*) filter (where sessions > 0),
                          count(*) filter (where datname = $1),
                          (select count(*) from pg_stat_activity
                           where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid())
                   from (select datname, (select count(*) from pg_stat_activity a where a.datid = d.oid) as sessions
                         from pg_database d where datname like 'pgh\\_c\\_%') clones";
        let (ready, put_back, last, busy): (i64, i64, i64, i64) =
            sqlx::query_as(sql).bind(last).fetch_one(&mut *control).await?;
        Ok(if ready >= AHEAD && last == 0 && busy == 0 {
            Look::Ready(put_back)
        } else {
            Look::NotYet(format!("{ready} ready, {put_back} put back or in use, {busy} sessions busy"))
        })
    })
    .await
}
