//! A pool whose first connection is one that was open before.
//!
//! sqlx's pools make their connections themselves. So the pool is told to connect to a porch of ours, which greets as a
//! server does, and what it got there is exchanged for the open connection before anybody can use it. From then on it
//! connects to the server.

use crate::error::{Attempt, ErrorKind, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{PgConnection, PgPool};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// `AuthenticationOk`, then `ReadyForQuery` outside a transaction.
const GREETING: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
/// A longer start-up message is nobody's whom we expect, in bytes.
const STARTUP_MAX: u32 = 10_000;
/// Who says nothing for so long is not our pool.
const PATIENCE: Duration = Duration::from_secs(1);

/// A pool that has the connection `open`, and opens others by `options`.
///
/// # Errors
/// The loopback interface cannot be used.
pub(super) async fn adopt(
    open: PgConnection,
    pool: PgPoolOptions,
    options: PgConnectOptions,
) -> Result<PgPool> {
    let failed = || "failed to listen on the loopback interface".to_owned();
    let porch = TcpListener::bind(("127.0.0.1", 0)).await.attempt(ErrorKind::Environment, failed)?;
    let port = porch.local_addr().attempt(ErrorKind::Environment, failed)?.port();
    let to_porch = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(options.get_username())
        .ssl_mode(PgSslMode::Disable);
    let open = Mutex::new(Some(open));
    let pool = pool.after_connect(move |fresh, _| {
        if let Some(open) = open.lock().unwrap_or_else(PoisonError::into_inner).take() {
            *fresh = open;
        }
        Box::pin(std::future::ready(Ok(())))
    });
    let pool = tokio::select! {
        pool = pool.connect_with(to_porch) => pool?,
        error = greet_all(&porch) => return Err(error).attempt(ErrorKind::Environment, failed),
    };
    pool.set_connect_options(options);
    Ok(pool)
}

/// Greets whoever comes: others than the pool may try the port, and learn nothing.
async fn greet_all(porch: &TcpListener) -> std::io::Error {
    let mut greeted = Vec::new();
    loop {
        match porch.accept().await {
            Ok((mut guest, _)) => {
                // Open until the pool is there: then its end is gone, and nothing lingers.
                if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, greet(&mut guest)).await {
                    greeted.push(guest);
                }
            }
            Err(error) => return error,
        }
    }
}

async fn greet(guest: &mut TcpStream) -> std::io::Result<()> {
    let length = guest.read_u32().await?;
    if length > STARTUP_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    tokio::io::copy(&mut guest.take(u64::from(length.saturating_sub(4))), &mut tokio::io::sink()).await?;
    guest.write_all(GREETING).await
}
