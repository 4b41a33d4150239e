//! The table in which is recorded what is applied.

use super::foreign;
use super::ledger::Ledger;
use super::source::Migrations;
use super::step::Migration;
use super::table::TableName;
use super::took::Took;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::script::Session;
use sqlx::Row;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The beginning of the comment on every history that pgharness keeps in a form of its own.
pub(super) const MARKER: &str = "pgharness migration history, version ";

/// A row of the history: a migration that is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its version, as [`Version`](super::Version) is shown.
    pub version: String,
    /// The name of its file; what the history calls it, if there is no such file.
    pub name: String,
    /// The checksum of its file as it was, where the format's tool keeps one.
    pub checksum: Option<String>,
    /// How long it took, where the format's tool keeps that.
    pub duration_ms: Option<i64>,
    /// When it was applied, as the server's time in UTC.
    pub applied_at: String,
    /// Whether it was applied to its end, as far as its tool keeps that.
    pub complete: bool,
}

/// The history's table.
#[derive(Clone)]
pub(super) struct History {
    declared: TableName,
    /// The schemas that the tool's configuration wants, whether the table is in one or not.
    schemas: Vec<String>,
    ledger: &'static dyn Ledger,
    tool: &'static str,
    /// How long to wait for a lock that somebody has on the table.
    lock_timeout: Duration,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("declared", &self.declared)
            .field("tool", &self.tool)
            .finish_non_exhaustive()
    }
}

/// Where the history of a database is, or will be.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) table: QualifiedName,
    pub(super) exists: bool,
}

impl History {
    /// The history that the tool of `migrations` keeps, where it keeps it.
    pub(super) fn of(migrations: &Migrations) -> Self {
        let format = migrations.format().unwrap_or_default();
        let ledger = format.ledger();
        History {
            declared: migrations.table().cloned().unwrap_or_else(|| TableName::parse(ledger.table())),
            schemas: migrations.schemas().to_vec(),
            ledger,
            tool: format.name(),
            lock_timeout: Duration::from_secs(5),
        }
    }

    /// The same history in the table `schema.name`.
    pub(super) fn with_table(self, table: &str) -> Self {
        History { declared: TableName::in_public(table), ..self }
    }

    /// Whether it may be kept in `table`.
    pub(super) fn fits(&self, table: &QualifiedName) -> bool {
        self.declared.fits(table)
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    /// The keys of the locks that its tool takes in the database of that name.
    pub(super) fn locks(&self, database: &str, table: &QualifiedName) -> Vec<i64> {
        self.ledger.locks(database, table)
    }

    /// Where it is.
    ///
    /// # Errors
    /// The table is another tool's, or a newer version's; or there is no history of ours, and one of another tool.
    pub(super) async fn locate(&self, session: &mut Session) -> Result<Located> {
        let database = session.database().to_owned();
        let table = self.resolve(session).await?;
        let names: Vec<String> = foreign::tables().map(quote_literal).collect();
        let (schema, name) = (quote_literal(&table.schema), quote_literal(&table.name));
        let survey = format!(
            "select n.nspname, c.relname, coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), ''), \
               (select coalesce(string_agg(a.attname, ','), '') from pg_catalog.pg_attribute a \
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) \
             from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' \
               and (c.relname in ({}) or (n.nspname = {schema} and c.relname = {name})) \
             order by (n.nspname = {schema} and c.relname = {name}) desc, 1, 2",
            names.join(", ")
        );
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(survey)).fetch_all(session.connection()).await;
        let rows = rows.attempt(ErrorKind::Migration, || {
            format!("failed to look for the migration history of database `{database}`")
        })?;
        for row in rows {
            let found = QualifiedName::new(row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?);
            let comment: String = row.try_get(2)?;
            let columns: Vec<String> = row.try_get::<String, _>(3)?.split(',').map(str::to_owned).collect();
            if found == table {
                self.recognise(&table, &columns, &comment, &database)?;
                return Ok(Located { table, exists: true });
            }
            // A tool may keep several histories, one in each schema.
            let ours = comment.starts_with(MARKER);
            if !ours && foreign::owner(&found.name, &columns).is_some_and(|owner| owner.tool != self.tool) {
                return Err(foreign::not_ours(&found, &columns, &database, self.tool));
            }
        }
        Ok(Located { table, exists: false })
    }

