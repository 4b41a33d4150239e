//! The shelf: databases that a process leaves to others when it ends, on a server whose files are within reach.
//!
//! Each has a file there, with the database's name, beside the server's data and going with them. Who has the file
//! locked has the database, so nobody connects to the server to get one. The file's first byte says what becomes of
//! the database when nobody has it: only one that is *ready* is ever handed out. It is written under another name
//! first, so what can be seen is complete, and it comes last: a process that is killed before leaves a database
//! without a file, which is its dead maker's; one that is killed while it has a database leaves it *lent*. Both are
//! swept.

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::Lsn;
use crate::process::{FileLock, User};
use crate::server::Server;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Locked by who puts back what was returned.
const KEEPING: &str = ".keeping";
/// A file has no name yet for at most so long.
const NAMELESS: Duration = Duration::from_secs(10);

/// The databases on the shelf of one server.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
}

/// What a database on the shelf is while nobody has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As its template.
    Ready,
    /// As some test left it, to be put back or dropped.
    Returned,
    /// Of somebody who died with it, to be dropped.
    Lent,
}

/// What is written about a database when it is put there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    /// Of its template.
    pub(super) digest: String,
    pub(super) oid: u32,
    /// The transaction that made it what its template is: what rows later ones made are not the template's.
    pub(super) mark: u32,
    /// The place in the server's log before which nothing concerns it.
    pub(super) since: Lsn,
    /// How often it was put back.
    pub(super) uses: u32,
    /// The size of its template.
    pub(super) mib: u64,
}

/// A database from the shelf that we have, as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) label: Label,
    lock: FileLock,
}

/// How many are there that nobody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) ready: usize,
    pub(super) returned: usize,
}

impl Shelf {
    /// That of a server; `None`: its files are out of reach.
    pub(super) fn of(server: &Server) -> Option<Shelf> {
        Some(Shelf { dir: server.data()?.join("pgharness.shelf") })
    }

