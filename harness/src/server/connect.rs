//! Connecting, with errors that say what to do.

use crate::error::{Error, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

/// Connects; the error names the server, the role and the database.
pub(crate) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    options.connect().await.map_err(|error| explain(options, error))
}

fn explain(options: &PgConnectOptions, error: sqlx::Error) -> Error {
    let place = match options.get_socket() {
        Some(dir) => format!("`{}`", dir.display()),
        None => format!("`{}:{}`", options.get_host(), options.get_port()),
    };
    let role = options.get_username();
    let database = options.get_database().unwrap_or(role);
    let code = error.as_database_error().and_then(|answer| answer.code()).map(|code| code.into_owned());
    let help = match (&error, code.as_deref()) {
        (_, Some("28P01")) => format!("the password for `{role}` is wrong, or it has none"),
        (sqlx::Error::Database(answer), Some("28000")) if answer.message().ends_with("does not exist") => {
            format!("create the role `{role}` first: that is what a template's `bootstrap` is for")
        }
        (sqlx::Error::Database(answer), Some("28000")) if answer.message().contains("not permitted to log in") => {
            format!("`alter role {role} login` lets it")
        }
        (_, Some("28000")) => {
            format!("the server's pg_hba.conf does not let `{role}` in like this (role, database, address or TLS)")
        }
        (_, Some("3D000")) => format!("create the database `{database}`, or name another one in the URL"),
        (_, Some("53300")) => "the server has no connection left: raise max_connections, or use fewer".into(),
        (sqlx::Error::Tls(_), _) => {
            "the server does not speak TLS, or its certificate is not trusted: see `sslmode` and `sslrootcert` of the URL".into()
        }
        (sqlx::Error::Io(cause), _) => match cause.kind() {
            std::io::ErrorKind::ConnectionRefused => "nobody listens there: is the server running?".into(),
            std::io::ErrorKind::NotFound => "there is no socket there: is the server running?".into(),
            _ => "is the host right, and can it be reached from here?".into(),
        },
        _ => return Error::server(format!("failed to connect to {place} as `{role}`, database `{database}`")).with_source(error),
    };
    Error::server(format!("failed to connect to {place} as `{role}`, database `{database}`"))
        .with_source(error)
        .with_help(help)
}
