//! What was written to databases since they were handed out, by the server's own log.

use crate::error::{Error, Result};
use crate::postgres::{Change, DataDir, Effect, Log, Lsn};
use crate::server::{Facts, LogFacts, Server};
use std::collections::HashMap;

/// More than this is not read for a database: making another one is quicker then. In bytes.
const READ_MAX: u64 = 64 << 20;

/// The log of one server, and what it says of the databases that are watched.
#[derive(Debug)]
pub(super) struct Journal {
    log: Log,
    /// By the object ids of databases.
    watched: HashMap<u32, Written>,
}

/// What was written to one database.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// By the numbers of relations' files; 0 for what concerns no single one.
    pub(super) relations: HashMap<u32, Traces>,
}

/// What was written to one relation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traces {
    pub(super) adds: bool,
    pub(super) removes: bool,
    pub(super) counts: bool,
    pub(super) other: bool,
    /// The pages that got rows.
    pub(super) first_page: u32,
    pub(super) last_page: u32,
}

impl Journal {
    /// The journal of a server whose files are within reach; `None` for others, and for versions of the log that are
    /// not known.
    pub(super) fn open(server: &Server, facts: &Facts) -> Option<Journal> {
        let LogFacts { timeline, segment, page } = facts.log?;
        // Where it begins is known when something is watched.
        let log = Log::open(server.data()?.join("pg_wal"), segment, page, timeline, Lsn::default())?;
        Some(Journal { log, watched: HashMap::new() })
    }

    /// Where to begin with a database that nobody was given since the place `since`: there, or at the last checkpoint
    /// where the log before that is gone, or is too long. Then it is its name that nobody came to it by, as with any
    /// clone that is made ahead.
    pub(super) fn beginning(&self, server: &Server, since: Lsn) -> Lsn {
        let checkpoint = server.data().and_then(|data| DataDir::at(data).checkpoint().ok());
        match checkpoint {
            Some(checkpoint) if !self.log.has(since) || checkpoint.since(since) > READ_MAX / 2 => {
                since.max(checkpoint)
            }
            _ => since,
        }
    }

    /// Whether nothing is watched.
    pub(super) fn is_idle(&self) -> bool {
        self.watched.is_empty()
    }

    /// The place up to which it was read, if nothing was written to the database before that since it is watched.
    pub(super) fn clean_until(&self, database: u32) -> Option<Lsn> {
        let written = self.watched.get(&database)?;
        written.relations.is_empty().then(|| self.log.position())
    }

    /// The place up to which it was read.
    pub(super) fn position(&self) -> Lsn {
        self.log.position()
    }

    /// Watches the database with this object id from the place `since` on, before which nothing concerns it.
    pub(super) fn watch(&mut self, database: u32, since: Lsn) {
        if self.watched.is_empty() {
            self.log.skip_to(since);
        }
        self.watched.insert(database, Written::default());
    }

    /// Watches it no longer.
    pub(super) fn forget(&mut self, database: u32) {
        self.watched.remove(&database);
    }

    /// What was written to the database since it is watched, and before `end`.
    ///
    /// # Errors
    /// The log was not readable all the time.
    pub(super) fn written(&mut self, database: u32, end: Lsn) -> Result<Written> {
        self.read_until(end)?;
        self.watched.get(&database).cloned().ok_or_else(|| {
            Error::server("a part of the write-ahead log went by unread, and nobody knows what was in it")
        })
    }

    /// As if nothing had been written to it before `end`: it was put back.
    pub(super) fn clear(&mut self, database: u32, end: Lsn) -> Result<()> {
        self.read_until(end)?;
        if let Some(written) = self.watched.get_mut(&database) {
            written.relations.clear();
        }
        Ok(())
    }

    /// Reads on.
    ///
    /// # Errors
    /// As [`written`](Journal::written).
    pub(super) fn read_until(&mut self, end: Lsn) -> Result<()> {
        let Journal { log, watched } = self;
        let read = match end.since(log.position()) {
            length if length > READ_MAX => {
                Err(Error::server(format!("{length} bytes of the log are too many to read")))
            }
            _ => log.read_until(end, |change| {
                if let Some(written) = watched.get_mut(&change.database) {
                    written.note(change);
                }
            }),
        };
        // Of none that was watched till now can be said what was written to it.
        read.inspect_err(|_| watched.clear())
    }
}

impl Written {
    fn note(&mut self, change: Change) {
        if change.effect == Effect::None {
            return;
        }
        let fresh = Traces { first_page: u32::MAX, ..Traces::default() };
        let traces = self.relations.entry(change.filenode).or_insert(fresh);
        match change.effect {
            Effect::None => {}
            Effect::Adds => traces.adds = true,
            Effect::Removes => traces.removes = true,
            Effect::Counts => traces.counts = true,
            Effect::Other => traces.other = true,
        }
        traces.first_page = traces.first_page.min(change.page);
        traces.last_page = traces.last_page.max(change.page);
    }
}
