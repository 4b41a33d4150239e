//! What a template is like at first: enough to tell what a clone's log says was written to, and to put it back.
//!
//! It is written beside the server's data when the template is built, and goes with them.

use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::quote_literal;
use crate::server::Server;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use std::path::{Path, PathBuf};

/// A table's rows are written down if they take no more than this, in bytes.
const SEED_MAX: i64 = 8 << 20;
/// Those of all tables together.
const SEEDS_MAX: i64 = 64 << 20;

/// The relations of a template that hold data. Those that are not named here are the server's own catalogs, or
/// came later.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Original {
    pub(super) tables: Vec<Table>,
    pub(super) sequences: Vec<Sequence>,
    /// The files of tables' out-of-line values, which follow their tables.
    pub(super) toast: Vec<u32>,
}

/// A table, or a materialised view.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) filenode: u32,
    /// With its schema, quoted.
    pub(super) name: String,
    pub(super) rows: i64,
    pub(super) pages: u32,
    /// Whether the log has its changes.
    pub(super) is_logged: bool,
    /// Whether its rows can be deleted and loaded without anything else happening.
    pub(super) is_plain: bool,
    /// The file that has its rows, in the server's data directory.
    pub(super) seed: Option<String>,
}

/// A sequence.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sequence {
    pub(super) filenode: u32,
    pub(super) name: String,
    pub(super) last_value: i64,
    pub(super) is_called: bool,
    pub(super) is_logged: bool,
}

/// Relations of users, whose object ids begin there; materialised views cannot be loaded, and triggers or rules
/// that fire in any mode would fire while rows are put back. An index of an extension's access method may answer
/// otherwise for what was in it: a search of pgvector's `hnsw` ends when it has seen so many neighbours, rows that
/// are gone among them (seen, after a dozen times: 20 rows of a `LIMIT 35`).
const TABLES: &str = "
    select c.oid::int8, pg_relation_filenode(c.oid)::int8, format('%I.%I', n.nspname, c.relname), pg_relation_size(c.oid),
           c.relpersistence = 'p',
           c.relkind = 'r' and a.amname = 'heap'
             and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgenabled in ('A', 'R'))
             and not exists (select from pg_rewrite r where r.ev_class = c.oid and r.ev_enabled in ('A', 'R'))
             and not exists (select from pg_index i join pg_class x on x.oid = i.indexrelid
                             where i.indrelid = c.oid and x.relam >= 16384),
           coalesce(pg_relation_filenode(nullif(c.reltoastrelid, 0)), 0)::int8
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_am a on a.oid = c.relam
    where c.oid >= 16384 and c.relkind in ('r', 'm')
    order by c.oid";
const SEQUENCES: &str = "
    select pg_relation_filenode(c.oid)::int8, format('%I.%I', n.nspname, c.relname), c.relpersistence = 'p'
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid >= 16384 and c.relkind = 'S'
    order by c.oid";

impl Original {
    /// Reads it from the database that `connection` is to, writes down the rows of small tables, and keeps both for
    /// the template `digest`. Does nothing for a server whose files are out of reach.
    ///
    /// # Errors
    /// The server refuses, or a file cannot be written.
    pub(super) async fn record(connection: &mut PgConnection, server: &Server, digest: &str) -> Result<()> {
        let Some(data) = server.data() else { return Ok(()) };
        let mut original = Original::default();
        let tables: Vec<(i64, i64, String, i64, bool, bool, i64)> =
            sqlx::query_as(TABLES).fetch_all(&mut *connection).await?;
        let mut room = SEEDS_MAX;
        for (oid, filenode, name, bytes, is_logged, is_plain, toast) in tables {
            let rows = if bytes == 0 { 0 } else { count(connection, &name).await? };
            let seed = (rows > 0 && is_plain && bytes <= SEED_MAX.min(room)).then(|| file_name(digest, oid));
            if let Some(seed) = &seed {
                room -= bytes;
                let path = quote_literal(&data.join(seed).to_string_lossy());
                connection.execute(AssertSqlSafe(format!("copy {name} to {path}"))).await?;
            }
            original.toast.extend(as_id(toast).filter(|filenode| *filenode != 0));
            let (Some(filenode), Ok(pages)) = (as_id(filenode), u32::try_from(bytes / 8192)) else {
                continue;
            };
            original.tables.push(Table { filenode, name, rows, pages, is_logged, is_plain, seed });
        }
        let sequences: Vec<(i64, String, bool)> =
            sqlx::query_as(SEQUENCES).fetch_all(&mut *connection).await?;
        let states = states(connection, sequences.iter().map(|(_, name, _)| name.as_str())).await?;
        for ((filenode, name, is_logged), (last_value, is_called)) in sequences.into_iter().zip(states) {
            let Some(filenode) = as_id(filenode) else { continue };
            original.sequences.push(Sequence { filenode, name, last_value, is_called, is_logged });
        }
        original.write(&path(&data, digest))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let failed = || format!("failed to write `{}`", path.display());
        let text = serde_json::to_string(self).attempt(ErrorKind::Environment, failed)?;
        std::fs::write(path, text).attempt(ErrorKind::Environment, failed)
    }

    /// Removes what was recorded for the template `digest`, which is gone.
    pub(super) fn forget(server: &Server, digest: &str) {
        let Some(data) = server.data() else { return };
        let Ok(files) = std::fs::read_dir(&data) else { return };
        let own = format!("pgharness.{digest}.");
        for file in files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with(&own)) {
            // What stays goes with the server's data.
            let _ = std::fs::remove_file(file.path());
        }
    }

    /// What was recorded for the template `digest` on this server.
    ///
    /// # Errors
    /// Nothing was, or it cannot be read.
    pub(super) fn read(server: &Server, digest: &str) -> Result<Original> {
        let path = path(&server.data().unwrap_or_default(), digest);
        let failed = || format!("failed to read `{}`", path.display());
        let text = std::fs::read_to_string(&path).attempt(ErrorKind::Environment, failed)?;
        serde_json::from_str(&text).attempt(ErrorKind::Environment, failed)
    }
}

async fn count(connection: &mut PgConnection, table: &str) -> Result<i64> {
    let sql = format!("select count(*) from only {table}");
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?)
}

/// The last values of sequences, and whether they were given out: of all of them by one message.
async fn states<'a>(
    connection: &mut PgConnection,
    sequences: impl Iterator<Item = &'a str>,
) -> Result<Vec<(i64, bool)>> {
    let sql: String = sequences.map(|name| format!("select last_value, is_called from {name};\n")).collect();
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

fn as_id(value: i64) -> Option<u32> {
    u32::try_from(value).ok()
}

fn path(data: &Path, digest: &str) -> PathBuf {
    data.join(format!("pgharness.{digest}.json"))
}

fn file_name(digest: &str, table: i64) -> String {
    format!("pgharness.{digest}.{table}")
}
