//! Fetching from a made-up mirror: once, verified, and never half.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test that it helps")]

use super::mirror::{Mirror, TlsMirror, checksum, tunnel};
use super::sandbox::{Sandbox, script};
use pgharness::env;
use pgharness::notice;
use pgharness::postgres::{Installation, Request, Source};
use pgharness::process::Program;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Barrier;
use std::{fs, thread};

#[test]
fn sixteen_at_once_on_an_empty_cache_fetch_once() {
    let (sandbox, mirror) = (Sandbox::new(), Mirror::start());
    let archive = sandbox.archive("16.4");
    mirror.put(
        "/pg/releases.json",
        r#"[{"tag_name":"14.9.0"},{"tag_name":"16.4.0","assets":[]},{"tag_name":"15.8.0"}]"#,
    );
    mirror.put(".tar.gz.sha256", checksum(&archive));
    mirror.put(".tar.gz", archive);
    let request = sandbox.mirror_request(&mirror);
    // What a process that was killed meanwhile leaves behind.
    fs::create_dir_all(sandbox.path("cache/installations/.new-left/behind")).unwrap();
    let barrier = Barrier::new(16);
    let bins: Vec<_> = thread::scope(|scope| {
        let find = || {
            barrier.wait();
            Installation::find(&request).unwrap().bin().to_owned()
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(find)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(
        bins.iter().all(|bin| *bin == sandbox.path("cache/installations/archive-16.4.0/bin")),
        "{bins:?}"
    );
    assert_eq!(
        [".tar.gz", ".sha256", "releases.json"].map(|end| mirror.asked_for(end)),
        [1, 1, 1],
        "{:?}",
        mirror.asked.lock().unwrap()
    );
    assert_eq!(sandbox.cached(), ["archive-16.4.0"]);
    // From now on it is there, offline too.
    let found = Installation::find(&request.with_offline(true).with_version("16.4")).unwrap();
    assert_eq!(found.version().to_string(), "16.4");
}

#[tokio::test]
async fn an_exact_version_is_fetched_from_inside_a_runtime_without_a_list() {
    let (sandbox, mirror) = (Sandbox::new(), Mirror::start());
    let archive = sandbox.archive("16.4");
    mirror.put(".tar.gz.sha256", checksum(&archive));
    mirror.put(".tar.gz", archive);
    let found = Installation::find(&sandbox.mirror_request(&mirror).with_version("16.4")).unwrap();
    assert_eq!(found.version().to_string(), "16.4");
    assert_eq!(mirror.asked_for("releases.json"), 0);
    let asked = mirror.asked.lock().unwrap();
    assert!(asked.iter().all(|path| path.starts_with("/pg/16.4.0/postgresql-16.4.0-")), "{asked:?}");
}

#[test]
fn an_archive_that_is_damaged_or_unverified_is_not_used() {
    let (sandbox, mirror) = (Sandbox::new(), Mirror::start());
    let request = sandbox.mirror_request(&mirror).with_version("16.4");
    let archive = sandbox.archive("16.4");
    let check = |expect: &str| {
        let text = sandbox.failure(&request);
        assert!(text.contains(expect), "{text}");
        assert!(sandbox.cached().is_empty(), "{:?}", sandbox.cached());
    };
    mirror.put(".tar.gz", archive.clone());
    check(".tar.gz.sha256`: HTTP status client error (404 Not Found)");
    mirror.put(".tar.gz.sha256", "none today");
    check(".tar.gz.sha256` holds no checksum");
    mirror.put(".tar.gz.sha256", checksum(b"another"));
    check(" is damaged: its checksum is ");
    // The right sum of what is no archive.
    mirror.put(".tar.gz", "no archive");
    mirror.put(".tar.gz.sha256", checksum(b"no archive"));
    check("archive: failed to unpack `");
    // The right sum of another version.
    let other = sandbox.archive("16.5");
    mirror.put(".tar.gz.sha256", checksum(&other));
    mirror.put(".tar.gz", other);
    check("archive: what came is 16.5, not 16.4");
    // A failure is not remembered once the cause is gone.
    mirror.put(".tar.gz.sha256", checksum(&archive));
    mirror.put(".tar.gz", archive);
    Installation::find(&request).unwrap();
}

#[test]
fn a_fetched_server_whose_initdb_fails_is_not_kept() {
    let (sandbox, mirror) = (Sandbox::new(), Mirror::start());
    sandbox.archive("16.4");
    script(&sandbox.path("packed/postgresql-16.4.0-any/bin/initdb"), "echo 'no postgres.bki' >&2; exit 1");
    let archive = sandbox.pack();
    mirror.put(".tar.gz.sha256", checksum(&archive));
    mirror.put(".tar.gz", archive);
    let text = sandbox.failure(&sandbox.mirror_request(&mirror).with_version("16.4"));
    assert!(
        text.contains(
            "archive: what came does not work, `initdb` failed: exited with status 1: no postgres.bki"
        ),
        "{text}"
    );
    assert!(sandbox.cached().is_empty());
}

#[test]
fn a_mirror_that_is_not_there_is_named_without_its_password() {
    let sandbox = Sandbox::new();
    // Bound and let go: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let request = sandbox
        .request()
        .with_sources([Source::Archive])
        .with_mirror(format!("http://me:hunter2@127.0.0.1:{port}/pg"));
    let text = sandbox.failure(&request);
    assert!(
        text.contains(&format!("archive: failed to fetch `http://me:***@127.0.0.1:{port}/pg/releases.json`")),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

/// Not a test by itself: what the processes below run.
#[test]
fn a_child_that_finds() {
    if !env::is_required("installation-child") {
        return;
    }
    let request = Request::from_env().unwrap().with_places([PathBuf::from("/nowhere")]);
    let found = Installation::find(&request.with_sources([Source::Archive])).unwrap();
    assert_eq!(found.version().to_string(), "16.4");
}

/// A process of its own that finds what `mirror` has, by the environment alone.
fn child(sandbox: &Sandbox, mirror: &str) -> Program {
    Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "installation::fetch::a_child_that_finds"])
        .env("PGHARNESS_REQUIRE", "installation-child")
        .env("PGHARNESS_CACHE", sandbox.path("cache"))
        .env("PGHARNESS_MIRROR", mirror)
        .env("PGHARNESS_VERSION", "16")
        .env("PGHARNESS_INSTALLATION", "")
        .env("PGHARNESS_OFFLINE", "")
        .env("PATH", "/nowhere")
}

#[test]
fn sixteen_processes_fetch_once() {
    let (sandbox, mirror) = (Sandbox::new(), Mirror::start());
    let archive = sandbox.archive("16.4");
    mirror.put("/releases.json", r#"[{"tag_name":"16.4.0"}]"#);
    mirror.put(".tar.gz.sha256", checksum(&archive));
    mirror.put(".tar.gz", archive);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let ended = child(&sandbox, &mirror.url).run().unwrap();
                assert!(ended.status.success(), "{} {}", ended.text(), ended.complaint());
            });
        }
    });
    assert_eq!(mirror.asked_for(".tar.gz"), 1, "{:?}", mirror.asked.lock().unwrap());
    assert_eq!(sandbox.cached(), ["archive-16.4.0"]);
}