    /// Puts a database there that nobody else can have: the last step of whatever was done to it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn put(&self, name: &str, state: State, label: &Label) -> Result<()> {
        let (new, path) = (self.dir.join(format!(".{name}")), self.dir.join(name));
        let json = serde_json::to_string(label)
            .map_err(|source| Error::server("failed to write a label").with_source(source))?;
        self.make()?;
        fs::write(&new, format!("{}{json}\n", char::from(state.letter())))
            .and_then(|()| fs::rename(&new, &path))
            .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))
    }

    fn make(&self) -> Result<()> {
        if self.dir.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.dir)
            .attempt(ErrorKind::Environment, || format!("failed to create `{}`", self.dir.display()))?;
        // Its keeper removes the server's data as that user.
        User::for_server().map_or(Ok(()), |user| user.own(&self.dir))
    }

    /// Removes what somebody who was killed had written half.
    pub(super) fn tidy(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|file| file.modified()).map(|time| time.elapsed());
            let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > NAMELESS));
            let name = entry.file_name();
            if is_old && name != KEEPING && name.to_string_lossy().starts_with('.') {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Takes a database of the template `digest`, whoever dies with it from now on. Of those that are ready and `fit`
    /// the one that was put there last, since the log of what came later is the shortest.
    pub(super) fn take_ready(&self, digest: &str, fit: impl Fn(&Label) -> bool) -> Option<Place> {
        let mut candidates = self.list(digest, State::Ready);
        candidates.retain(|(_, label)| fit(label));
        candidates.into_iter().rev().find_map(|(name, _)| self.take_as_lent(&name, State::Ready))
    }

    /// Takes a database of the template `digest` that is to be put back, the one that waits for longest.
    pub(super) fn take_returned(&self, digest: &str) -> Option<Place> {
        self.list(digest, State::Returned).into_iter().find_map(|(name, _)| self.take(&name, State::Returned))
    }

    /// Takes any database whose holder died, or that `is_unwanted`, to drop it.
    pub(super) fn take_condemned(&self, is_unwanted: impl Fn(&str, &Label) -> bool) -> Vec<Place> {
        let condemned = self.entries().into_iter().filter_map(|(name, state, label)| {
            let is_condemned = state == State::Lent || is_unwanted(&name, &label);
            is_condemned.then(|| self.take_as_lent(&name, state))?
        });
        condemned.collect()
    }

    /// Whether somebody has a database of the template `digest`.
    pub(super) fn is_used(&self, digest: &str) -> bool {
        let lent = self.list(digest, State::Lent);
        lent.iter().any(|(name, _)| {
            matches!(FileLock::try_existing(&self.dir.join(name)), Ok(None)) && self.has(name)
        })
    }

    /// Takes what nobody has of all other templates than `digest`, to drop it.
    pub(super) fn take_unused_but(&self, digest: &str) -> Vec<Place> {
        let others = self
            .entries()
            .into_iter()
            .filter(|(_, state, label)| *state != State::Lent && label.digest != digest);
        others.filter_map(|(name, state, _)| self.take_as_lent(&name, state)).collect()
    }

    /// Whether a database was put there and is there still, whoever has it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// How many of the template `digest` there are, for an estimate: others take them meanwhile.
    pub(super) fn count(&self, digest: &str) -> Count {
        let mut count = Count::default();
        for (_, state, label) in self.entries() {
            match state {
                State::Ready if label.digest == digest => count.ready += 1,
                State::Returned if label.digest == digest => count.returned += 1,
                _ => {}
            }
        }
        count
    }

    /// The right to put back what was returned, for one process at a time; `None`: another one has it.
    pub(super) fn try_keep(&self) -> Option<FileLock> {
        FileLock::try_take(&self.dir.join(KEEPING)).ok().flatten()
    }

    /// As [`take`](Shelf::take), and whoever dies with it leaves it to be dropped.
    fn take_as_lent(&self, name: &str, wanted: State) -> Option<Place> {
        let place = self.take(name, wanted)?;
        place.mark(State::Lent).ok()?;
        Some(place)
    }

    /// Locks a database's file if it is in this state then.
    fn take(&self, name: &str, wanted: State) -> Option<Place> {
        let path = self.dir.join(name);
        let lock = FileLock::try_existing(&path).ok().flatten().filter(FileLock::is_in_place)?;
        // Only now: it may have been taken, used and removed since it was listed.
        let (state, label) = read(&path)?;
        (state == wanted).then(|| Place { name: name.to_owned(), label, lock })
    }

    /// Those in this state, the one that was put there first first.
    fn list(&self, digest: &str, wanted: State) -> Vec<(String, Label)> {
        let listed = self.entries().into_iter();
        let mut listed: Vec<_> = listed
            .filter(|(_, state, label)| *state == wanted && label.digest == digest)
            .map(|(name, _, label)| (name, label))
            .collect();
        listed.sort_by_key(|(_, label)| label.since);
        listed
    }

    fn entries(&self) -> Vec<(String, State, Label)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'))?;
            let (state, label) = read(&entry.path())?;
            Some((name, state, label))
        };
        entries.filter_map(read).collect()
    }
}

impl Place {
    /// Lets others have it, who put it back or drop it, and who read the log from `since` on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn give_back(self, shelf: &Shelf, since: Lsn) -> Result<()> {
        if self.label.since == since {
            return self.mark(State::Returned);
        }
        // Another file in its place: who waits for the lock of this one sees that.
        shelf.put(&self.name, State::Returned, &Label { since, ..self.label.clone() })
    }

    /// How long ago its state changed; for ever, where that cannot be told.
    pub(super) fn age(&self) -> Duration {
        let modified = fs::metadata(self.lock.path()).and_then(|file| file.modified()).ok();
        modified.and_then(|time| time.elapsed().ok()).unwrap_or(Duration::MAX)
    }

    /// Takes it off the shelf: it has another name by now, or is no more, or is no longer for others.
    pub(super) fn clear(self) {
        // While it is locked: who waits for the lock finds no file then.
        let _ = fs::remove_file(self.lock.path());
    }

    /// One byte, so that it is never half-written.
    fn mark(&self, state: State) -> Result<()> {
        let path = self.lock.path();
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.write_all_at(&[state.letter()], 0))
            .attempt(ErrorKind::Environment, || format!("failed to write `{}`", path.display()))
    }
}

