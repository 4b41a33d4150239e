//! The proxy is no hindrance: what works on a direct connection works through it, in bounded memory.

mod cut;
mod fake_server;
mod fault;
mod memory;
mod pgbouncer;
mod psycopg;
mod record;
mod reset;
mod robustness;
mod tls;
mod within;

use crate::raw::Raw;
use crate::support::{client_tool, empty_cluster, empty_database};
use futures_util::{StreamExt, TryStreamExt};
use pgharness::wait::{Look, until_async};
use pgharness::wire::{
    Address, Batches, Boundary, Connection, Event, Head, Kind, PassAll, Proxy, Side, Tap, Verdict,
};
use sqlx::postgres::{PgConnectOptions, PgListener, PgSslMode};
use sqlx::{ConnectOptions, Connection as _, Executor, PgConnection};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A proxy before a new database, and options that lead through it.
async fn proxied() -> (Proxy, PgConnectOptions, PgConnectOptions) {
    let direct = empty_database().await;
    let proxy = Proxy::start(Address::of(&direct), |_| PassAll).await.unwrap();
    let through = proxy.options(&direct);
    (proxy, through, direct)
}

fn psql(options: &PgConnectOptions) -> Command {
    psql_at(&client_tool("psql"), options)
}

/// The psql at `path`.
fn psql_at(path: &Path, options: &PgConnectOptions) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a test may start a client")]
    let mut psql = Command::new(path);
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]).arg(pgharness::script::database_url(options));
    psql
}

#[tokio::test]
async fn sqlx_works_through_the_proxy() {
    let (_proxy, through, _) = proxied().await;
    let mut client = through.connect().await.unwrap();
    client.execute("create table t (n int primary key, text text)").await.unwrap();
    for n in 0..20 {
        sqlx::query("insert into t values ($1, $2)")
            .bind(n)
            .bind("x".repeat(1000))
            .execute(&mut client)
            .await
            .unwrap();
    }
    let sum: i64 = sqlx::query_scalar("select sum(n) from t where n >= $1")
        .bind(10)
        .fetch_one(&mut client)
        .await
        .unwrap();
    assert_eq!(sum, 145);
    let error = client.execute("insert into t values (1)").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "23505");
    let mut tx = client.begin().await.unwrap();
    tx.execute("delete from t").await.unwrap();
    tx.rollback().await.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&mut client).await.unwrap();
    assert_eq!(count, 20);
    client.close().await.unwrap();
}

#[tokio::test]
async fn notifications_come_through() {
    let (_proxy, through, direct) = proxied().await;
    let pool = sqlx::PgPool::connect_lazy_with(through);
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("news").await.unwrap();
    direct.connect().await.unwrap().execute("notify news, 'here'").await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "here");
}

#[tokio::test]
async fn copy_streams_both_ways() {
    let (_proxy, through, _) = proxied().await;
    let mut client = through.connect().await.unwrap();
    client.execute("create table t (n int, text text)").await.unwrap();
    let mut copy = client.copy_in_raw("copy t from stdin").await.unwrap();
    for part in 0..100 {
        let rows: String =
            (0..1000).map(|row| format!("{}\tsome text of a row\n", part * 1000 + row)).collect();
        copy.send(rows.into_bytes()).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 100_000);
    let bytes: usize = client
        .copy_out_raw("copy t to stdout")
        .await
        .unwrap()
        .map_ok(|part| part.len())
        .try_fold(0, async |sum, part| Ok::<usize, sqlx::Error>(sum + part))
        .await
        .unwrap();
    assert!(bytes > 2_000_000, "{bytes}");
    let error = client.copy_in_raw("copy t from stdin").await.unwrap().abort("enough").await;
    assert!(error.is_ok(), "{error:?}");
    let count: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&mut client).await.unwrap();
    assert_eq!(count, 100_000);
}

#[tokio::test]
async fn a_long_value_goes_through_both_ways() {
    let (_proxy, through, _) = proxied().await;
    let mut client = through.connect().await.unwrap();
    let sent = vec![b'x'; 20 << 20];
    let got: Vec<u8> =
        sqlx::query_scalar("select $1::bytea").bind(&sent).fetch_one(&mut client).await.unwrap();
    assert!(sent == got, "{} bytes", got.len());
}

#[tokio::test]
async fn psql_works_through_the_proxy() {
    let (_proxy, through, _) = proxied().await;
    let script = "create table t (n int);\ncopy t from stdin;\n1\n2\n\\.\nselect sum(n) from t;\n\\copy t to stdout\n\
                  prepare p as select $1::int + 1;\nexecute p (3);\nselect 'select 5' \\gexec\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script.sql");
    std::fs::write(&file, script).unwrap();
    let mut psql = psql(&through);
    psql.arg("-f").arg(&file);
    let output = tokio::task::spawn_blocking(move || psql.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("3\n1\n2\n4\n5\n"), "{text}");
}

