//! TLS ends at the proxy, with an authority of the harness's own: clients verify it, and taps see what is within.

use super::reset::startup;
use super::{psql_at, tcp_cluster};
use crate::support::{client_tool, empty_database};
use pgharness::wire::{
    Address, Authority, Connection, Cut, FakeServer, Guest, Moment, PassAll, Proxy, Record, Reply,
};
use pgharness::{env, notice};
use rstest::rstest;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Executor};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What a client sends that asks for TLS.
const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A psql that was built with TLS: some of those that come with a server's binaries were not.
fn psql_with_tls() -> Option<PathBuf> {
    let nowhere =
        PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1).ssl_mode(PgSslMode::Require);
    let can = |path: &PathBuf| {
        let output = psql_at(path, &nowhere).output();
        output.is_ok_and(|output| !String::from_utf8_lossy(&output.stderr).contains("not compiled in"))
    };
    let found = [client_tool("psql"), "psql".into()].into_iter().find(can);
    if found.is_none() {
        assert!(!env::is_required("psql-tls"), "no psql has TLS");
        notice::skipped("psql-tls", "no psql has TLS");
    }
    found
}

/// This psql, which trusts what this authority vouches for.
fn trusting(psql: &Path, authority: &Authority, options: &PgConnectOptions) -> Command {
    let mut psql = psql_at(psql, options);
    psql.env("PGSSLROOTCERT", authority.certificate()).env("LC_ALL", "C");
    psql
}

#[tokio::test]
async fn libpq_verifies_the_proxy_by_each_of_its_names() {
    let Some(tool) = psql_with_tls() else { return };
    let direct = empty_database().await;
    let authority = Authority::new().unwrap();
    let proxy = Proxy::start_tls(Address::of(&direct), &authority, |_| PassAll).await.unwrap();
    let through = authority.verified(&proxy.options(&direct));
    for host in ["127.0.0.1", "localhost"] {
        let mut psql = trusting(&tool, &authority, &through.clone().host(host));
        psql.args(["-c", "select 40 + 2", "-c", "\\conninfo"]);
        let output = run(psql).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with("42\n") && text.contains("TLSv1.3"), "{host}: {text}");
    }
    let check = async |psql: Command, expected: &str| {
        let output = run(psql).await;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint.contains(expected), "{complaint}");
    };
    let other = Authority::new().unwrap();
    check(trusting(&tool, &other, &through), "certificate verify failed").await;
    let mut psql = trusting(&tool, &authority, &through.clone().host("elsewhere.invalid"));
    psql.env("PGHOSTADDR", "127.0.0.1");
    check(psql, "does not match host name \"elsewhere.invalid\"").await;
}

#[tokio::test]
async fn sqlx_verifies_the_proxy_and_may_do_without() {
    let direct = empty_database().await;
    let authority = Authority::new().unwrap();
    let proxy = Proxy::start_tls(Address::of(&direct), &authority, |_| PassAll).await.unwrap();
    let plain = proxy.options(&direct);
    let mut client = authority.verified(&plain).connect().await.unwrap();
    let sent = vec![b'x'; 20 << 20];
    let got: Vec<u8> =
        sqlx::query_scalar("select $1::bytea").bind(&sent).fetch_one(&mut client).await.unwrap();
    assert!(sent == got, "{} bytes", got.len());
    let error = Authority::new().unwrap().verified(&plain).connect().await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Tls(_) | sqlx::Error::Io(_)), "{error:?}");
    assert!(
        error.to_string().contains("UnknownIssuer") || error.to_string().contains("BadSignature"),
        "{error}"
    );
    plain.ssl_mode(PgSslMode::Disable).connect().await.unwrap().execute("select 1").await.unwrap();
}

