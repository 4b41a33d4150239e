//! Where a server is reached, and as whom.

use crate::postgres::SUPERUSER;
use crate::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::path::{Path, PathBuf};

/// The address of a server and the role that looks after it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: Address,
    role: String,
    maintenance_database: String,
}

#[derive(Clone, Debug)]
enum Address {
    /// A unix socket in a private directory.
    Socket { dir: PathBuf, port: u16 },
    /// TCP, with a password.
    #[cfg(feature = "container")]
    Tcp { host: String, port: u16, password: Secret },
    /// What a user's URL says: its TLS mode and parameters stay as they are.
    Url { options: Box<PgConnectOptions>, url: Secret },
}

impl Endpoint {
    /// The unix socket of an embedded server, as its superuser.
    pub(crate) fn socket(dir: PathBuf, port: u16) -> Self {
        Endpoint {
            address: Address::Socket { dir, port },
            role: SUPERUSER.into(),
            maintenance_database: SUPERUSER.into(),
        }
    }

    /// TCP with a password.
    #[cfg(feature = "container")]
    pub(crate) fn tcp(host: String, port: u16, role: String, password: Secret) -> Self {
        Endpoint {
            address: Address::Tcp { host, port, password },
            role,
            maintenance_database: SUPERUSER.into(),
        }
    }

    /// A server by URL; the URL's database is the one for maintenance.
    pub(crate) fn url(options: PgConnectOptions, url: Secret) -> Self {
        let role = options.get_username().to_owned();
        let maintenance_database = options.get_database().unwrap_or(SUPERUSER).to_owned();
        Endpoint { address: Address::Url { options: Box::new(options), url }, role, maintenance_database }
    }

    /// The role that looks after the server: the superuser, or the role of the URL.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The database in which the harness keeps house: never a test's.
    pub fn maintenance_database(&self) -> &str {
        &self.maintenance_database
    }

    /// Options for a connection to `database` as the role that looks after the server.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        let options = match &self.address {
            Address::Socket { dir, port } => PgConnectOptions::new_without_pgpass()
                .socket(dir)
                .port(*port)
                .ssl_mode(PgSslMode::Disable)
                .username(&self.role),
            #[cfg(feature = "container")]
            Address::Tcp { host, port, password } => PgConnectOptions::new_without_pgpass()
                .host(host)
                .port(*port)
                .ssl_mode(PgSslMode::Prefer)
                .username(&self.role)
                .password(password.expose()),
            Address::Url { options, .. } => (**options).clone(),
        };
        options.database(database)
    }

    /// A URL for `database` as `role`, for any client. Over a unix socket every role of the server may
    /// connect; elsewhere the URL carries the password of the role that looks after the server, so other roles
    /// need one of their own.
    pub fn url_for(&self, database: &str, role: &str) -> String {
        match &self.address {
            // Without an authority: not every client reads an encoded path there.
            Address::Socket { dir, port } => format!(
                "postgresql:///{}?host={}&port={port}&user={}",
                encode(database),
                encode_path(dir),
                encode(role)
            ),
            #[cfg(feature = "container")]
            Address::Tcp { host, port, password } => tcp_url(host, *port, role, password.expose(), database),
            Address::Url { url, .. } => {
                with_database_and_role(url.expose(), database, (role != self.role).then_some(role))
            }
        }
    }

    /// The directory of the unix socket and the port in its name, if that is how the server is reached.
    pub fn socket_dir(&self) -> Option<(&Path, u16)> {
        match &self.address {
            Address::Socket { dir, port } => Some((dir, *port)),
            #[cfg(feature = "container")]
            Address::Tcp { .. } => None,
            Address::Url { .. } => None,
        }
    }
}

/// A URL over TCP with a password.
pub(crate) fn tcp_url(host: &str, port: u16, role: &str, password: &str, database: &str) -> String {
    format!("postgresql://{}:{}@{host}:{port}/{}", encode(role), encode(password), encode(database))
}

/// Replaces the path of a URL, and its user (with the password, which is not that user's).
fn with_database_and_role(url: &str, database: &str, role: Option<&str>) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (before_query, query) = match rest.split_once('?') {
        Some((before, query)) => (before, format!("?{query}")),
        None => (rest, String::new()),
    };
    let authority = before_query.split('/').next().unwrap_or_default();
    let authority = match (role, authority.rsplit_once('@')) {
        (Some(role), Some((_, host))) => format!("{}@{host}", encode(role)),
        (Some(role), None) if !authority.is_empty() => format!("{}@{authority}", encode(role)),
        _ => authority.to_owned(),
    };
    format!("{scheme}://{authority}/{}{query}", encode(database))
}

/// Percent-encodes what is not safe in any part of a URL.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// As [`encode`], with slashes kept: they are allowed in a query and better to read.
fn encode_path(path: &Path) -> String {
    path.to_string_lossy().split('/').map(encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn the_url_of_a_socket_is_read_back_by_sqlx() {
        let endpoint = Endpoint::socket("/dev/shm/pgh-0-1".into(), 40001);
        let url = endpoint.url_for("a b", "web_app");
        assert_eq!(url, "postgresql:///a%20b?host=/dev/shm/pgh-0-1&port=40001&user=web_app");
        let options = PgConnectOptions::from_str(&url).unwrap();
        assert_eq!(options.get_socket().map(|dir| dir.as_path()), Some(Path::new("/dev/shm/pgh-0-1")));
        assert_eq!((options.get_port(), options.get_username()), (40001, "web_app"));
        assert_eq!(options.get_database(), Some("a b"));
    }

    #[test]
    fn a_users_url_keeps_its_parameters() {
        let url = "postgres://u:p@h:5433/postgres?sslmode=require";
        assert_eq!(with_database_and_role(url, "x", None), "postgres://u:p@h:5433/x?sslmode=require");
        assert_eq!(with_database_and_role(url, "x", Some("r")), "postgres://r@h:5433/x?sslmode=require");
        assert_eq!(with_database_and_role("postgres://h", "x", None), "postgres://h/x");
    }
}
