//! `postgresql_embedded`: a server per test, from an archive or, as here, from an installation.

use super::{installation, peer_failed, settings};
use crate::bench::measure::{ms, runtime};
use pgharness::Result;
use pgharness::sqlx::{Connection, Executor, PgConnection};
use postgresql_embedded::{PostgreSQL, SettingsBuilder};
use std::path::Path;
use std::time::{Duration, Instant};

const NAME: &str = "postgresql_embedded";

/// Milliseconds until its first answer, and those of them that `initdb` took.
pub(in crate::bench) fn first_query_ms(dir: &Path) -> Result<[f64; 2]> {
    let installation = installation()?;
    let home = installation.bin().parent().unwrap_or(installation.bin());
    let dir =
        tempfile::Builder::new().prefix("e-").tempdir_in(dir).map_err(|error| peer_failed(NAME, error))?;
    runtime()?.block_on(async {
        let started = Instant::now();
        let settings = SettingsBuilder::new()
            .installation_dir(home)
            .trust_installation_dir(true)
            .data_dir(dir.path().join("data"))
            .password_file(dir.path().join("password"))
            // The default folder for sockets may be closed to us.
            .socket_dir(dir.path())
            .configuration(settings().into_iter().collect())
            .timeout(Some(Duration::from_secs(60)))
            .build();
        let mut server = PostgreSQL::new(settings);
        server.setup().await.map_err(|error| peer_failed(NAME, error))?;
        let initdb_ms = ms(started);
        server.start().await.map_err(|error| peer_failed(NAME, error))?;
        let mut connection = PgConnection::connect(&server.settings().url("postgres")).await?;
        connection.execute("select 1").await?;
        let whole_ms = ms(started);
        let _ = connection.close().await;
        server.stop().await.map_err(|error| peer_failed(NAME, error))?;
        Ok([whole_ms, initdb_ms])
    })
}
