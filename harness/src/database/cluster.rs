//! A server of its own for one test: started from a copied data directory that has the template in it.

use super::build::settle;
use super::prepared::Prepared;
use super::test_db::TestDb;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::quote_ident;
use crate::process::on_a_thread;
use crate::server::{Image, Server};
use crate::wait;
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::sync::Arc;
use tokio::sync::oneshot::Receiver;

/// The database on a server of its own.
const DATABASE: &str = "app";

/// Starts a server with the template's database on it.
pub(super) async fn start(prepared: &Arc<Prepared>, test: &str) -> Result<TestDb> {
    starting(prepared, test)?.await.map_err(|_| thread_ended())?
}

/// As [`start`], blocking the thread.
pub(super) fn start_blocking(prepared: &Arc<Prepared>, test: &str) -> Result<TestDb> {
    wait::block_on(starting(prepared, test)?).map_err(|_| thread_ended())?
}

fn thread_ended() -> Error {
    Error::server("the thread that started a server ended")
}

/// On a plain thread: starting a server blocks, and has a runtime of its own.
fn starting(prepared: &Arc<Prepared>, test: &str) -> Result<Receiver<Result<TestDb>>> {
    let (prepared, test) = (prepared.clone(), test.to_owned());
    on_a_thread("pgharness-start", move || start_here(&prepared, &test))
}

/// Starts it on this thread, which must have no runtime.
fn start_here(prepared: &Arc<Prepared>, test: &str) -> Result<TestDb> {
    let config = prepared.server_config_blocking()?;
    let backend = config.backend()?;
    // A few tests at a time: small buffers, and settings of the shared server otherwise.
    let settings = config.settings.clone().with_shared_buffers_mib(16);
    let image = backend.image(&prepared.source_digest().short(16), &settings, &mut |server| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .attempt(ErrorKind::Environment, || "failed to make a runtime".into())?;
        runtime.block_on(cook(prepared, server))
    })?;
    let Image { data } = image;
    let server = backend.start_private(Some(&data), &settings)?;
    TestDb::on_own_server(server, DATABASE.into(), test)
}

/// Makes the template's database on a fresh server.
async fn cook(prepared: &Prepared, server: &Server) -> Result<()> {
    let mut control = server.connect(server.endpoint().maintenance_database()).await?;
    let sql = format!("create database {} template template0 strategy file_copy", quote_ident(DATABASE));
    control.execute(AssertSqlSafe(sql)).await?;
    prepared.recipe.begin(server, DATABASE).await?;
    prepared.recipe.fill(server, DATABASE).await?;
    let mut connection = server.connect(DATABASE).await?;
    settle(&mut connection).await?;
    let _ = connection.close().await;
    let _ = control.close().await;
    Ok(())
}