/// A server's TCP, and options that lead there with a password.
async fn tcp_cluster() -> (Address, PgConnectOptions) {
    let mut control = empty_cluster().await.connect().await.unwrap();
    let port: String = sqlx::query_scalar("show port").fetch_one(&mut control).await.unwrap();
    control.execute("alter role postgres password 'secret'").await.unwrap();
    let server = Address::Tcp { host: "127.0.0.1".into(), port: port.parse().unwrap() };
    let options =
        PgConnectOptions::new_without_pgpass().username("postgres").password("secret").database("postgres");
    let options = server.lead(&options);
    (server, options)
}

#[tokio::test]
async fn a_client_that_insists_on_tls_is_refused_clearly() {
    let (server, options) = tcp_cluster().await;
    let proxy = Proxy::start_tcp(server, |_| PassAll).await.unwrap();
    let options = proxy.options(&options);
    let error = options.clone().ssl_mode(PgSslMode::Require).connect().await.unwrap_err();
    assert!(error.to_string().contains("server does not support TLS"), "{error}");
    // Who only prefers it logs in by scram without.
    let mut client = options.clone().ssl_mode(PgSslMode::Prefer).connect().await.unwrap();
    client.execute("select 1").await.unwrap();
    let error = options.password("wrong").connect().await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "28P01");
}

#[tokio::test]
async fn a_cancel_request_reaches_the_server() {
    let direct = empty_database().await;
    let proxy = Proxy::start(Address::of(&direct), |_| PassAll).await.unwrap();
    let (client, token, task) = tokio_postgres_client(&proxy, &direct).await;
    let query =
        tokio::spawn(async move { client.batch_execute("select pg_sleep(600)").await.map(|()| client) });
    let mut control = direct.connect().await.unwrap();
    until_async("the query to run", Duration::from_secs(20), async || {
        let runs: bool = sqlx::query_scalar("select exists (select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database())")
            .fetch_one(&mut control)
            .await?;
        Ok(if runs { Look::Ready(()) } else { Look::NotYet("not yet".into()) })
    })
    .await
    .unwrap();
    token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let error = query.await.unwrap().map(drop).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    task.abort();
}

async fn tokio_postgres_client(
    proxy: &Proxy,
    direct: &PgConnectOptions,
) -> (tokio_postgres::Client, tokio_postgres::CancelToken, tokio::task::JoinHandle<()>) {
    let Address::Socket { dir, port } = proxy.address() else { panic!("{proxy:?}") };
    let mut config = tokio_postgres::Config::new();
    config.host_path(dir).port(*port).user(direct.get_username()).dbname(direct.get_database().unwrap());
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let token = client.cancel_token();
    let task = tokio::spawn(async move { drop(connection.await) });
    (client, token, task)
}

#[tokio::test]
async fn tokio_postgres_pipelines_through_the_proxy() {
    let direct = empty_database().await;
    let proxy = Proxy::start(Address::of(&direct), |_| PassAll).await.unwrap();
    let (client, _, task) = tokio_postgres_client(&proxy, &direct).await;
    let client = Arc::new(client);
    let sums: Vec<i32> = futures_util::stream::iter(0..200)
        .map(|n| {
            let client = client.clone();
            async move { client.query_one("select $1::int + 1", &[&n]).await.unwrap().get::<_, i32>(0) }
        })
        .buffered(50)
        .collect()
        .await;
    assert_eq!(sums, (1..=200).collect::<Vec<_>>());
    drop(client);
    task.await.unwrap();
}

/// Writes down the boundaries that a session passes.
#[derive(Clone, Default)]
struct Boundaries(Arc<Mutex<(Batches, Vec<Boundary>)>>);

impl Tap for Boundaries {
    fn arrived(&self, from: Side, head: &Head) {
        if from == Side::Backend {
            let (batches, seen) = &mut *self.0.lock().unwrap();
            seen.extend(batches.backend(head));
        }
    }

    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        if let (Side::Frontend, Event::Message(head)) = (from, event) {
            let (batches, seen) = &mut *self.0.lock().unwrap();
            seen.extend(batches.frontend(head));
        }
        Verdict::Pass
    }
}

