//! What a process must know of a server before it works with it. It is asked for once, then read from a note in the
//! server's base directory: asking takes a connection, which costs more than all else when there is a database ready.

use super::Server;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::fs;
use std::path::Path;

/// What stays as it is for as long as a server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) connections_max: i32,
    /// As a number.
    pub(crate) version: String,
    /// `None`: the server's files are out of reach.
    pub(crate) log: Option<LogFacts>,
}

/// How the write-ahead log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogFacts {
    pub(crate) timeline: u32,
    /// Bytes per file.
    pub(crate) segment: u64,
    /// Bytes per page.
    pub(crate) page: u64,
}

const NOTE: &str = "facts";

impl Facts {
    /// Those that were noted of `server`.
    pub(crate) fn noted(server: &Server) -> Option<Facts> {
        serde_json::from_slice(&fs::read(server.base()?.join(NOTE)).ok()?).ok()
    }

    /// Asks the server for them and notes them for others, if it is one on this machine, in `base`.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn ask(base: Option<&Path>, control: &mut PgConnection) -> Result<Facts> {
        let log = if base.is_some() { LOG } else { "" };
        let sql = format!(
            "select current_setting('max_connections')::int, current_setting('server_version_num'){log}"
        );
        // In one message there and back: a start waits for it.
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(control).await?;
        let mut facts = Facts { connections_max: row.try_get(0)?, version: row.try_get(1)?, log: None };
        let Some(base) = base else { return Ok(facts) };
        facts.log = LogFacts::of(&row);
        if let Ok(json) = serde_json::to_vec(&facts) {
            // Under another name first: who reads it reads all of it. Without it the next one asks as well.
            let new = base.join(format!("{NOTE}.{}", std::process::id()));
            let _ = fs::write(&new, json).and_then(|()| fs::rename(&new, base.join(NOTE)));
        }
        Ok(facts)
    }
}

/// What [`LogFacts`] are read from.
const LOG: &str = ", pg_size_bytes(current_setting('wal_segment_size')), current_setting('wal_block_size')::int8, \
                   pg_walfile_name(pg_current_wal_insert_lsn())";

impl LogFacts {
    fn of(row: &PgRow) -> Option<LogFacts> {
        let bytes = |place: usize| row.try_get::<i64, _>(place).ok().and_then(|bytes| bytes.try_into().ok());
        let file: &str = row.try_get(4).ok()?;
        let timeline = u32::from_str_radix(file.get(..8)?, 16).ok()?;
        Some(LogFacts { timeline, segment: bytes(2)?, page: bytes(3)? })
    }
}
