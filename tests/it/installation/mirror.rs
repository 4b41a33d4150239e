//! A made-up mirror of the release archives.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test that it helps")]

use super::sandbox::Sandbox;
use pgharness::postgres::{Request, Source};
use pgharness::process::{Program, Running};
use pgharness::wait::{self, Look};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

/// A made-up mirror: files by the end of their path, and a count of what was asked for.
pub(super) struct Mirror {
    pub(super) url: String,
    pub(super) files: Arc<Mutex<BTreeMap<&'static str, Vec<u8>>>>,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    pub(super) fn start() -> Mirror {
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

    pub(super) fn put(&self, end: &'static str, bytes: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().insert(end, bytes.into());
    }

    pub(super) fn asked_for(&self, end: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Sandbox {
    /// An archive in the form of the real ones.
    pub(super) fn archive(&self, version: &str) -> Vec<u8> {
        self.install("packed/postgresql-16.4.0-any", version);
        self.pack()
    }

    pub(super) fn pack(&self) -> Vec<u8> {
        let tar = self.path("packed.tar.gz");
        let packed = Program::new("tar").arg("-czf").arg(&tar).arg("-C").arg(self.path("packed"));
        assert!(packed.arg("postgresql-16.4.0-any").run().unwrap().status.success());
        fs::read(tar).unwrap()
    }

    /// A request that knows of nothing but the mirror.
    pub(super) fn mirror_request(&self, mirror: &Mirror) -> Request {
        self.request().with_sources([Source::Archive]).with_mirror(format!("{}/pg/", mirror.url))
    }

    /// The names in the cache, apart from the lock.
    pub(super) fn cached(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("cache/installations"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lock" && !name.starts_with("failed-"))
            .collect();
        names.sort();
        names
    }
}

pub(super) fn checksum(bytes: &[u8]) -> String {
    format!("{}  postgresql.tar.gz\n", pgharness::digest::Digest::of(bytes))
}

/// A mirror under TLS, whose certificate nobody trusts who is not told to.
pub(super) struct TlsMirror {
    pub(super) url: String,
    pub(super) certificate: PathBuf,
    _server: Running,
}

impl TlsMirror {
    /// `None`: there is no `openssl`.
    pub(super) fn start(sandbox: &Sandbox, archive: &[u8]) -> Option<TlsMirror> {
        let (certificate, key) = (sandbox.path("certificate.pem"), sandbox.path("key.pem"));
        let made = Program::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .run()
            .ok()?;
        assert!(made.status.success(), "{}", made.complaint());
        let target = target_of(sandbox);
        let files = sandbox.path("tls/pg");
        fs::create_dir_all(files.join("16.4.0")).unwrap();
        fs::write(files.join("releases.json"), r#"[{"tag_name":"16.4.0"}]"#).unwrap();
        fs::write(files.join(format!("16.4.0/postgresql-16.4.0-{target}.tar.gz")), archive).unwrap();
        fs::write(files.join(format!("16.4.0/postgresql-16.4.0-{target}.tar.gz.sha256")), checksum(archive))
            .unwrap();
        // Bound and let go: `s_server` cannot say which port it was given.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Program::new("openssl")
            .args(["s_server", "-quiet", "-WWW", "-accept", &format!("127.0.0.1:{port}")])
            .arg("-cert")
            .arg(&certificate)
            .arg("-key")
            .arg(&key)
            .current_dir(sandbox.path("tls"))
            .ends_with_us()
            .start()
            .unwrap();
        wait::until("openssl to listen", Duration::from_secs(30), || {
            Ok(match TcpStream::connect(("127.0.0.1", port)) {
                Ok(_) => Look::Ready(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .unwrap();
        Some(TlsMirror { url: format!("https://localhost:{port}/pg"), certificate, _server: server })
    }
}

/// The system that archives are fetched for, as a request to a mirror names it.
fn target_of(sandbox: &Sandbox) -> String {
    let mirror = Mirror::start();
    sandbox.failure(&sandbox.mirror_request(&mirror).with_version("16.4"));
    let asked = mirror.asked.lock().unwrap();
    let name = asked[0].rsplit('/').next().unwrap().strip_prefix("postgresql-16.4.0-").unwrap();
    name.strip_suffix(".tar.gz.sha256").unwrap().to_owned()
}

/// A proxy that tunnels, and the first lines of what it was asked.
pub(super) fn tunnel() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    // It ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let mut server = TcpStream::connect(first.split(' ').nth(1).unwrap_or_default()).unwrap();
            noted.lock().unwrap().push(first);
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            // Whoever hangs up first ends both ways.
            thread::spawn(move || {
                std::io::copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Write))
            });
            thread::spawn(move || {
                std::io::copy(&mut server, &mut client).and_then(|_| client.shutdown(Shutdown::Both))
            });
        }
    });
    (url, asked)
}
