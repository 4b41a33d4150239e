//! The schema of the migrations, dumped and restored by the server's own programs.

use super::committed::without_history;
use crate::catalog::{Catalog, Kind};
use crate::check::Context;
use crate::check::first_run::FirstRun;
use crate::database::TestDb;
use crate::error::{Error, Result};
use crate::ident::quote_ident;
use crate::postgres::{Format, Installation, Target, dump, restore};
use crate::script::{connect, password, socket};
use crate::secret::Secret;
use crate::server::Capability;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection};

/// What came of dump and restore.
#[derive(Debug)]
pub(super) enum Restored {
    /// Nothing, for want of this.
    Lacking(String),
    /// The restore failed.
    Refused(Error),
    /// What the restored database is.
    Catalog(Catalog),
}

/// Dumps what `run` brought about and restores it into a database of its own, whose name ends in `suffix`.
///
/// # Errors
/// The dump itself fails, or the server is lost.
pub(super) async fn restored(context: &Context, run: &FirstRun, suffix: &str) -> Result<Restored> {
    let before = &run.state()?.catalog;
    let Some(installation) = run.db.server().installation().cloned() else {
        let reason = "needs `pg_dump` and `psql`: the server does not run from this machine";
        return Ok(Restored::Lacking(reason.into()));
    };
    if let Some(missing) = missing_tool(installation.clone()).await {
        return Ok(Restored::Lacking(format!("needs the server's client programs: {missing}")));
    }
    let _turn = run.turn.lock().await;
    let (target, _held) = vacant(context, &run.db, before, suffix).await?;
    if let Err(failure) = carry(installation, &run.db.options(), &target).await? {
        return Ok(Restored::Refused(failure));
    }
    let mut connection = connect(&target).await?;
    let after = Catalog::read(&mut connection).await?;
    let _ = connection.close().await;
    Ok(Restored::Catalog(dumped(without_history(&run.migrator, after))))
}

/// Why a dump cannot be made or restored.
async fn missing_tool(installation: Installation) -> Option<Error> {
    let look = move || ["pg_dump", "psql"].into_iter().find_map(|tool| installation.client_tool(tool).err());
    tokio::task::spawn_blocking(look)
        .await
        .unwrap_or_else(|error| Some(Error::environment(error.to_string())))
}

/// What of a catalog a dump of one database holds.
pub(super) fn dumped(catalog: Catalog) -> Catalog {
    catalog.without(|kind, name| {
        matches!(kind, Kind::Setting | Kind::Subscription)
            || kind == Kind::Grant && name.starts_with("database to ")
    })
}

/// An empty database with the same roles, which share a server, and what keeps it.
async fn vacant(
    context: &Context,
    db: &TestDb,
    catalog: &Catalog,
    suffix: &str,
) -> Result<(PgConnectOptions, Option<TestDb>)> {
    let (options, held) = if context.capabilities().await?.has(Capability::PrivateCluster) {
        // The server is the check's own and goes with it.
        let name = format!("{}_{suffix}", db.name());
        let mut control = db.server().connect(db.server().endpoint().maintenance_database()).await?;
        let sql = format!("create database {} template template0", quote_ident(&name));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut control).await?;
        let _ = control.close().await;
        (db.options().database(&name), None)
    } else {
        let other = context.vacant().await?;
        (other.options(), Some(other))
    };
    // A dump does not say that this one is not there.
    if catalog.get(Kind::Schema, "public").is_none() {
        let mut connection = connect(&options).await?;
        sqlx::raw_sql("drop schema if exists public").execute(&mut connection).await?;
        let _ = connection.close().await;
    }
    Ok((options, held))
}

/// Dumps one and restores into the other; the inner error is what the restore said.
async fn carry(
    installation: Installation,
    from: &PgConnectOptions,
    to: &PgConnectOptions,
) -> Result<std::result::Result<(), Error>> {
    let (from, to) = (target(from), target(to));
    let carried = tokio::task::spawn_blocking(move || {
        let dump = dump(&installation, &from, Format::Plain, &["--schema-only", "--no-subscriptions"])?;
        Ok(restore(&installation, &to, Format::Plain, &dump, &[]))
    });
    carried.await.map_err(|error| Error::environment(error.to_string()))?
}

fn target(options: &PgConnectOptions) -> Target {
    Target {
        host: socket(options).unwrap_or_else(|| options.get_host().to_owned()),
        port: options.get_port(),
        user: options.get_username().to_owned(),
        database: options.get_database().unwrap_or_else(|| options.get_username()).to_owned(),
        password: password(options).map(Secret::new),
    }
}