#[test]
fn a_fetch_goes_through_the_proxy() {
    let (sandbox, mirror) = (Sandbox::new(), Mirror::start());
    let archive = sandbox.archive("16.4");
    mirror.put("/releases.json", r#"[{"tag_name":"16.4.0"}]"#);
    mirror.put(".tar.gz.sha256", checksum(&archive));
    mirror.put(".tar.gz", archive);
    // No such host: only the proxy can answer for it.
    let proxied =
        child(&sandbox, "http://mirror.invalid/pg").env("http_proxy", &mirror.url).env("no_proxy", "");
    let ended = proxied.run().unwrap();
    assert!(ended.status.success(), "{} {}", ended.text(), ended.complaint());
    assert_eq!(mirror.asked_for(".tar.gz"), 1, "{:?}", mirror.asked.lock().unwrap());
}

#[test]
fn a_mirror_under_tls_is_trusted_as_the_system_does_and_reached_through_a_tunnel() {
    let sandbox = Sandbox::new();
    let archive = sandbox.archive("16.4");
    let Some(mirror) = TlsMirror::start(&sandbox, &archive) else {
        assert!(!env::is_required("openssl"), "no `openssl` program");
        return notice::skipped("openssl", "no `openssl` program makes a certificate");
    };
    let stranger = child(&sandbox, &mirror.url).env("SSL_CERT_FILE", "/dev/null").run().unwrap();
    assert!(stranger.text().contains("/pg/releases.json`: "), "{}", stranger.text());
    assert!(sandbox.cached().is_empty(), "{:?}", sandbox.cached());

    let (proxy, asked) = tunnel();
    let trusted = child(&sandbox, &mirror.url)
        .env("SSL_CERT_FILE", mirror.certificate)
        .env("https_proxy", proxy)
        .env("no_proxy", "")
        .run()
        .unwrap();
    assert!(trusted.status.success(), "{} {}", trusted.text(), trusted.complaint());
    assert_eq!(sandbox.cached(), ["archive-16.4.0"]);
    // The list, the checksum, the archive.
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let host = mirror.url.trim_start_matches("https://").trim_end_matches("/pg");
    assert!(asked.iter().all(|line| *line == format!("CONNECT {host} HTTP/1.1")), "{asked:?}");
}
