//! `pgharness doctor`: what works here, what does not, and what to do.

use super::target::{PasswordFrom, Target};
use super::{Answer, block_on, check};
use crate::check::needs_of;
use crate::database::Needs;
use crate::env;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::{Cache, Installation, OLDEST_SUPPORTED, Request};
use crate::server::{Extensions, Root, ServerConfig, ServerSource, connect};
use clap::Args;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::fmt::Write as _;
use std::net::ToSocketAddrs;
use std::time::Duration;

/// How long an address may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// An advisory lock that nobody else takes: `doctor` in ASCII.
const LOCK: i64 = 0x646f_6374_6f72;

/// Looks at a database by URL and at this machine: what works, what does not, and what to do.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    project: check::Project,
}

/// What was found out about one thing.
enum Verdict {
    Works(String),
    /// It does not work, and nothing that is asked for needs it.
    Unneeded(String),
    Fails(Error),
}

/// What was found out, in order.
#[derive(Default)]
struct Findings(Vec<(&'static str, Verdict)>);

impl Findings {
    /// Notes how `attempt` went, and gives on what it brought.
    fn note<T>(&mut self, name: &'static str, is_needed: bool, attempt: Result<(String, T)>) -> Option<T> {
        let (verdict, brought) = match attempt {
            Ok((text, brought)) => (Verdict::Works(text), Some(brought)),
            Err(error) if is_needed => (Verdict::Fails(error), None),
            Err(error) => (Verdict::Unneeded(error.to_string()), None),
        };
        self.0.push((name, verdict));
        brought
    }

    fn answer(&self) -> Answer {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let (mut text, mut exit_code) = (String::new(), 0);
        for (name, verdict) in &self.0 {
            let (sign, said) = match verdict {
                Verdict::Works(said) => ('✓', said.clone()),
                Verdict::Unneeded(said) => ('–', format!("{said} (not needed here)")),
                Verdict::Fails(error) => {
                    exit_code = 3;
                    ('✗', error.report())
                }
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{sign} {name:<width$}  {}",
                said.replace('\n', &format!("\n{:1$}", "", width + 4))
            );
        }
        Answer { text, exit_code }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let config = arguments.project.load()?;
    let mut findings = Findings::default();
    let needs = config.project().and_then(|project| needs_of(&project));
    match arguments.target.find() {
        Ok(None) => {
            let nothing =
                Err(Error::usage(format!("no URL: {} and `--url` name none", env::DATABASE_URL.name)));
            findings.note::<()>("database", false, nothing);
        }
        Ok(Some((options, from))) => {
            let secret = match from {
                PasswordFrom::Url => "the password is in the URL".to_owned(),
                PasswordFrom::File(path) => {
                    format!(
                        "the password is in `{}`, the file of {}",
                        path.display(),
                        env::PGPASSWORD_FILE.name
                    )
                }
                PasswordFrom::Elsewhere => "the URL holds no password".to_owned(),
            };
            findings.note("secret", true, Ok((secret, ())));
            block_on(async {
                database(&mut findings, &options, needs.as_ref().ok()).await;
                Ok(())
            })?;
        }
        // The file of the password is the environment's, whoever named it.
        Err(error) => {
            findings.note::<()>("secret", true, Err(error));
        }
    }
    machine(&mut findings, &config.server()?, needs);
    Ok(findings.answer())
}

/// Looks at a database from outside to inside; what lies behind a closed door is not asked.
async fn database(findings: &mut Findings, options: &PgConnectOptions, needs: Option<&Needs>) {
    let host = options.get_host();
    let is_socket = options.get_socket().is_some() || host.starts_with('/');
    if !is_socket && findings.note("host, port", true, address_at(host, options.get_port())).is_none() {
        return;
    }
    let Some(mut session) = findings.note("user", true, login(options).await) else { return };
    findings.note("TLS", true, tls(&mut session, options).await);
    findings.note("server", true, version(&mut session).await);
    findings.note("advisory lock", true, advisory_lock(&mut session).await);
    if let Some(needs) = needs.filter(|needs| !needs.is_empty()) {
        findings.note("its extensions", true, available(&mut session, needs).await);
    }
    // What it tells is told already.
    let _ = session.close().await;
}

fn address_at(host: &str, port: u16) -> Result<(String, ())> {
    let at = format!("{host}:{port}");
    let addresses = (host, port).to_socket_addrs().map_err(|cause| {
        Error::environment(format!("the host `{host}` is not known here"))
            .with_source(cause)
            .with_help("is the name right, and does this machine's network know it?")
    })?;
    let mut refused = None;
    for address in addresses {
        match std::net::TcpStream::connect_timeout(&address, DEADLINE) {
            Ok(_) => return Ok((format!("`{at}` answers"), ())),
            Err(cause) => refused = Some(cause),
        }
    }
    let error = Error::environment(format!("nobody answers at `{at}`")).with_help(
        "is the server running, does it listen there (`listen_addresses`, `port`), is a firewall between?",
    );
    Err(match refused {
        Some(cause) => error.with_source(cause),
        None => error,
    })
}

async fn login(options: &PgConnectOptions) -> Result<(String, PgConnection)> {
    let session = connect(options).await?;
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    Ok((format!("`{}` is let into database `{database}`", options.get_username()), session))
}

async fn tls(session: &mut PgConnection, options: &PgConnectOptions) -> Result<(String, ())> {
    let used: Option<String> = sqlx::query_scalar(
        "select case when ssl then version end from pg_catalog.pg_stat_ssl where pid = pg_catalog.pg_backend_pid()",
    )
    .fetch_optional(session)
    .await?
    .flatten();
    let mode = format!("{:?}", options.get_ssl_mode()).to_lowercase();
    let is = used.map_or("the connection is not encrypted".to_owned(), |version| {
        format!("the connection uses {version}")
    });
    Ok((format!("{is} (mode {mode})"), ()))
}

async fn version(session: &mut PgConnection) -> Result<(String, ())> {
    let (number, shown): (i32, String) = sqlx::query_as(
        "select pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version')",
    )
    .fetch_one(session)
    .await?;
    if number / 10_000 < OLDEST_SUPPORTED.cast_signed() {
        return Err(Error::environment(format!("Postgres {shown} is too old"))
            .with_help(format!("use Postgres {OLDEST_SUPPORTED} or newer")));
    }
    Ok((format!("Postgres {shown}"), ()))
}

/// Whether a lock that one statement takes is still held in the next, as migrators need it.
async fn advisory_lock(session: &mut PgConnection) -> Result<(String, ())> {
    let mut backends = Vec::new();
    let held: bool = sqlx::query_scalar("select pg_catalog.pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(&mut *session)
        .await?;
    for _ in 0..5 {
        let backend: i32 =
            sqlx::query_scalar("select pg_catalog.pg_backend_pid()").fetch_one(&mut *session).await?;
        backends.push(backend);
    }
    backends.dedup();
    let released = !held
        || sqlx::query_scalar("select pg_catalog.pg_advisory_unlock($1)")
            .bind(LOCK)
            .fetch_one(&mut *session)
            .await?;
    if backends.len() > 1 || !released {
        return Err(Error::environment("a session lock does not outlast its statement").with_help(
            "a pooler in transaction mode stands between: migrators need the server itself, or a pool in session mode",
        ));
    }
    Ok(("a session keeps its lock from one statement to the next".to_owned(), ()))
}

/// Whether a server has what the project needs.
async fn available(session: &mut PgConnection, needs: &Needs) -> Result<(String, ())> {
    Extensions::of(session).await?.require(&needs.names(), None)?;
    Ok((format!("it has what the project needs: {}", needs.told()), ()))
}

/// Looks at what a server of the harness's own would need.
fn machine(findings: &mut Findings, server: &ServerConfig, needs: Result<Needs>) {
    let is_embedded = server.source == ServerSource::Embedded;
    let cache = Cache::open();
    findings.note("installation", is_embedded, server.request().and_then(installation));
    let extensions = needs.and_then(|needs| extensions(server.request()?, &needs));
    findings.note("extensions", is_embedded, extensions);
    let root = cache.and_then(|cache| Ok((Root::chosen(&cache)?, cache)));
    findings.note(
        "tmpfs",
        is_embedded,
        root.map(|(root, cache)| {
            let kind = if root.is_memory { "memory" } else { "a disk, which is slower: no tmpfs has room" };
            let (path, cache) = (root.path.display(), cache.root().display());
            (format!("data in `{path}` ({kind}), {} MiB free; cache in `{cache}`", root.free_mib), ())
        }),
    );
    let is_container = matches!(server.source, ServerSource::Container { .. });
    findings.note("container engine", is_container, engine());
}

/// The installation that is here, or whether one will be fetched.
fn installation(request: Request) -> Result<(String, ())> {
    let fetches = !request.is_offline() && request.explicit().is_none();
    match Installation::find(&request.with_offline(true)) {
        Ok(found) => Ok((shown(&found), ())),
        Err(_) if fetches => Ok(("none is here yet: it is fetched when one is needed".to_owned(), ())),
        Err(error) => Err(error),
    }
}

/// The installation that has the extensions which the project needs, or where it will be fetched from.
fn extensions(request: Request, needs: &Needs) -> Result<(String, ())> {
    if needs.is_empty() {
        return Ok(("the project needs none".to_owned(), ()));
    }
    let (told, names) = (needs.told(), needs.names());
    let fetches = !request.is_offline() && request.explicit().is_none();
    let sources: Vec<String> = request.sources_with(&names).iter().map(ToString::to_string).collect();
    // Sources that bring none of it are asked for nothing: that they do not is worth telling.
    let is_offline = request.is_offline() || !sources.is_empty();
    match Installation::find(&request.with_offline(is_offline).with_extensions(names)) {
        Ok(found) => Ok((format!("{told}: from {}", shown(&found)), ())),
        Err(_) if fetches && !sources.is_empty() => {
            let sources = sources.join(" or ");
            Ok((
                format!("{told}: no Postgres here has them; one is fetched when it is needed ({sources})"),
                (),
            ))
        }
        Err(error) => Err(error).attempt(ErrorKind::Environment, || format!("the project needs {told}")),
    }
}

fn shown(installation: &Installation) -> String {
    format!("Postgres {} in `{}`", installation.version(), installation.bin().display())
}

/// Whether somebody listens where container engines do.
fn engine() -> Result<(String, ())> {
    let at = env::DOCKER_HOST.text().unwrap_or_else(|| env::DOCKER_HOST.default.to_owned());
    let reached = match at.split_once("://") {
        Some(("unix", path)) => std::os::unix::net::UnixStream::connect(path).map(|_| ()),
        Some((_, address)) => {
            return address_of(address).map(|()| (format!("somebody answers at `{at}`"), ()));
        }
        None => return Err(Error::usage(format!("{} is no address: `{at}`", env::DOCKER_HOST.name))),
    };
    match reached {
        Ok(()) => Ok((format!("somebody answers at `{at}`"), ())),
        Err(cause) => Err(Error::environment(format!("no container engine answers at `{at}`"))
            .with_source(cause)
            .with_help(format!("start one, or name its socket or address in {}", env::DOCKER_HOST.name))),
    }
}

fn address_of(address: &str) -> Result<()> {
    let (host, port) = address.trim_end_matches('/').rsplit_once(':').unwrap_or((address, "2375"));
    let port = port.parse().map_err(|_| Error::usage(format!("`{address}` has no port")))?;
    address_at(host, port).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_with_its_help_and_decides_the_exit_code() {
        let mut findings = Findings::default();
        assert_eq!(findings.note("one", true, Ok(("works".into(), 7))), Some(7));
        let broken = || Err::<(String, ()), _>(Error::environment("broken").with_help("mend it"));
        findings.note("second", false, broken());
        assert_eq!(findings.answer().exit_code, 0);
        findings.note("three", true, broken());
        let answer = findings.answer();
        assert_eq!(answer.exit_code, 3);
        assert_eq!(
            answer.text,
            "✓ one     works\n– second  broken (not needed here)\n✗ three   broken\n            help: mend it\n"
        );
    }
}
