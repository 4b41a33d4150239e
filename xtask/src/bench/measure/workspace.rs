//! Programs that get a server or a database, ask it something and say how long that took.

use super::{ms, runtime};
use clap::Args;
use pgharness::sqlx::{Executor, query_scalar};
use pgharness::{Result, Template};
use std::path::PathBuf;
use std::time::Instant;

/// A workspace with its migrations.
#[derive(Debug, Args)]
pub(crate) struct Workspace {
    /// The workspace.
    workspace: PathBuf,
    /// Its migrations.
    migrations: PathBuf,
}

impl Workspace {
    fn template(&self) -> Template {
        Template::builder(&self.workspace).with_migrations(&self.migrations).build()
    }

    /// Milliseconds until the server answered, and the template's object id, by which one tells whether it was
    /// built anew.
    pub(super) fn first_query(&self) -> Result<String> {
        let template = self.template();
        runtime()?.block_on(async {
            let started = Instant::now();
            let server = template.server().await?;
            let mut connection = server.connect("postgres").await?;
            connection.execute("select 1").await?;
            let first_query_ms = ms(started);
            template.build().await?;
            let oid: i64 = query_scalar("select oid::int8 from pg_database where datname like 'pgh\\_t\\_%'")
                .fetch_one(&mut connection)
                .await?;
            Ok(format!("{first_query_ms} {oid}"))
        })
    }

    /// Milliseconds until a database answered.
    pub(super) fn first_database(&self) -> Result<f64> {
        let template = self.template();
        runtime()?.block_on(async {
            let started = Instant::now();
            let db = template.get().await?;
            db.connection().await?.execute("select 1").await?;
            Ok(ms(started))
        })
    }

    /// Milliseconds until the template was there.
    pub(super) fn build_template(&self) -> Result<f64> {
        let template = self.template();
        runtime()?.block_on(async {
            let started = Instant::now();
            template.build().await?;
            Ok(ms(started))
        })
    }
}