    /// The table's schema: the declared one, that in which the search path finds it, or the path's first.
    async fn resolve(&self, session: &mut Session) -> Result<QualifiedName> {
        let name = &self.declared.name;
        if let Some(schema) = &self.declared.schema {
            return Ok(QualifiedName::new(schema, name));
        }
        let found = format!(
            "select coalesce((select n.nspname::text from pg_catalog.pg_class c \
               join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
               where c.oid = pg_catalog.to_regclass({})), pg_catalog.current_schema()::text)",
            quote_literal(&quote_ident(name))
        );
        match session.row(&found).await?.try_get::<Option<String>, _>(0)? {
            Some(schema) => Ok(QualifiedName::new(schema, name)),
            None => {
                let database = session.database();
                let message = format!(
                    "no schema of the search path is there in database `{database}`, so {} cannot keep its \
                     history `{name}`",
                    self.tool
                );
                Err(Error::new(ErrorKind::Migration, message).with_help(
                    "create the schema before (`bootstrap` under `[postgres]`), or name a history in one that is there \
                     (`history` under `[migrations]`)",
                ))
            }
        }
    }

    /// Makes sure that the table is what we take it for.
    fn recognise(
        &self,
        table: &QualifiedName,
        columns: &[String],
        comment: &str,
        database: &str,
    ) -> Result<()> {
        let version = comment.strip_prefix(MARKER);
        match self.ledger.marker() {
            Some(marker) if comment == marker => Ok(()),
            Some(marker) if version.is_some() => {
                let (newer, known) =
                    (version.unwrap_or_default(), marker.strip_prefix(MARKER).unwrap_or_default());
                let message = format!(
                    "the history `{table}` of database `{database}` has version {newer}, and this pgharness \
                     knows version {known}"
                );
                Err(Error::new(ErrorKind::Migration, message).with_help("use a newer pgharness"))
            }
            None if version.is_none() && self.has_all(columns) => Ok(()),
            _ => Err(foreign::not_ours(table, columns, database, self.tool)),
        }
    }

    fn has_all(&self, columns: &[String]) -> bool {
        self.ledger.columns().iter().all(|column| columns.iter().any(|there| there == column))
    }

    /// What is applied of `migrations`, and what else, in the order in which it was.
    pub(super) async fn read(
        &self,
        session: &mut Session,
        located: &Located,
        migrations: &Migrations,
    ) -> Result<Vec<Entry>> {
        if !located.exists {
            return Ok(Vec::new());
        }
        let select = self.ledger.read(&located.table.sql());
        let rows = match sqlx::raw_sql(sqlx::AssertSqlSafe(select)).fetch_all(session.connection()).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed("read", error, session, &located.table).await),
        };
        let entries: sqlx::Result<Vec<Entry>> = rows
            .iter()
            .map(|row| {
                Ok(Entry {
                    version: row.try_get(0)?,
                    name: row.try_get(1)?,
                    checksum: row.try_get(2)?,
                    duration_ms: row.try_get(3)?,
                    applied_at: row.try_get(4)?,
                    complete: row.try_get(5)?,
                })
            })
            .collect();
        let mut entries = self.ledger.entries(entries?, migrations);
        let names: BTreeMap<String, &str> =
            migrations.iter().map(|migration| (migration.version.to_string(), migration.name())).collect();
        for entry in &mut entries {
            if let Some(name) = names.get(&entry.version) {
                entry.name = (*name).to_owned();
            }
        }
        Ok(entries)
    }

    /// Creates the table, and the schemas that are missing.
    pub(super) async fn create(&self, session: &mut Session, table: &QualifiedName) -> Result<()> {
        let mut create = String::from("begin;");
        for schema in self.schemas.iter().chain([&table.schema]) {
            let exists = format!(
                "select exists (select from pg_catalog.pg_namespace where nspname = {})",
                quote_literal(schema)
            );
            // Not IF NOT EXISTS alone: that asks for CREATE on the database even where there is nothing to do.
            if !session.row(&exists).await?.try_get::<bool, _>(0)? {
                create.push_str(&format!("create schema if not exists {};", quote_ident(schema)));
            }
        }
        create.push_str(&self.ledger.create(&table.sql()));
        create.push_str(";commit");
        match session.run(&create).await {
            Ok(()) => Ok(()),
            Err(error) => {
                session.roll_back().await;
                Err(self.failed("create", error, session, table).await)
            }
        }
    }

    /// Whether a migration is written down when it begins, too.
    pub(super) fn says_beginnings(&self, table: &QualifiedName, migration: &Migration) -> bool {
        self.ledger.begin(&table.sql(), migration).is_some()
    }

    /// Says that a migration begins, if the tool does.
    pub(super) async fn begin(
        &self,
        session: &mut Session,
        table: &QualifiedName,
        migration: &Migration,
    ) -> Result<()> {
        match self.ledger.begin(&table.sql(), migration) {
            Some(sql) => self.write(session, table, migration, &sql).await,
            None => Ok(()),
        }
    }

    /// The statements that record a migration.
    pub(super) fn record(&self, table: &QualifiedName, migration: &Migration, took: Took) -> String {
        self.ledger.record(&table.sql(), migration, took)
    }

    /// Writes down what the ledger has for a migration.
    pub(super) async fn write(
        &self,
        session: &mut Session,
        table: &QualifiedName,
        migration: &Migration,
        sql: &str,
    ) -> Result<()> {
        match session.run(sql).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.not_written(error, session, table, migration).await),
        }
    }

    /// Says that a migration could not be written down; undoes its transaction, if one is open.
    pub(super) async fn not_written(
        &self,
        error: sqlx::Error,
        session: &mut Session,
        table: &QualifiedName,
        migration: &Migration,
    ) -> Error {
        session.roll_back().await;
        let error = self.failed("write", error, session, table).await;
        let message = format!("failed to record migration `{}`", migration.name());
        Error::new(ErrorKind::Migration, message).with_source(error)
    }

    async fn failed(
        &self,
        verb: &str,
        error: sqlx::Error,
        session: &mut Session,
        table: &QualifiedName,
    ) -> Error {
        let database = session.database().to_owned();
        let code = error.as_database_error().and_then(|answer| answer.code().map(|code| code.into_owned()));
        match code.as_deref() {
            Some("55P03") => {
                let message = format!(
                    "the history `{table}` of database `{database}` is locked by somebody else: waited {:?} to {verb} it",
                    self.lock_timeout
                );
                let holders = holders(session, table).await;
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
}

/// Who has locks on the table.
async fn holders(session: &mut Session, table: &QualifiedName) -> String {
    let table = quote_literal(&table.sql());
    let who = format!(
        "select coalesce(string_agg(distinct format('pid %s (`%s`, %s)', l.pid, a.application_name, l.mode), ', '), \
           'nobody any more') \
         from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a using (pid) \
         where l.granted and l.relation = pg_catalog.to_regclass({table}) and l.pid <> pg_catalog.pg_backend_pid()"
    );
    let row = session.row(&who).await;
    row.and_then(|row| row.try_get(0)).unwrap_or_else(|_| "the server does not tell who".to_owned())
}