#[tokio::test]
async fn a_pipeline_of_psql_passes() {
    let (_proxy, through, _) = proxied().await;
    let mut version = psql(&through);
    let output = version.arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = text.split([' ', '.']).find_map(|word| word.parse::<u32>().ok());
    if major.is_none_or(|major| major < 18) {
        let reason = format!("`{}` has no pipelines", text.trim());
        assert!(!pgharness::env::is_required("psql18"), "{reason}");
        return pgharness::notice::skipped("psql18", &reason);
    }
    let script = "\\startpipeline\nselect $1::int + 1 \\bind 4 \\sendpipeline\n\\flushrequest\n\\getresults\n\
                  select $1::int + 2 \\bind 4 \\sendpipeline\n\\syncpipeline\n\
                  select $1::int + 3 \\bind 4 \\sendpipeline\n\\endpipeline\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script.sql");
    std::fs::write(&file, script).unwrap();
    let mut psql = psql(&through);
    psql.arg("-f").arg(&file);
    let output = tokio::task::spawn_blocking(move || psql.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "5\n6\n7\n");
}

#[tokio::test]
async fn an_extended_pipeline_with_flush_passes_and_its_boundaries_are_seen() {
    let direct = empty_database().await;
    let boundaries = Boundaries::default();
    let tap = boundaries.clone();
    let proxy = Proxy::start(Address::of(&direct), move |_: &Connection| tap.clone()).await.unwrap();
    let mut raw = Raw::start(&proxy.options(&direct)).await;
    let bind: &[u8] = b"\0s\0\0\0\0\0\0\0";
    raw.say(&[(b'P', b"s\0select 1\0\0\0"), (b'D', b"Ss\0"), (b'H', b"")]).await;
    assert_eq!(raw.read_until(b'T').await, "1tT");
    raw.say(&[(b'B', bind), (b'E', b"\0\0\0\0\0"), (b'H', b"")]).await;
    assert_eq!(raw.read_until(b'C').await, "2DC");
    raw.say(&[
        (b'B', bind),
        (b'E', b"\0\0\0\0\0"),
        (b'S', b""),
        (b'B', b"\0nil\0\0\0\0\0\0\0"),
        (b'E', b"\0\0\0\0\0"),
        (b'H', b""),
    ])
    .await;
    assert_eq!(raw.read_until(b'Z').await, "2DCZ");
    assert_eq!(raw.read_until(b'E').await, "E");
    raw.say(&[(b'Q', b"select 2\0"), (b'S', b""), (b'Q', b"select 3\0")]).await;
    assert_eq!(raw.read_until(b'Z').await, "Z");
    assert_eq!(raw.read_until(b'Z').await, "TDCZ");
    use pgharness::wire::Status::Idle;
    let ready = |ran| Boundary::Ready { ran, status: Idle };
    assert_eq!(
        boundaries.0.lock().unwrap().1,
        [
            ready(false),
            Boundary::Flushed { ran: false },
            Boundary::Flushed { ran: true },
            ready(true),
            Boundary::Flushed { ran: true },
            ready(false),
            ready(true)
        ]
    );
}

/// Cuts the session when the server has done its commit, before the client hears of it.
struct CutsCommit;

impl Tap for CutsCommit {
    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        match event {
            Event::Message(head)
                if from == Side::Backend
                    && head.kind() == Kind::CommandComplete
                    && head.tag().as_deref() == Some("COMMIT") =>
            {
                Verdict::Cut
            }
            _ => Verdict::Pass,
        }
    }
}

#[tokio::test]
async fn a_tap_cuts_where_it_says() {
    let direct = empty_database().await;
    let proxy = Proxy::start(Address::of(&direct), |_: &Connection| CutsCommit).await.unwrap();
    let mut control = direct.connect().await.unwrap();
    control.execute("create table t (n int)").await.unwrap();
    let mut client = proxy.options(&direct).connect().await.unwrap();
    client.execute("begin").await.unwrap();
    client.execute("insert into t values (1)").await.unwrap();
    let error = client.execute("commit").await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Io(_)), "{error:?}");
    assert_eq!(count(&mut control).await, 1);
}

async fn count(control: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from t").fetch_one(control).await.unwrap()
}

#[tokio::test]
async fn what_is_no_protocol_is_answered_with_an_error() {
    let direct = empty_database().await;
    let proxy = Proxy::start(Address::of(&direct), |_| PassAll).await.unwrap();
    let Address::Socket { dir, port } = proxy.address() else { panic!("{proxy:?}") };
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "a message cannot have the length 1195725856"),
        (&[0x16, 3, 1, 2, 0, 1], "the client began with TLS"),
    ] {
        let mut stream = tokio::net::UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // What was not read may make the end a reset, behind the answer.
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.contains(expected), "{text}");
    }
    let gone =
        Proxy::start(Address::Socket { dir: "/nowhere/at/all".into(), port: 1 }, |_| PassAll).await.unwrap();
    let error = gone.options(&direct).connect().await.unwrap_err();
    assert!(error.to_string().contains("failed to connect to `/nowhere/at/all/.s.PGSQL.1`"), "{error}");
}
