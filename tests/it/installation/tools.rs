//! Client programs, extensions, dumps.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test that it helps")]

use super::sandbox::{Sandbox, script};
use crate::support;
use pgharness::postgres::{self, Format, Installation, Request, Target};
use rstest::rstest;
use sqlx::{Connection, Executor, PgConnection};

#[test]
fn a_client_tool_is_borrowed_from_the_nearest_newer_version() {
    let sandbox = Sandbox::new();
    let server = sandbox.install("server", "16.4");
    for (major, has_tool) in [(15, true), (16, false), (17, true), (18, true)] {
        let bin = sandbox.install(&format!("lib/{major}"), &format!("{major}.1"));
        if has_tool {
            script(&bin.join("pg_dump"), &format!("echo 'pg_dump (PostgreSQL) {major}.1'"));
        }
    }
    let installation = Installation::find(&sandbox.request().with_explicit(&server)).unwrap();
    assert_eq!(installation.client_tool("pg_dump").unwrap(), sandbox.path("lib/17/bin/pg_dump"));
    script(&server.join("pg_dump"), "exit 0");
    assert_eq!(installation.client_tool("pg_dump").unwrap(), server.join("pg_dump"));
}

#[test]
fn a_missing_client_tool_is_named_with_what_was_tried() {
    let sandbox = Sandbox::new();
    let server = sandbox.install("server", "16.4");
    let old = sandbox.install("lib/15", "15.1");
    script(&old.join("psql"), "echo 'psql (PostgreSQL) 15.1'");
    let request = sandbox.request().with_explicit(server).with_offline(true);
    let error = Installation::find(&request).unwrap().client_tool("psql").unwrap_err();
    let text = error.report().replace(&sandbox.dir.path().display().to_string(), "<dir>");
    assert!(
        text.starts_with(
            "found no `psql` for Postgres 16\n  \
             caused by: the installation `<dir>/server/bin` has none\n    \
             `<dir>/lib/15/bin/psql` is 15.1, older than the server\n    \
             downloads are forbidden by PGHARNESS_OFFLINE\n  help: "
        ),
        "{text}"
    );
}

/// The `PATH` of a command, for a user's `PATH` with a `psql` of that version: `own` is the user's folder, `tools`
/// the server's.
fn command_path(own: Option<&str>) -> String {
    let sandbox = Sandbox::new();
    let server = sandbox.install("server", "16.4");
    script(&server.join("psql"), "echo 'psql (PostgreSQL) 16.4'");
    std::fs::create_dir(sandbox.path("path")).unwrap();
    if let Some(version) = own {
        script(&sandbox.path("path/psql"), &format!("echo 'psql (PostgreSQL) {version}'"));
    }
    let installation = Installation::find(&sandbox.request().with_explicit(&server)).unwrap();
    let path = installation.command_path().unwrap().into_string().unwrap();
    path.replace(server.to_str().unwrap(), "tools").replace(sandbox.path("path").to_str().unwrap(), "own")
}

#[rstest]
#[case::none(None, "tools:own")]
#[case::older_than_the_server(Some("15.8"), "tools:own")]
#[case::as_new(Some("16.1"), "own:tools")]
#[case::newer(Some("17.0"), "own:tools")]
fn a_command_finds_tools_that_are_new_enough(#[case] own: Option<&str>, #[case] path: &str) {
    assert_eq!(command_path(own), path);
}

#[test]
fn a_path_that_has_the_tools_stays_as_it_is() {
    let sandbox = Sandbox::new();
    let server = sandbox.install("server", "16.4");
    let request = sandbox.request().with_offline(true);
    let path = |request: &Request| {
        Installation::find(&request.clone().with_explicit(&server)).unwrap().command_path()
    };
    assert_eq!(path(&request), None, "there are no tools");
    script(&server.join("psql"), "echo 'psql (PostgreSQL) 16.4'");
    assert!(path(&request).is_some());
    assert_eq!(path(&request.clone().with_search_path("")), None, "the shell has a default");
    assert_eq!(path(&request.clone().with_search_path(format!("/nowhere:{}", server.display()))), None);
}

/// The installation that tests here use: this machine's, or the fetched one.
fn local() -> (Sandbox, Installation) {
    (Sandbox::new(), Installation::find(&Request::from_env().unwrap()).unwrap())
}

#[test]
fn the_installation_of_this_machine_knows_itself() {
    let (_sandbox, installation) = local();
    assert!(installation.version().major >= 15);
    assert!(installation.sharedir().unwrap().join("postgres.bki").exists());
    assert!(installation.pkglibdir().unwrap().is_dir());
    assert!(installation.has_extension("plpgsql").unwrap());
    for none in ["", "nothing_like_it", "../extension/plpgsql"] {
        assert!(!installation.has_extension(none).unwrap(), "{none}");
    }
    installation.require_extensions(&["plpgsql"]).unwrap();
    let error = installation.require_extensions(&["plpgsql", "nothing_like_it", "nor_this"]).unwrap_err();
    assert!(error.to_string().ends_with("lacks the extensions `nothing_like_it`, `nor_this`"), "{error}");
    assert!(error.help().unwrap().contains("PGHARNESS_INSTALLATION"));
}

#[tokio::test]
async fn a_dump_restores_to_the_same_rows() {
    let (_sandbox, installation) = local();
    let (source, target) = (support::empty_database().await, support::empty_database().await);
    let place = |options: &sqlx::postgres::PgConnectOptions| Target {
        host: options.get_socket().unwrap().display().to_string(),
        port: options.get_port(),
        user: options.get_username().to_owned(),
        database: options.get_database().unwrap().to_owned(),
        password: None,
    };
    let mut connection = PgConnection::connect_with(&source).await.unwrap();
    connection.execute("create table t (id int); insert into t values (1), (2)").await.unwrap();
    for format in [Format::Custom, Format::Plain] {
        let dump = postgres::dump(&installation, &place(&source), format, &[]).unwrap();
        postgres::restore(&installation, &place(&target), format, &dump, &[]).unwrap();
        let sum =
            postgres::psql(&installation, &place(&target), "select sum(id) from t; drop table t").unwrap();
        assert_eq!(sum, "3", "{format:?}");
    }
    let error = postgres::psql(&installation, &place(&target), "select 1; select nonsense").unwrap_err();
    let database = target.get_database().unwrap();
    assert!(
        error
            .to_string()
            .starts_with(&format!("failed to run a script in the database `{database}`: exited"))
    );
    assert!(error.to_string().contains("nonsense"), "{error}");
    // A restore that fails half-way leaves nothing.
    let broken = b"create table half (id int); select nonsense;";
    postgres::restore(&installation, &place(&target), Format::Plain, broken, &[]).unwrap_err();
    let left = postgres::psql(&installation, &place(&target), "select to_regclass('half') is null").unwrap();
    assert_eq!(left, "t");
}