impl State {
    const ALL: [State; 3] = [State::Ready, State::Returned, State::Lent];

    fn letter(self) -> u8 {
        match self {
            State::Ready => b'+',
            State::Returned => b'-',
            State::Lent => b'!',
        }
    }
}

fn read(path: &Path) -> Option<(State, Label)> {
    let text = fs::read_to_string(path).ok()?;
    let state = State::ALL.into_iter().find(|state| text.as_bytes().first() == Some(&state.letter()))?;
    Some((state, serde_json::from_str(text.get(1..)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf { dir: dir.path().join("shelf") };
        (dir, shelf)
    }

    fn label(since: &str) -> Label {
        let since = Lsn::parse(since).unwrap();
        Label { digest: "d".into(), oid: 7, mark: 8, since, uses: 0, mib: 10 }
    }

    #[test]
    fn what_is_ready_is_handed_out_once_and_the_latest_first() {
        let (_dir, shelf) = shelf();
        shelf.put("old", State::Ready, &label("0/10")).unwrap();
        shelf.put("new", State::Ready, &label("1/0")).unwrap();
        let new = shelf.take_ready("d", |_| true).unwrap();
        assert_eq!((new.name.as_str(), &new.label), ("new", &label("1/0")));
        let old = shelf.take_ready("d", |_| true).unwrap();
        assert_eq!(old.name, "old");
        assert!(shelf.take_ready("d", |_| true).is_none());
        old.give_back(&shelf, Lsn::parse("0/20").unwrap()).unwrap();
        assert!(shelf.take_ready("d", |_| true).is_none(), "a test's leavings");
        assert_eq!(shelf.count("d"), Count { ready: 0, returned: 1 });
        let returned = shelf.take_returned("d").unwrap();
        assert_eq!((returned.name.as_str(), &returned.label), ("old", &label("0/20")));
        assert!(shelf.take_returned("other").is_none());
    }

    #[test]
    fn what_somebody_died_with_is_dropped_and_nothing_else() {
        let (_dir, shelf) = shelf();
        for name in ["ready", "returned", "dead", "held"] {
            shelf.put(name, State::Ready, &label("0/1")).unwrap();
        }
        let held = |name| {
            let place = shelf.take(name, State::Ready).unwrap();
            place.mark(State::Lent).unwrap();
            place
        };
        let returned = held("returned");
        let since = returned.label.since;
        returned.give_back(&shelf, since).unwrap();
        drop(held("dead"));
        assert!(!shelf.is_used("d"));
        let alive = held("held");
        assert!(shelf.is_used("d") && !shelf.is_used("other"));
        let condemned: Vec<String> =
            shelf.take_condemned(|_, _| false).into_iter().map(|place| place.name).collect();
        assert_eq!(condemned, ["dead"]);
        let unwanted: Vec<String> =
            shelf.take_condemned(|name, _| name == "ready").into_iter().map(|place| place.name).collect();
        assert!(unwanted.contains(&"ready".to_owned()) && !unwanted.contains(&"held".to_owned()));
        alive.clear();
        assert!(!shelf.has("held") && shelf.has("returned"));
    }

    #[test]
    fn what_is_half_written_is_not_there() {
        let (_dir, shelf) = shelf();
        shelf.put("whole", State::Ready, &label("0/1")).unwrap();
        fs::write(shelf.dir.join("half"), "+{\"digest\":\"d\",").unwrap();
        fs::write(shelf.dir.join("empty"), "").unwrap();
        assert_eq!(shelf.take_ready("d", |_| true).unwrap().name, "whole");
        assert!(shelf.take_ready("d", |_| true).is_none());
    }
}
