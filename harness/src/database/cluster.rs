//! A server of its own for one test: started from a copied data directory that has the template in it.

use super::template::Prepared;
use super::test_db::TestDb;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::quote_ident;
use crate::server::{Image, Server};
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::sync::Arc;

/// The database on a server of its own.
const DATABASE: &str = "app";

/// Starts a server with the template's database on it.
pub(super) async fn start(prepared: &Arc<Prepared>, test: &str) -> Result<TestDb> {
    let (prepared, test) = (prepared.clone(), test.to_owned());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // On a plain thread: starting a server blocks, and has a runtime of its own.
    std::thread::Builder::new()
        .name("pgharness-start".into())
        .spawn(move || drop(sender.send(start_blocking(&prepared, &test))))
        .attempt(ErrorKind::Environment, || "failed to start a thread".into())?;
    receiver.await.map_err(|_| Error::server("the thread that started a server ended"))?
}

/// As [`start`], blocking the thread; not to be called within a runtime.
pub(super) fn start_blocking(prepared: &Arc<Prepared>, test: &str) -> Result<TestDb> {
    let config = prepared.server_config();
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
    connection.execute("set synchronous_commit = on").await?;
    connection.execute("vacuum (freeze, analyze)").await?;
    let _ = connection.close().await;
    let _ = control.close().await;
    Ok(())
}
