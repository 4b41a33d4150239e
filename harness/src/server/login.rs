//! Logging in as a role the way a service does: over TCP, with a password.
//!
//! Over the socket of an embedded server every role is trusted. That is right for tests, and too kind for an attack:
//! whoever is to be shown what a service sees should come in by the service's door.

use super::handle::{random_password, write_private};
use super::{Server, connect};
use crate::digest::Digest;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{quote_ident, quote_literal};
use crate::process::FileLock;
use crate::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::PathBuf;

/// The server's answer to a wrong password, and to any if the role has none.
const WRONG_PASSWORD: &str = "28P01";

impl Server {
    /// Logs in to `database` as `role`, with the password that is known of it. On a server of ours a role without a
    /// password gets a random one when it is first needed; one whose password is somebody's secret comes in by the
    /// socket, since it is not ours to change.
    ///
    /// # Errors
    /// The role may not log in, or the server cannot be reached.
    pub(crate) async fn log_in(
        &self,
        database: &str,
        role: &str,
        known: Option<&Secret>,
    ) -> Result<PgConnection> {
        let direct = self.endpoint().options(database).username(role);
        let (Some((_, port)), true) = (self.endpoint().socket_dir(), self.capabilities().tcp) else {
            return connect(&match known {
                Some(password) => direct.password(password.expose()),
                None => direct,
            })
            .await;
        };
        let own = self.password_of_roles().await?;
        for password in known.into_iter().chain([&own]) {
            if let Some(connection) = try_password(port, database, role, password).await? {
                return Ok(connection);
            }
        }
        if self.give_password(role, &own).await?
            && let Some(connection) = try_password(port, database, role, &own).await?
        {
            return Ok(connection);
        }
        connect(&direct).await
    }

    /// The password that roles get on the servers of this machine. It outlives them, as the roles do.
    async fn password_of_roles(&self) -> Result<Secret> {
        let Some(kept) = self.state_dir().map(|dir| dir.join("roles-password")) else {
            return Ok(Secret::new(""));
        };
        // One that is being written is not there yet.
        let read = || std::fs::read_to_string(&kept).ok().filter(|password| !password.is_empty());
        if let Some(password) = read() {
            return Ok(Secret::new(password));
        }
        let _lock = wait_for(kept.with_extension("lock")).await?;
        if let Some(password) = read() {
            return Ok(Secret::new(password));
        }
        let password = random_password()?;
        // Whoever was killed while writing it left an empty one.
        let _ = std::fs::remove_file(&kept);
        write_private(&kept, &password)?;
        Ok(Secret::new(password))
    }

    /// Gives a password to a role that has none. Says whether it has ours now.
    async fn give_password(&self, role: &str, password: &Secret) -> Result<bool> {
        let Some(dir) = self.state_dir() else { return Ok(false) };
        // The server refuses to have a role altered by two at a time.
        let _lock = wait_for(dir.join("roles-password.lock")).await?;
        let mut control = self.connect(self.endpoint().maintenance_database()).await?;
        let is_vacant: Option<bool> =
            sqlx::query_scalar("select rolpassword is null from pg_authid where rolname = $1")
                .bind(role)
                .fetch_optional(&mut control)
                .await?;
        if is_vacant == Some(true) {
            let verifier = verifier(&mut control, password).await?;
            let sql = format!(
                "set log_statement = none; alter role {} password {}",
                quote_ident(role),
                quote_literal(&verifier)
            );
            control.execute(AssertSqlSafe(sql)).await?;
        }
        let _ = control.close().await;
        // If it has one, it may have got ours in the meantime: that will be seen.
        Ok(is_vacant.is_some())
    }
}

/// What the server keeps of a password. With one round of hashing, where it would take 4096 itself: those guard
/// passwords that can be guessed, and with hundreds of sessions they are most of an attack's time.
async fn verifier(control: &mut PgConnection, password: &Secret) -> Result<String> {
    let salt = random_password()?;
    // RFC 5802, with the names that it has for these.
    let salted = hmac(password.expose().as_bytes(), &[salt.as_bytes(), &[0, 0, 0, 1]].concat());
    let stored_key = Digest::of(hmac(&salted, b"Client Key"));
    let server_key = hmac(&salted, b"Server Key");
    let verifier = sqlx::query_scalar(
        "select format('SCRAM-SHA-256$1:%s$%s:%s', encode($1, 'base64'), encode($2, 'base64'), encode($3, 'base64'))",
    )
    .bind(salt.as_bytes())
    .bind(&stored_key.bytes()[..])
    .bind(&server_key[..])
    .fetch_one(control)
    .await?;
    Ok(verifier)
}

/// HMAC of RFC 2104 with SHA-256, for keys no longer than a block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let padded = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(padded, key)| *padded ^= key);
        block
    };
    let inner = Digest::of([&padded(0x36)[..], message].concat());
    *Digest::of([&padded(0x5c)[..], inner.bytes()].concat()).bytes()
}

/// A session over TCP; `None`: that is not the password, or nobody listens there.
async fn try_password(
    port: u16,
    database: &str,
    role: &str,
    password: &Secret,
) -> Result<Option<PgConnection>> {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .ssl_mode(PgSslMode::Disable)
        .database(database)
        .username(role)
        .password(password.expose());
    match connect(&options).await {
        Ok(connection) => Ok(Some(connection)),
        Err(error) => match error.sqlstate().as_deref() {
            None | Some(WRONG_PASSWORD) => Ok(None),
            Some(_) => Err(error),
        },
    }
}

/// Waits for a lock between processes, on a plain thread.
async fn wait_for(path: PathBuf) -> Result<FileLock> {
    tokio::task::spawn_blocking(move || FileLock::wait(&path))
        .await
        .attempt(ErrorKind::Environment, || "failed to wait for a lock".into())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    #[test]
    fn the_second_case_of_rfc_4231() {
        let code = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&code), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
