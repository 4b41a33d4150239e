//! A server by URL: what is said when it cannot be used, and two processes on one.

use crate::field::{Field, assert_well};
use pgharness::secret::Secret;
use pgharness::server::{Server, ServerConfig, ServerSource};
use pgharness::{Isolation, Template, TestDb, template};
use pgharness_tests::Participant;
use rstest::rstest;
use sqlx::Executor;
use std::path::Path;

static PRIVATE: Template = template! { isolation: Isolation::Cluster };

/// A server, and its URL over TCP.
async fn server() -> (TestDb, String) {
    let db = PRIVATE.get().await.unwrap();
    let url = db.server().url_tcp("postgres").await.unwrap();
    (db, url)
}

fn template(url: &str) -> Template {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = ServerConfig::from_env(dir).unwrap();
    config.source = ServerSource::External { url: Secret::new(url) };
    Template::builder(dir).with_server(config).build()
}

#[rstest]
#[case::password("postgres:wrong@", "", "the password for `postgres` is wrong, or it has none")]
#[case::tls("", "?sslmode=require", "the server does not speak TLS")]
#[case::role("nobody_of_this_name:x@", "", "the password for `nobody_of_this_name` is wrong")]
#[case::right("powerless:x@", "", "as a superuser: alter role \"powerless\" createdb;")]
#[tokio::test]
async fn a_server_that_cannot_be_used_is_explained(
    #[case] authority: &str,
    #[case] query: &str,
    #[case] help: &str,
) {
    let (db, url) = server().await;
    db.connection().await.unwrap().execute("create role powerless login password 'x'").await.unwrap();
    let (before, after) = url.split_once('@').unwrap();
    let url = match authority {
        "" => format!("{before}@{after}{query}"),
        authority => format!("postgresql://{authority}{after}{query}"),
    };
    let error = template(&url).get().await.unwrap_err();
    assert!(error.help().is_some_and(|given| given.starts_with(help)), "{error:?}");
    let password = before.rsplit_once(':').unwrap().1;
    assert!(!format!("{error:?}").contains(password), "the password is shown: {error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_explained() {
    let error = template("postgresql://u:p@127.0.0.1:1/postgres").get().await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("failed to connect to `127.0.0.1:1` as `u`, database `postgres`"), "{text}");
    assert_eq!(error.help(), Some("nobody listens there: is the server running?"));
}

async fn ours(server: &Server, pattern: &str) -> Vec<String> {
    sqlx::query_scalar("select datname::text from pg_database where datname ~ $1 order by 1")
        .bind(pattern)
        .fetch_all(&mut server.connect("postgres").await.unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn processes_share_a_server_by_url_and_leave_nobody_elses_database() {
    let (db, url) = server().await;
    let mut control = db.connection().await.unwrap();
    control.execute("create role ci login createdb password 'x'").await.unwrap();
    // An owner that nobody can prove dead: the server started a moment ago.
    control.execute("create database pgh_c_0123456789abcdef_0").await.unwrap();
    control.execute("create database pgh_production").await.unwrap();
    let url = format!("postgresql://ci:x@{}", url.split_once('@').unwrap().1);
    let field = Field::new(0).with("PGHARNESS_BACKEND", "external").with("PGHARNESS_URL", url);
    let workspace = field.workspace("w");
    let seed = "create table mark (writer int);
         create table seeded as select n, md5(n::text) as text from generate_series(1, 500) n";
    std::fs::write(workspace.join("seed.sql"), seed).unwrap();
    let churn = Participant { count: 8, vary: 3, ..Participant::once(&workspace) };
    let stories = tokio::task::spawn_blocking(move || {
        let started: Vec<_> = (0..4).map(|_| field.start(&churn)).collect();
        started.into_iter().map(|started| started.end()).collect::<Vec<_>>()
    })
    .await
    .unwrap();
    assert_well(&stories);
    assert_eq!(
        ours(db.server(), "^pgh_[bc]_|^pgh_prod").await,
        ["pgh_c_0123456789abcdef_0", "pgh_production"]
    );
}
