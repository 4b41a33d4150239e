//! How many schedules are explored in a second: two clients of five steps that lose an update, in every order. And how many
//! of them need not be.

use super::{Measure, runtime};
use crate::bench::figure::Figure;
use crate::bench::samples::Samples;
use pgharness::explore::{Access, Explorer, ensure};
use pgharness::sqlx::{self, Connection};
use pgharness::{Result, Template};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const RESET: &str = "drop table if exists account; create table account as select 0 as balance";

/// One rate for each way to take the database back.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    type Set = fn(Explorer<'_>) -> Explorer<'_>;
    let ways: [(&str, Set); 3] = [
        ("explore.clone_per_s", |explorer| explorer),
        ("explore.reset_per_s", |explorer| explorer.with_reset(reset)),
        ("explore.warm_per_s", |explorer| explorer.with_reset(reset).with_warm_backends()),
    ];
    std::fs::write(bench.path("workspace/account.sql"), RESET).map_err(crate::bench::place::failed)?;
    let template = Template::builder(bench.path("workspace")).with_fixtures(["account.sql"]).build();
    let runtime = runtime()?;
    let mut figures = Vec::new();
    for (name, set) in ways {
        let mut rates = Samples::default();
        for _ in 0..bench.rounds(3) {
            rates.push(runtime.block_on(rate(&template, set))?);
        }
        figures.push(Figure { better: "higher".into(), ..rates.figure(name, "1/s") });
    }
    let explorer = lost_update(&template, |_| {}).with_reset(reset).with_warm_backends().with_reduction();
    let found = runtime.block_on(explorer.run())?;
    let (ran, left_out) = (found.coverage().schedules as f64, found.coverage().left_out as f64);
    let mut shares = Samples::default();
    shares.push(100.0 * left_out / (ran + left_out));
    figures.push(Figure { better: "higher".into(), ..shares.figure("explore.left_out_percent", "%") });
    Ok(figures)
}

async fn reset(db: Access) -> std::result::Result<(), pgharness::explore::Failure> {
    let mut connection = db.connection().await?;
    sqlx::raw_sql(RESET).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Two clients that each add to a balance; `noting` hears of the end of each schedule.
fn lost_update(template: &Template, noting: impl Fn(Instant) + Send + Sync + 'static) -> Explorer<'_> {
    let deposit = async |db: Access| {
        let mut connection = db.connection().await?;
        let mut tx = connection.begin().await?;
        let balance: i32 = sqlx::query_scalar("select balance from account").fetch_one(&mut *tx).await?;
        sqlx::query("update account set balance = $1").bind(balance + 10).execute(&mut *tx).await?;
        tx.commit().await?;
        connection.close().await?;
        Ok(())
    };
    Explorer::of(template)
        .client("one", deposit)
        .client("two", deposit)
        .invariant(async move |db, _| {
            let mut connection = db.connection().await?;
            let balance: i32 =
                sqlx::query_scalar("select balance from account").fetch_one(&mut connection).await?;
            connection.close().await?;
            noting(Instant::now());
            ensure(balance == 20, "an update was lost")
        })
        .preemptions(3)
        .with_all_violations()
}

/// Schedules in a second, from the end of the first to the end of the last: starting the server is measured elsewhere.
async fn rate(template: &Template, set: fn(Explorer<'_>) -> Explorer<'_>) -> Result<f64> {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let noted = ends.clone();
    let explorer = lost_update(template, move |end| {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(end);
    });
    let _ = set(explorer).run().await?;
    let ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(match (ends.first(), ends.last()) {
        (Some(first), Some(last)) => (ends.len() - 1) as f64 / last.duration_since(*first).as_secs_f64(),
        _ => f64::NAN,
    })
}
