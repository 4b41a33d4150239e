//! A field for participants: folders of one's own, so that nothing of other tests is met.

use pgharness::postgres::{Installation, Request};
use pgharness::process::Signal;
use pgharness::process::{Finished, Program, Running, User};
use pgharness::wait::{self, Look};
use pgharness_tests::{Participant, Story};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A cache, a data root and workspaces of one's own.
pub(crate) struct Field {
    scratch: tempfile::TempDir,
    root: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    user: Option<User>,
}

/// A participant at work.
pub(crate) struct Started {
    running: Running,
    output: tempfile::NamedTempFile,
}

impl Field {
    pub(crate) fn new(grace_ms: u64) -> Field {
        let scratch = tempfile::tempdir().unwrap();
        // As root the server is another user's, who must reach the cache.
        fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let memory = Path::new("/dev/shm");
        let below = if memory.is_dir() { memory } else { Path::new("/tmp") };
        let root = tempfile::Builder::new().prefix("kt-").rand_bytes(4).tempdir_in(below).unwrap();
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o777)).unwrap();
        // The one that is tested here, whatever the version: not what an empty cache would have fetched.
        let installation = Installation::find(&Request::from_env().unwrap()).unwrap();
        let settings = vec![
            ("PGHARNESS_INSTALLATION", installation.bin().display().to_string()),
            ("PGHARNESS_CACHE", scratch.path().join("cache").display().to_string()),
            ("PGHARNESS_DATA_ROOTS", root.path().display().to_string()),
            ("PGHARNESS_GRACE_MS", grace_ms.to_string()),
        ];
        Field { scratch, root, settings, user: None }
    }

    pub(crate) fn workspace(&self, name: &str) -> PathBuf {
        let workspace = self.scratch.path().join(name);
        pgharness_tests::lay_out(&workspace).unwrap();
        workspace
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.scratch.path().join("cache")
    }

    /// Participants get this environment variable; the last of one name counts.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Field {
        self.settings.push((name, value.into()));
        self
    }

    /// Participants run as this user.
    pub(crate) fn with_user(mut self, user: User) -> Field {
        self.user = Some(user);
        self
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn start(&self, participant: &Participant) -> Started {
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut program = Program::new(env!("CARGO_BIN_EXE_participant"))
            .args(participant.arguments())
            .with_plain_environment()
            .current_dir("/")
            .as_user(self.user.clone());
        for (name, value) in &self.settings {
            program = program.env(name, value);
        }
        let running = program.output(output.reopen().unwrap()).start().unwrap();
        Started { running, output }
    }

    pub(crate) fn run(&self, participant: &Participant) -> Story {
        self.start(participant).end()
    }

    /// Runs `pgharness` in `dir`, as the same user, but in a shell that knows of this field only where its cache is.
    pub(crate) fn door(&self, dir: &Path, arguments: &[&str]) -> Finished {
        self.door_program(dir, arguments).run().unwrap()
    }

    /// As [`door`](Field::door), to be started.
    pub(crate) fn door_program(&self, dir: &Path, arguments: &[&str]) -> Program {
        Program::new(env!("CARGO_BIN_EXE_door"))
            .args(arguments)
            .with_plain_environment()
            .env("PGHARNESS_CACHE", self.cache())
            .env("PGHARNESS_GRACE_MS", "0")
            .current_dir(dir)
    }

    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.sort();
        names
    }

    pub(crate) fn wait_until_parked(&self) {
        self.wait_until_so_many_are_parked(1);
    }

    pub(crate) fn wait_until_so_many_are_parked(&self, servers: usize) {
        wait::until("the servers to park their data", Duration::from_secs(30), || {
            let (bases, parked) = (self.names("pgh-"), self.names("pgp-"));
            Ok(match bases.is_empty() && parked.len() == servers {
                true => Look::Ready(()),
                false => Look::NotYet(format!("{bases:?} {parked:?}")),
            })
        })
        .unwrap();
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // The folders go with the fields; the servers must have gone before.
        let _ = wait::until("all servers to end", Duration::from_secs(30), || {
            let bases = self.names("pgh-");
            Ok(if bases.is_empty() { Look::Ready(()) } else { Look::NotYet(format!("{bases:?}")) })
        });
    }
}

impl Started {
    /// What it has said so far.
    pub(crate) fn output(&self) -> &Path {
        self.output.path()
    }

    pub(crate) fn kill(&self, signal: Signal) {
        self.running.signal(signal);
    }

    pub(crate) fn end(mut self) -> Story {
        wait::until("a participant to end", Duration::from_secs(120), || {
            Ok(match self.running.try_status()? {
                Some(_) => Look::Ready(()),
                None => Look::NotYet(fs::read_to_string(self.output.path()).unwrap_or_default()),
            })
        })
        .unwrap();
        Story::read(&fs::read_to_string(self.output.path()).unwrap())
    }
}

pub(crate) fn assert_well(stories: &[Story]) {
    let troubles: Vec<_> = stories.iter().flat_map(|story| &story.troubles).collect();
    assert!(troubles.is_empty(), "{troubles:#?}");
}
