//! What the proxy adds to a round trip.

use super::{Measure, runtime};
use crate::bench::figure::Figure;
use crate::bench::samples::Samples;
use pgharness::Result;
use pgharness::sqlx::{self, ConnectOptions, PgConnection};
use pgharness::wire::{Address, PassAll, Proxy};
use std::time::Instant;

/// Round trips by way of the proxy and directly, in turn.
pub(super) fn measure(bench: &Measure) -> Result<Vec<Figure>> {
    let template = bench.template();
    runtime()?.block_on(async {
        let db = template.get().await?;
        let proxy = Proxy::start(Address::of(&db.options()), |_| PassAll).await?;
        let mut through = proxy.options(&db.options()).connect().await?;
        let mut direct = db.options().connect().await?;
        // Prepares the statement, too.
        for _ in 0..100 {
            trip_us(&mut through).await?;
            trip_us(&mut direct).await?;
        }
        let (mut ours, mut theirs) = <(Samples, Samples)>::default();
        for _ in 0..bench.runs * 200 {
            ours.push(trip_us(&mut through).await?);
            theirs.push(trip_us(&mut direct).await?);
        }
        Ok(vec![ours.extra("wire.extra_us", "us", "direct", &theirs)])
    })
}

async fn trip_us(connection: &mut PgConnection) -> Result<f64> {
    let started = Instant::now();
    sqlx::query("select 1").execute(connection).await?;
    Ok(started.elapsed().as_secs_f64() * 1e6)
}
