//! A corner of the machine with made-up installations.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test that it helps")]

use pgharness::postgres::{Cache, Installation, Request};
use pgharness::process::Program;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory that the server's user can enter, with nothing of this machine in sight of its requests.
pub(super) struct Sandbox {
    pub(super) dir: tempfile::TempDir,
}

impl Sandbox {
    pub(super) fn new() -> Sandbox {
        let dir = tempfile::Builder::new().prefix("pgh-inst-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Sandbox { dir }
    }

    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    pub(super) fn request(&self) -> Request {
        Request::plain(Cache::at(self.path("cache")).unwrap())
            .with_search_path(self.path("path"))
            .with_places([self.path("lib/*/bin")])
            .with_sources([])
    }

    /// A made-up installation: two scripts.
    pub(super) fn install(&self, root: &str, version: &str) -> PathBuf {
        let bin = self.path(root).join("bin");
        script(&bin.join("postgres"), &format!("echo 'postgres (PostgreSQL) {version}'"));
        script(&bin.join("initdb"), "exit 0");
        bin
    }

    /// As [`install`](Sandbox::install), with these extensions.
    pub(super) fn install_with(&self, root: &str, version: &str, extensions: &[&str]) -> PathBuf {
        let share = self.path(root).join("share");
        fs::create_dir_all(share.join("extension")).unwrap();
        let major = version.split('.').next().unwrap();
        fs::write(share.join("postgres.bki"), format!("# PostgreSQL {major}\n")).unwrap();
        for extension in extensions {
            fs::write(share.join("extension").join(format!("{extension}.control")), "").unwrap();
        }
        self.install(root, version)
    }

    /// The whole report of a search that must fail, with this directory's name taken out.
    pub(super) fn failure(&self, request: &Request) -> String {
        let error = Installation::find(request).unwrap_err();
        let text = error.report().replace(&self.dir.path().display().to_string(), "<dir>");
        // What to install depends on the machine that the test runs on.
        text.lines()
            .filter(|line| !line.contains("install it: ") && !line.contains("install what has "))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Writes a script by another process: a file that is open for writing here while another test's thread
/// starts a program could not be run.
pub(super) fn script(path: &Path, body: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = format!("{}.txt", path.display());
    fs::write(&source, format!("#!/bin/sh\n{body}\n")).unwrap();
    let line = format!("cat '{source}' > '{0}'; chmod 755 '{0}'; rm '{source}'", path.display());
    assert!(Program::shell(&line).run().unwrap().status.success());
}
