//! A made-up mirror of the release archives.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test that it helps")]

use super::sandbox::Sandbox;
use pgharness::postgres::{Request, Source};
use pgharness::process::Program;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
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
