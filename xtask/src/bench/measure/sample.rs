//! A process that takes one sample and prints it.

use super::suite::Suite;
use super::workspace::Workspace;
use crate::bench::peer;
use clap::Subcommand;
use pgharness::Result;
use std::path::PathBuf;

/// Takes one sample and prints it.
#[derive(Debug, Subcommand)]
pub(crate) enum Sample {
    /// Gets a server and asks it something.
    FirstQuery(Workspace),
    /// Gets a database and asks it something.
    FirstDatabase(Workspace),
    /// Builds a template on a server that is there.
    BuildTemplate(Workspace),
    /// A server of `postgresql_embedded`, below this folder: until its first answer, and `initdb` alone.
    PostgresqlEmbedded { dir: PathBuf },
    /// A server of `pgtemp`, below this folder: until its first answer.
    Pgtemp { dir: PathBuf },
    /// A suite of tests.
    Suite(Suite),
}

impl Sample {
    pub(crate) fn run(&self) -> Result<()> {
        let text = match self {
            Sample::FirstQuery(workspace) => workspace.first_query()?,
            Sample::FirstDatabase(workspace) => workspace.first_database()?.to_string(),
            Sample::BuildTemplate(workspace) => workspace.build_template()?.to_string(),
            Sample::PostgresqlEmbedded { dir } => {
                let [whole_ms, initdb_ms] = peer::postgresql_embedded::first_query_ms(dir)?;
                format!("{whole_ms} {initdb_ms}")
            }
            Sample::Pgtemp { dir } => peer::pgtemp::first_query_ms(dir)?.to_string(),
            Sample::Suite(suite) => suite.run_ms()?.to_string(),
        };
        crate::bench::say(&text);
        Ok(())
    }
}
