//! Connecting, with errors that say what to do.

use super::failure::missing_role;
use super::target::{database_name, socket};
use crate::error::{Error, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use std::io::ErrorKind;

/// Connects; the error names the server, the role and the database.
pub(crate) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    options.connect().await.map_err(|cause| explain(options, cause))
}

fn explain(options: &PgConnectOptions, cause: sqlx::Error) -> Error {
    let place = match socket(options) {
        Some(folder) => format!("{folder}/.s.PGSQL.{}", options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let (role, database) = (options.get_username(), database_name(options));
    let help = match &cause {
        sqlx::Error::Database(answer) => {
            advice(role, database, &answer.code().unwrap_or_default(), answer.message())
        }
        sqlx::Error::Tls(_) => Some(
            "the server does not speak TLS, or its certificate is not trusted: see `sslmode` and `sslrootcert` \
             of the URL"
                .to_owned(),
        ),
        sqlx::Error::Io(cause) => Some(
            match cause.kind() {
                ErrorKind::ConnectionRefused => "nobody listens there: is the server running?",
                ErrorKind::NotFound => "there is no socket there: is the server running?",
                _ => "is the host right, and can it be reached from here?",
            }
            .to_owned(),
        ),
        _ => None,
    };
    let failed = Error::server(format!("failed to connect to `{place}` as `{role}`, database `{database}`"))
        .with_source(cause);
    match help {
        Some(help) => failed.with_help(help),
        None => failed,
    }
}

/// What to do about the server's refusal.
fn advice(role: &str, database: &str, code: &str, message: &str) -> Option<String> {
    Some(match code {
        "28P01" => format!("the password for `{role}` is wrong, or it has none"),
        "28000" if message.contains("not permitted to log in") => {
            format!("`alter role {role} login` lets it")
        }
        "28000" => missing_role(message).unwrap_or_else(|| {
            format!(
                "the server's pg_hba.conf does not let `{role}` in like this (role, database, address or TLS)"
            )
        }),
        "3D000" => format!("create the database `{database}`, or name another one in the URL"),
        "53300" => "the server has no connection left: raise max_connections, or use fewer".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("28P01", "password authentication failed for user \"app\"", "the password for `app` is wrong")]
    #[case("28000", "role \"app\" does not exist", "create the role `app` first: in a file of SQL")]
    #[case("28000", "role \"app\" is not permitted to log in", "`alter role app login` lets it")]
    #[case(
        "28000",
        "no pg_hba.conf entry for host \"::1\"",
        "the server's pg_hba.conf does not let `app` in"
    )]
    #[case("3D000", "database \"shop\" does not exist", "create the database `shop`")]
    #[case("53300", "sorry, too many clients already", "the server has no connection left")]
    fn a_refusal_is_explained(#[case] code: &str, #[case] message: &str, #[case] help: &str) {
        let given = advice("app", "shop", code, message).unwrap();
        assert!(given.starts_with(help), "{given}");
    }

    #[tokio::test]
    async fn the_server_is_named_by_its_socket_or_its_address() {
        let plain = PgConnectOptions::new_without_pgpass().username("app").port(1);
        let by_socket = connect(&plain.clone().socket("/nowhere/at/all")).await.unwrap_err();
        let start = "failed to connect to `/nowhere/at/all/.s.PGSQL.1` as `app`, database `app`";
        assert_eq!(by_socket.to_string(), start);
        assert_eq!(by_socket.help(), Some("there is no socket there: is the server running?"));
        let by_address = connect(&plain.host("127.0.0.1").database("shop")).await.unwrap_err();
        assert_eq!(by_address.to_string(), "failed to connect to `127.0.0.1:1` as `app`, database `shop`");
        assert_eq!(by_address.help(), Some("nobody listens there: is the server running?"));
    }
}
