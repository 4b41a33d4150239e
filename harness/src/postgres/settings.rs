//! Named sets of server settings.

use crate::digest::{Digest, Hasher};
use serde::{Deserialize, Serialize};

/// What a server promises its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Profile {
    /// Lean and non-durable: a crash of the machine loses everything, which tests never notice.
    #[default]
    Lean,
    /// As an ordinary server: what was acknowledged is there after a crash.
    Durable,
}

/// The settings that a server is started with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    profile: Profile,
    connections_max: u32,
    shared_buffers_mib: u32,
    own: Vec<(String, String)>,
}

/// Of every server: nothing depends on the machine's locale or time zone, nothing runs by itself at a
/// moment of its own choosing, and a deadlock is noticed at once.
const COMMON: &[(&str, &str)] = &[
    ("autovacuum", "off"),
    ("bgwriter_lru_maxpages", "0"),
    // A deadlock is otherwise looked for after a second only, in which a test waits.
    ("deadlock_timeout", "10ms"),
    // POSIX segments would stay in /dev/shm after a SIGKILL; files in the data directory go with it.
    ("dynamic_shared_memory_type", "mmap"),
    ("jit", "off"),
    ("lc_messages", "C"),
    ("log_checkpoints", "off"),
    ("log_timezone", "UTC"),
    ("max_logical_replication_workers", "0"),
    // Counters are read as they are, not as they were at the transaction's first look.
    ("stats_fetch_consistency", "none"),
    ("timezone", "UTC"),
    ("unix_socket_permissions", "0700"),
];

const LEAN: &[(&str, &str)] = &[
    ("checkpoint_timeout", "1h"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "1GB"),
    ("synchronous_commit", "off"),
    // Each clone makes a checkpoint, which would take the log of databases that are in use with it.
    ("wal_init_zero", "off"),
    ("wal_keep_size", "16MB"),
    ("wal_level", "minimal"),
];

const DURABLE: &[(&str, &str)] = &[("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")];

impl Settings {
    /// The settings of a profile.
    pub fn of(profile: Profile) -> Self {
        Settings { profile, connections_max: 200, shared_buffers_mib: 64, own: Vec::new() }
    }

    /// Sets how many connections the server takes.
    #[must_use]
    pub fn with_connections_max(mut self, connections: u32) -> Self {
        self.connections_max = connections;
        self
    }

    /// Sets the size of the shared buffers.
    #[must_use]
    pub fn with_shared_buffers_mib(mut self, mebibytes: u32) -> Self {
        self.shared_buffers_mib = mebibytes;
        self
    }

    /// Sets a server parameter by name; it wins over the profile's.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.own.push((name.into(), value.into()));
        self
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// How many connections the server takes.
    pub fn connections_max(&self) -> u32 {
        self.connections_max
    }

    /// The arguments for `postgres`: `-c name=value` each; of two with one name the later wins.
    pub fn arguments(&self) -> Vec<String> {
        let profile = match self.profile {
            Profile::Lean => LEAN,
            Profile::Durable => DURABLE,
        };
        let fixed = COMMON.iter().chain(profile).map(|(name, value)| format!("{name}={value}"));
        let sized = [
            format!("max_connections={}", self.connections_max),
            format!("shared_buffers={}MB", self.shared_buffers_mib),
        ];
        let own = self.own.iter().map(|(name, value)| format!("{name}={value}"));
        fixed.chain(sized).chain(own).flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }

    /// The digest of all arguments: servers with different ones are different servers.
    pub fn digest(&self) -> Digest {
        Hasher::new("settings").field("arguments", self.arguments().join("\n")).finish()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings::of(Profile::Lean)
    }
}
