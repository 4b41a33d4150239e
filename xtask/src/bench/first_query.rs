//! A program that gets one database, asks it something and says how long that took: started for every sample.

use clap::Args;
use pgharness::sqlx::{Executor, query_scalar};
use pgharness::{Result, Template};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Gets one database of a workspace and asks it something.
#[derive(Debug, Args)]
pub(crate) struct FirstQuery {
    /// The workspace.
    workspace: PathBuf,
    /// Its migrations.
    migrations: PathBuf,
}

impl FirstQuery {
    pub(crate) fn run(&self) -> ExitCode {
        match self.measure() {
            Ok(report) => {
                super::say(&report);
                ExitCode::SUCCESS
            }
            Err(error) => {
                #[expect(clippy::print_stderr, reason = "the edge of the program")]
                {
                    eprintln!("{error:?}");
                }
                ExitCode::FAILURE
            }
        }
    }

    /// Milliseconds until the server was there, until the database was, until it answered, and the template's
    /// object id, by which one tells whether it was built anew.
    fn measure(&self) -> Result<String> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                pgharness::Error::new(pgharness::ErrorKind::Environment, "failed to make a runtime")
                    .with_source(error)
            })?;
        let template = Template::builder(&self.workspace).with_migrations(&self.migrations).build();
        runtime.block_on(async {
            let started = Instant::now();
            let server = template.server().await?;
            let server_ms = ms(started);
            let mut connection = server.connect("postgres").await?;
            connection.execute("select 1").await?;
            let first_query_ms = ms(started);
            let got = Instant::now();
            let db = template.get().await?;
            let get_ms = ms(got);
            db.connection().await?.execute("select 1").await?;
            let opened_ms = ms(got);
            let oid: i64 = query_scalar("select oid::int8 from pg_database where datname like 'pgh\\_t\\_%'")
                .fetch_one(&mut connection)
                .await?;
            Ok(format!("{server_ms} {first_query_ms} {get_ms} {opened_ms} {oid}"))
        })
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
