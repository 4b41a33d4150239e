//! How other programs are told which database is meant.

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::ffi::OsString;
use std::fmt::Write as _;

/// Percent-encodes all but what is plain everywhere in a URL.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let code = escaped.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The password in `options`, which sqlx tells in the URL only.
pub(crate) fn password(options: &PgConnectOptions) -> Option<String> {
    options.to_url_lossy().password().map(decode)
}

/// The name of the database: the user's where none is set, as the server does it.
pub(crate) fn database_name(options: &PgConnectOptions) -> &str {
    options.get_database().unwrap_or_else(|| options.get_username())
}

/// The folder of the unix socket, if that is how `options` connect.
pub(crate) fn socket(options: &PgConnectOptions) -> Option<String> {
    match options.get_socket() {
        Some(path) => Some(path.to_string_lossy().into_owned()),
        None => Some(options.get_host()).filter(|host| host.starts_with('/')).map(str::to_owned),
    }
}

fn ssl_mode(options: &PgConnectOptions) -> &'static str {
    match options.get_ssl_mode() {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

/// The URL of the database that `options` connect to, password included, as the `DATABASE_URL` that commands
/// get.
///
/// A unix socket is given as `postgresql:///name?host=…&port=…&user=…`: the one form that libpq, sqlx,
/// tokio-postgres, pgx, node-postgres and SQLAlchemy all understand.
pub fn database_url(options: &PgConnectOptions) -> String {
    let name = encode(database_name(options));
    let user = encode(options.get_username());
    let password = password(options).map(|password| encode(&password));
    match socket(options) {
        Some(folder) => {
            let password = password.map_or(String::new(), |password| format!("&password={password}"));
            let folder = encode(&folder);
            format!("postgresql:///{name}?host={folder}&port={}&user={user}{password}", options.get_port())
        }
        None => {
            let password = password.map_or(String::new(), |password| format!(":{password}"));
            let host = options.get_host();
            let (port, mode) = (options.get_port(), ssl_mode(options));
            format!("postgresql://{user}{password}@{host}:{port}/{name}?sslmode={mode}")
        }
    }
}

/// The environment of a command: `DATABASE_URL` and libpq's variables tell it which database is meant, and on
/// `path`, where one is given, it finds tools for that server.
pub(crate) fn environment(
    options: &PgConnectOptions,
    path: Option<OsString>,
) -> Vec<(&'static str, OsString)> {
    let mut environment: Vec<(&'static str, OsString)> = vec![
        ("DATABASE_URL", database_url(options).into()),
        ("PGHOST", socket(options).unwrap_or_else(|| options.get_host().to_owned()).into()),
        ("PGPORT", options.get_port().to_string().into()),
        ("PGUSER", options.get_username().into()),
        ("PGDATABASE", database_name(options).into()),
        ("PGSSLMODE", ssl_mode(options).into()),
    ];
    environment.extend(password(options).map(|password| ("PGPASSWORD", password.into())));
    environment.extend(options.get_options().map(|flags| ("PGOPTIONS", flags.into())));
    environment.extend(path.map(|path| ("PATH", path)));
    environment
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain() -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().username("a b").database("d@b").port(5433)
    }

    #[test]
    fn a_socket_and_a_host_have_their_forms() {
        assert_eq!(
            database_url(&plain().socket("/run/my dir").password("p&s")),
            "postgresql:///d%40b?host=/run/my%20dir&port=5433&user=a%20b&password=p%26s"
        );
        assert_eq!(
            database_url(&plain().host("db.local").password("p:s").ssl_mode(PgSslMode::Require)),
            "postgresql://a%20b:p%3As@db.local:5433/d%40b?sslmode=require"
        );
    }

    proptest! {
        #[test]
        fn sqlx_reads_the_url_back(database in "[^\0/?#]{1,12}", secret in "[^\0]{1,12}") {
            prop_assume!(!matches!(database.as_str(), "." | ".."));
            let meant = plain().socket("/run/x").database(&database).password(&secret);
            let read: PgConnectOptions = database_url(&meant).parse().unwrap();
            prop_assert_eq!(read.get_database(), Some(database.as_str()));
            prop_assert_eq!(read.get_username(), "a b");
            prop_assert_eq!(read.get_socket(), meant.get_socket());
            prop_assert_eq!(password(&meant), Some(secret));
        }
    }
}
