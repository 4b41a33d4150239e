//! `pgtemp`: a server per test, as fast as `initdb` allows.

use super::{installation, peer_failed, settings};
use crate::bench::measure::{ms, runtime};
use ::pgtemp::PgTempDBBuilder;
use pgharness::process::Program;
use pgharness::sqlx::{Connection, Executor, PgConnection};
use pgharness::wait::{self, Look};
use pgharness::{ErrorKind, Result};
use std::path::Path;
use std::time::{Duration, Instant};

/// Milliseconds until its first answer. It comes back before its server takes connections, so one tries again.
pub(in crate::bench) fn first_query_ms(dir: &Path) -> Result<f64> {
    let installation = installation()?;
    runtime()?.block_on(async {
        let started = Instant::now();
        let mut builder = PgTempDBBuilder::new().with_bin_path(installation.bin()).with_data_dir_prefix(dir);
        for (name, value) in settings() {
            builder = builder.with_config_param(&name, &value);
        }
        let server = builder.start_async().await;
        let url = server.connection_uri();
        let mut connection =
            wait::until_async("pgtemp's server to answer", Duration::from_secs(30), async || {
                Ok(match PgConnection::connect(&url).await {
                    Ok(connection) => Look::Ready(connection),
                    Err(error) => Look::NotYet(error.to_string()),
                })
            })
            .await?;
        connection.execute("select 1").await?;
        let whole_ms = ms(started);
        let _ = connection.close().await;
        server.shutdown();
        Ok(whole_ms)
    })
}

/// Milliseconds that its `initdb` takes: the same command, run alone.
pub(in crate::bench) fn initdb_ms(dir: &Path) -> Result<f64> {
    let failed = |error: std::io::Error| peer_failed("initdb", error);
    let dir = tempfile::Builder::new().prefix("i-").tempdir_in(dir).map_err(failed)?;
    std::fs::write(dir.path().join("password"), "password").map_err(failed)?;
    let started = Instant::now();
    Program::new(installation()?.program("initdb"))
        .arg("-D")
        .arg(dir.path().join("data"))
        .args(["-N", "--username", "postgres", "--pwfile"])
        .arg(dir.path().join("password"))
        .run()?
        .check(ErrorKind::Environment, || "failed to run `initdb`".into())?;
    Ok(ms(started))
}
