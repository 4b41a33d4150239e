//! The external backend: a server by URL that is not ours. Nothing on it is touched but what our names and
//! leases say we made.

use super::{Backend, Capabilities, Endpoint, Server, connect};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::secret::{Secret, redact_url};
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;

/// A server by URL. Its role needs CREATEDB.
#[derive(Debug)]
pub struct External {
    options: PgConnectOptions,
    url: Secret,
}

impl External {
    /// Reads the URL; does not connect yet.
    ///
    /// # Errors
    /// It is no URL of a Postgres server.
    pub fn new(url: Secret) -> Result<External> {
        let options = PgConnectOptions::from_str(url.expose()).map_err(|error| {
            Error::usage(format!("`{}` is no URL of a Postgres server", redact_url(url.expose())))
                .with_source(error)
                .with_help("it has the form postgresql://role:password@host:port/database")
        })?;
        Ok(External { options, url })
    }
}

impl Backend for External {
    fn name(&self) -> &'static str {
        "external"
    }

    fn attach(&self) -> Result<Server> {
        let endpoint = Endpoint::url(self.options.clone(), self.url.clone());
        let capabilities = block_on(inspect(&endpoint))??;
        Ok(Server::remote(endpoint, capabilities))
    }

    fn replace(&self, _dead: &Server) -> Result<Server> {
        // Not ours to start: it is back, or the error says that it is not.
        self.attach()
    }
}

/// Connects and reads what the server and the role can do.
pub(super) async fn inspect(endpoint: &Endpoint) -> Result<Capabilities> {
    let mut control = connect(&endpoint.options(endpoint.maintenance_database())).await?;
    let (superuser, createdb, createrole, version): (bool, bool, bool, i32) = sqlx::query_as(
        "select rolsuper, rolcreatedb, rolcreaterole, current_setting('server_version_num')::int \
         from pg_roles where rolname = current_user",
    )
    .fetch_one(&mut control)
    .await?;
    let _ = control.close().await;
    const OLDEST_SUPPORTED: i32 = 150_000;
    if version < OLDEST_SUPPORTED {
        return Err(Error::environment(format!(
            "the server has version {}, 15 or newer is needed",
            version / 10_000
        )));
    }
    if !superuser && !createdb {
        return Err(Error::environment(format!("role `{}` may not create databases", endpoint.role()))
            .with_help(format!("as a superuser: alter role \"{}\" createdb;", endpoint.role())));
    }
    Ok(Capabilities {
        create_role: superuser || createrole,
        superuser,
        tcp: endpoint.socket_dir().is_none(),
        file_copy: true,
        ..Capabilities::default()
    })
}

/// Runs a future to its end on a runtime of its own; not to be called within one.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .attempt(ErrorKind::Environment, || "failed to make a runtime".into())?;
    Ok(runtime.block_on(future))
}
