//! The table in which the built-in runner records what it applied.

use super::foreign;
use super::source::Migration;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::script::Session;
use sqlx::Row;
use std::time::Duration;

/// The beginning of the table's comment, by which the runner knows its own.
const MARKER: &str = "pgharness migration history, version ";

/// The version of the table that this code writes.
const VERSION: &str = "1";

/// A row of the history: a migration that is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its version, as [`Version`](super::Version) is shown.
    pub version: String,
    /// The name of its file.
    pub name: String,
    /// The checksum of its file, in hexadecimal digits.
    pub checksum: String,
    /// How long it took.
    pub duration_ms: i64,
    /// When it was applied, as the server's time in UTC.
    pub applied_at: String,
}

/// The history's table.
#[derive(Clone, Debug)]
pub(super) struct History {
    table: QualifiedName,
    /// How long to wait for a lock that somebody has on the table.
    lock_timeout: Duration,
}

impl History {
    pub(super) fn new(table: &str) -> Self {
        History { table: QualifiedName::parse(table), lock_timeout: Duration::from_secs(5) }
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    /// Whether the table exists; it is ours then.
    ///
    /// # Errors
    /// The table is another tool's, or a newer version's, or there is the history of another tool elsewhere.
    pub(super) async fn exists(&self, session: &mut Session) -> Result<bool> {
        let names: Vec<String> = foreign::tables().map(quote_literal).collect();
        let (schema, name) = (quote_literal(&self.table.schema), quote_literal(&self.table.name));
        let survey = format!(
            "select n.nspname, c.relname, coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), ''), \
               (select coalesce(string_agg(a.attname, ','), '') from pg_catalog.pg_attribute a \
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) \
             from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' \
               and (c.relname in ({}) or (n.nspname = {schema} and c.relname = {name})) \
             order by 1, 2",
            names.join(", ")
        );
        let database = session.database().to_owned();
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(survey)).fetch_all(session.connection()).await;
        let rows = rows.attempt(ErrorKind::Migration, || {
            format!("failed to look for the migration history of database `{database}`")
        })?;
        let mut exists = false;
        for row in rows {
            let table = QualifiedName::new(row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?);
            let comment: String = row.try_get(2)?;
            let columns: Vec<String> = row.try_get::<String, _>(3)?.split(',').map(str::to_owned).collect();
            match comment.strip_prefix(MARKER) {
                Some(version) if table == self.table && version != VERSION => {
                    let message = format!(
                        "the history `{table}` of database `{database}` has version {version}, and this pgharness \
                         knows version {VERSION}"
                    );
                    return Err(Error::new(ErrorKind::Migration, message).with_help("use a newer pgharness"));
                }
                Some(_) => exists |= table == self.table,
                None => return Err(not_ours(&table, &columns, &database)),
            }
        }
        Ok(exists)
    }