/// With TLS ended before it, the server has nothing to bind the exchange to, and says so by what it offers.
#[tokio::test]
async fn a_password_goes_through_and_channel_binding_does_not() {
    let Some(tool) = psql_with_tls() else { return };
    let (server, options) = tcp_cluster().await;
    let authority = Authority::new().unwrap();
    let proxy = Proxy::start_tls(server, &authority, |_| PassAll).await.unwrap();
    let through = authority.verified(&proxy.address().lead(&options));
    through.connect().await.unwrap().execute("select 1").await.unwrap();
    let with = |binding| {
        let mut psql = trusting(&tool, &authority, &through);
        psql.env("PGCHANNELBINDING", binding).args(["-c", "select 1"]);
        run(psql)
    };
    for binding in ["disable", "prefer"] {
        let output = with(binding).await;
        assert!(output.status.success(), "{binding}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = with("require").await;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("channel binding is required, but server did not offer an authentication method that supports channel binding"),
        "{complaint}"
    );
}

#[tokio::test]
async fn cuts_and_records_see_what_is_within() {
    let direct = empty_database().await;
    let authority = Authority::new().unwrap();
    let (record, cut) = (Record::default(), Cut::at(1, Moment::Unheard));
    let (records, cuts) = (record.taps(), cut.taps());
    let taps = move |connection: &Connection| (cuts(connection), records(connection));
    let proxy = Proxy::start_tls(Address::of(&direct), &authority, taps).await.unwrap();
    let mut client = authority.verified(&proxy.options(&direct)).connect().await.unwrap();
    client.execute("create table t (n int)").await.unwrap();
    let error = client.execute("insert into t values (42)").await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Io(_)), "{error:?}");
    assert_eq!(cut.landing().unwrap().unwrap().sql, "insert into t values (?)");
    assert_eq!(
        record.transcript().to_string(),
        "0> create table t (n int)\n   CREATE TABLE\n0> insert into t values (?)\n   unanswered\n"
    );
    let mut control = direct.connect().await.unwrap();
    assert_eq!(super::count(&mut control).await, 1);
}

#[tokio::test]
async fn a_fake_server_speaks_tls_too() {
    let authority = Authority::new().unwrap();
    let server = FakeServer::start_tls(&authority, async |mut guest: Guest| {
        guest.reply(&Reply::error("57P03", "the database system is starting up")).await
    })
    .await
    .unwrap();
    let nobody = PgConnectOptions::new_without_pgpass().username("nobody").database("nothing");
    let error = authority.verified(&server.options(&nobody)).connect().await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "57P03");
}

/// A connector that trusts this authority and says that it speaks these protocols within.
fn connector(authority: &Authority, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// A proxy with TLS, a connection to it, and how many sessions have come.
async fn counted(authority: &Authority) -> (Proxy, TcpStream, Arc<AtomicUsize>) {
    let direct = empty_database().await;
    let sessions = Arc::new(AtomicUsize::new(0));
    let count = sessions.clone();
    let taps = move |_: &Connection| {
        count.fetch_add(1, Ordering::SeqCst);
        PassAll
    };
    let proxy = Proxy::start_tls(Address::of(&direct), authority, taps).await.unwrap();
    let Address::Tcp { host, port } = proxy.address().clone() else { panic!("{proxy:?}") };
    (proxy, TcpStream::connect((host, port)).await.unwrap(), sessions)
}

#[rstest]
#[case::at_once(&["postgresql"], true)]
#[case::at_once_among_others(&["h2", "postgresql"], true)]
#[case::at_once_without_a_word(&[], false)]
#[case::at_once_for_something_else(&["h2"], false)]
#[tokio::test]
async fn who_begins_with_tls_says_that_it_speaks_postgres(
    #[case] protocols: &[&str],
    #[case] is_served: bool,
) {
    let authority = Authority::new().unwrap();
    let (_proxy, stream, sessions) = counted(&authority).await;
    let name = ServerName::try_from("localhost").unwrap();
    let mut answer = [0];
    let served = match connector(&authority, protocols).connect(name, stream).await {
        Ok(mut stream) => {
            stream.write_all(&startup()).await.is_ok() && matches!(stream.read(&mut answer).await, Ok(1))
        }
        Err(_) => false,
    };
    assert_eq!((served, sessions.load(Ordering::SeqCst)), (is_served, usize::from(is_served)));
    assert!(!is_served || answer == *b"R");
}

#[tokio::test]
async fn what_is_said_in_the_clear_is_no_part_of_what_is_encrypted() {
    let authority = Authority::new().unwrap();
    let (_proxy, mut stream, sessions) = counted(&authority).await;
    // Somebody on the line puts a start behind the client's request.
    stream.write_all(&[SSL_REQUEST, &startup()].concat()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!((answer.first(), sessions.load(Ordering::SeqCst)), (Some(&b'S'), 0), "{answer:?}");
}

#[tokio::test]
async fn tls_within_tls_is_refused() {
    let authority = Authority::new().unwrap();
    let (_proxy, stream, _) = counted(&authority).await;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector(&authority, &["postgresql"]).connect(name, stream).await.unwrap();
    stream.write_all(SSL_REQUEST).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("the connection is encrypted already"), "{text}");
}
