//! What a process must know of a server before it works with it. It is asked for once, then read from a note in the
//! server's base directory: asking takes a connection, which costs more than all else when there is a database ready.

use crate::error::Result;
use crate::server::Server;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use std::fs;

/// What stays as it is for as long as a server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) connections_max: i32,
    /// As a number.
    pub(super) version: String,
    /// `None`: the server's files are out of reach.
    pub(super) log: Option<LogFacts>,
}

/// How the write-ahead log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogFacts {
    pub(super) timeline: u32,
    /// Bytes per file.
    pub(super) segment: u64,
    /// Bytes per page.
    pub(super) page: u64,
}

const NOTE: &str = "facts";

impl Facts {
    /// Those that were noted.
    pub(super) fn noted(server: &Server) -> Option<Facts> {
        serde_json::from_slice(&fs::read(server.base()?.join(NOTE)).ok()?).ok()
    }

    /// Asks for them, and notes them for others.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn ask(server: &Server, control: &mut PgConnection) -> Result<Facts> {
        let (connections_max, version) = sqlx::query_as(
            "select current_setting('max_connections')::int, current_setting('server_version_num')",
        )
        .fetch_one(&mut *control)
        .await?;
        let Some(base) = server.base() else { return Ok(Facts { connections_max, version, log: None }) };
        let facts = Facts { connections_max, version, log: LogFacts::ask(control).await? };
        if let Ok(json) = serde_json::to_vec(&facts) {
            // Under another name first: who reads it reads all of it. Without it the next one asks as well.
            let new = base.join(format!("{NOTE}.{}", std::process::id()));
            let _ = fs::write(&new, json).and_then(|()| fs::rename(&new, base.join(NOTE)));
        }
        Ok(facts)
    }
}

impl LogFacts {
    async fn ask(control: &mut PgConnection) -> Result<Option<LogFacts>> {
        let (segment, page, file): (i64, i64, String) = sqlx::query_as(
            "select pg_size_bytes(current_setting('wal_segment_size')), current_setting('wal_block_size')::int8,
                    pg_walfile_name(pg_current_wal_insert_lsn())",
        )
        .fetch_one(control)
        .await?;
        let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        Ok(match (timeline, u64::try_from(segment), u64::try_from(page)) {
            (Some(timeline), Ok(segment), Ok(page)) => Some(LogFacts { timeline, segment, page }),
            _ => None,
        })
    }
}