    /// The rows, in the order in which they were applied.
    pub(super) async fn read(&self, session: &mut Session) -> Result<Vec<Entry>> {
        let select = format!(
            "select version, name, checksum, duration_ms, \
               to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
             from {} order by applied_at, version",
            self.table.sql()
        );
        let rows = match sqlx::raw_sql(sqlx::AssertSqlSafe(select)).fetch_all(session.connection()).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed("read", error, session).await),
        };
        rows.iter()
            .map(|row| {
                Ok(Entry {
                    version: row.try_get(0)?,
                    name: row.try_get(1)?,
                    checksum: row.try_get(2)?,
                    duration_ms: row.try_get(3)?,
                    applied_at: row.try_get(4)?,
                })
            })
            .collect()
    }

    /// Creates the table, and its schema where that is missing.
    pub(super) async fn create(&self, session: &mut Session) -> Result<()> {
        let schema = quote_ident(&self.table.schema);
        let exists = format!(
            "select exists (select from pg_catalog.pg_namespace where nspname = {})",
            quote_literal(&self.table.schema)
        );
        let has_schema: bool = session.row(&exists).await?.try_get(0)?;
        // Not IF NOT EXISTS alone: that asks for CREATE on the database even where there is nothing to do.
        let create_schema = if has_schema { String::new() } else { format!("create schema {schema};") };
        let table = self.table.sql();
        let comment = quote_literal(&format!("{MARKER}{VERSION}"));
        let create = format!(
            "begin; {create_schema} \
             create table {table} (\
               version text not null primary key, name text not null, checksum text not null, \
               duration_ms bigint not null, applied_at timestamptz not null default pg_catalog.clock_timestamp()); \
             comment on table {table} is {comment}; commit"
        );
        match session.run(&create).await {
            Ok(()) => Ok(()),
            Err(error) => {
                session.roll_back().await;
                Err(self.failed("create", error, session).await)
            }
        }
    }

    /// Records a migration; in its transaction, if one is open.
    pub(super) async fn record(
        &self,
        session: &mut Session,
        migration: &Migration,
        took: Duration,
    ) -> Result<()> {
        let insert = format!(
            "insert into {} (version, name, checksum, duration_ms) values ({}, {}, {}, {})",
            self.table.sql(),
            quote_literal(&migration.version.to_string()),
            quote_literal(migration.name()),
            quote_literal(&migration.checksum.to_string()),
            took.as_millis()
        );
        match session.run(&insert).await {
            Ok(()) => Ok(()),
            Err(error) => {
                session.roll_back().await;
                let error = self.failed("write", error, session).await;
                let message = format!("failed to record migration `{}`", migration.name());
                Err(Error::new(ErrorKind::Migration, message).with_source(error))
            }
        }
    }

    async fn failed(&self, verb: &str, error: sqlx::Error, session: &mut Session) -> Error {
        let (table, database) = (&self.table, session.database().to_owned());
        let code = error.as_database_error().and_then(|answer| answer.code().map(|code| code.into_owned()));
        match code.as_deref() {
            Some("55P03") => {
                let message = format!(
                    "the history `{table}` of database `{database}` is locked by somebody else: waited {:?} to {verb} it",
                    self.lock_timeout
                );
                let holders = self.holders(session).await;
                Error::new(ErrorKind::Migration, message).with_source(error).with_help(format!(
                    "wait for them, or end them (`select pg_terminate_backend(pid)`): {holders}"
                ))
            }
            Some("42501") => {
                let message = format!("may not {verb} the history `{table}` of database `{database}`");
                let help = "grant the migrating role CREATE on its schema, or name a history in a schema \
                            of that role's own (`history` under `[migrations]`)";
                Error::new(ErrorKind::Migration, message).with_source(error).with_help(help)
            }
            _ => {
                let message = format!("failed to {verb} the history `{table}` of database `{database}`");
                Error::new(ErrorKind::Migration, message).with_source(error)
            }
        }
    }

    /// Who has locks on the table.
    async fn holders(&self, session: &mut Session) -> String {
        let table = quote_literal(&self.table.sql());
        let who = format!(
            "select coalesce(string_agg(distinct format('pid %s (`%s`, %s)', l.pid, a.application_name, l.mode), ', '), \
               'nobody any more') \
             from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a using (pid) \
             where l.granted and l.relation = pg_catalog.to_regclass({table}) and l.pid <> pg_catalog.pg_backend_pid()"
        );
        let row = session.row(&who).await;
        row.and_then(|row| row.try_get(0)).unwrap_or_else(|_| "the server does not tell who".to_owned())
    }
}

/// Another tool keeps its history in this database, or a table of other use has the name of ours.
fn not_ours(table: &QualifiedName, columns: &[String], database: &str) -> Error {
    match foreign::owner(&table.name, columns) {
        Some(foreign) => Error::new(
            ErrorKind::Migration,
            format!("database `{database}` is migrated by {}: it has the history `{table}`", foreign.tool),
        )
        .with_help(format!(
            "let that tool migrate it (`command = \"{}\"` under `[migrations]`), or begin with an empty database",
            foreign.command.replace('"', "\\\"")
        )),
        None => Error::new(
            ErrorKind::Migration,
            format!("`{table}` of database `{database}` is not a history of pgharness"),
        )
        .with_help("name another table as `history` under `[migrations]`"),
    }
}
