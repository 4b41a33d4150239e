//! Reading a catalog from a live database: one query for each class of objects.
//!
//! Every query speaks one language, so that a family of objects is its SQL and nothing else. A row is an
//! object. The column `kind` tells its kind; `at` holds the parts of its name, to be quoted and joined;
//! `prefix` and `suffix` are put around the name as they are. Every other column is a fact by the column's name, and a null
//! is no fact. A name may start with how its value is to be read: `name:` an array of the parts of one name,
//! `list:` an array of names in a row, `expr:` a deparsed expression, `query:` a deparsed query.
//!
//! What is listed within a fact is sorted by `collate "C"`, so that the database's locale does not matter.
//!
//! The user's own objects are those with an OID from 16384 on: what `initdb` made lies below. `pg_t…` matches
//! the schemas of temporary and of toast tables.

mod columns;
mod constraints;
mod foreign;
mod functions;
mod grants;
mod indexes;
mod labels;
mod operator_classes;
mod operators;
mod policies;
mod replication;
mod roles;
mod schemas;
mod sequences;
mod settings;
mod tables;
mod text_search;
mod triggers;
mod types;
mod unmodelled;
mod views;

use super::canonical;
use super::kind::Kind;
use super::name::{list_of, name_of};
use super::object::{Catalog, Object};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::QualifiedName;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Column, Connection, Row};
use std::time::Duration;

/// The families, each with its queries.
const FAMILIES: &[(&str, &[&str])] = &[
    ("schemas and extensions", schemas::QUERIES),
    ("settings", settings::QUERIES),
    ("roles", roles::QUERIES),
    ("types", types::QUERIES),
    ("sequences", sequences::QUERIES),
    ("tables", tables::QUERIES),
    ("columns", columns::QUERIES),
    ("constraints", constraints::QUERIES),
    ("indexes", indexes::QUERIES),
    ("views", views::QUERIES),
    ("functions", functions::QUERIES),
    ("triggers and rules", triggers::QUERIES),
    ("policies", policies::QUERIES),
    ("operators", operators::QUERIES),
    ("operator classes", operator_classes::QUERIES),
    ("text search", text_search::QUERIES),
    ("foreign data", foreign::QUERIES),
    ("publications and subscriptions", replication::QUERIES),
    ("security labels", labels::QUERIES),
    ("grants", grants::QUERIES),
];

/// What deparsed text depends on, besides the objects themselves. And two settings for speed: the queries are
/// written in the order in which they should be joined, so that planning takes no longer than running.
const SESSION: &str = "
    select set_config(name, value, true)
    from (values
        ('search_path', ''),
        ('timezone', 'UTC'),
        ('datestyle', 'ISO, YMD'),
        ('intervalstyle', 'postgres'),
        ('bytea_output', 'hex'),
        ('extra_float_digits', '1'),
        ('lc_monetary', 'C'),
        ('quote_all_identifiers', 'off'),
        ('standard_conforming_strings', 'on'),
        ('join_collapse_limit', '1'),
        ('jit', 'off')
    ) as wanted(name, value)";

/// How a catalog is read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    ignore: Vec<QualifiedName>,
    limits: Option<(Duration, Duration)>,
    is_prepared: bool,
}

impl ReadOptions {
    /// Everything is read.
    pub fn new() -> Self {
        ReadOptions::default()
    }

    /// Leaves out the objects of that name with all that belongs to them: their columns, indexes, grants and
    /// sequences. A migration runner's history table is such an object.
    #[must_use]
    pub fn with_ignored(mut self, names: impl IntoIterator<Item = QualifiedName>) -> Self {
        self.ignore.extend(names);
        self
    }

    /// Gives up on a statement that takes longer than `statement`, or waits longer than `lock` for a lock: for a
    /// database on which others work.
    #[must_use]
    pub fn with_limits(mut self, statement: Duration, lock: Duration) -> Self {
        self.limits = Some((statement, lock));
        self
    }

    /// Leaves the queries prepared in the session: a second read of the same session then plans nothing.
    #[must_use]
    pub fn with_prepared(mut self) -> Self {
        self.is_prepared = true;
        self
    }

    fn ignores(&self, name: &str) -> bool {
        self.ignore.iter().any(|ignored| {
            let rest = name.strip_prefix(name_of(&[&ignored.schema, &ignored.name]).as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
        })
    }
}

impl Catalog {
    /// Reads the catalog of the connected database, in a read-only transaction of its own that leaves the
    /// session as it was. Any role may read; only the server's own catalogs are looked at.
    ///
    /// # Errors
    /// The connection fails or is in a transaction already; the error names the family of objects.
    pub async fn read(connection: &mut PgConnection) -> Result<Catalog> {
        Catalog::read_with(connection, &ReadOptions::new()).await
    }

    /// As [`read`](Catalog::read), with options.
    ///
    /// # Errors
    /// As [`read`](Catalog::read).
    pub async fn read_with(connection: &mut PgConnection, options: &ReadOptions) -> Result<Catalog> {
        let failed = || "failed to begin reading the catalog".to_owned();
        // Before 16 a query over one relation was deparsed with the relation's name before each column.
        let is_qualified = connection.server_version_num().is_some_and(|version| version < 160_000);
        refuse_transaction(connection).await?;
        let mut transaction = connection
            .begin_with("begin isolation level repeatable read, read only")
            .await
            .attempt(ErrorKind::Database, failed)?;
        sqlx::query(SESSION)
            .persistent(false)
            .execute(&mut *transaction)
            .await
            .attempt(ErrorKind::Database, failed)?;
        if let Some((statement, lock)) = options.limits {
            // Of the transaction, not of the session: a pooler would hand that to somebody else.
            sqlx::query(
                "select set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)",
            )
            .persistent(false)
            .bind(statement.as_millis().to_string())
            .bind(lock.as_millis().to_string())
            .execute(&mut *transaction)
            .await
            .attempt(ErrorKind::Database, failed)?;
        }
        let mut catalog = Catalog::default();
        for (family, queries) in FAMILIES {
            for query in *queries {
                let failed = || format!("failed to read the {family} of the catalog");
                let rows = sqlx::query(*query)
                    .persistent(options.is_prepared)
                    .fetch_all(&mut *transaction)
                    .await
                    .attempt(ErrorKind::Database, failed)?;
                for row in rows {
                    let object = object(&row, is_qualified).attempt(ErrorKind::Database, failed)?;
                    catalog.insert(object).map_err(|twin| {
                        Error::new(ErrorKind::Database, failed()).with_source(Error::new(
                            ErrorKind::Database,
                            format!("there are two of `{} {}`", twin.kind, twin.name),
                        ))
                    })?;
                }
            }
        }
        let unmodelled = unmodelled::read(&mut transaction).await?;
        transaction.rollback().await.attempt(ErrorKind::Database, || {
            "failed to end the transaction in which the catalog was read".into()
        })?;
        Ok(catalog.without(|_, name| options.ignores(name)).with_unmodelled(unmodelled))
    }
}

/// Refuses a connection that is in a transaction: sqlx 0.9 knows only of those that it began itself, would join
/// another one and end it. Outside of a transaction a simple query begins its own with the statement.
async fn refuse_transaction(connection: &mut PgConnection) -> Result<()> {
    let row = sqlx::raw_sql("select now() <> statement_timestamp()")
        .fetch_one(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to begin reading the catalog".into())?;
    if row.try_get(0)? {
        return Err(Error::usage("failed to begin reading the catalog: the connection is in a transaction")
            .with_help("end it first, or read with another connection"));
    }
    Ok(())
}

/// The object that a row tells.
fn object(row: &PgRow, is_qualified: bool) -> Result<Object> {
    let kind: String = row.try_get("kind")?;
    let kind = Kind::parse(&kind)
        .ok_or_else(|| Error::new(ErrorKind::Database, format!("`{kind}` is no kind of object")))?;
    let at: Vec<String> = row.try_get("at")?;
    let mut object = Object::new(kind, name_of(&at));
    for column in row.columns() {
        let (name, at) = (column.name(), column.ordinal());
        let (reading, fact) = name.split_once(':').unwrap_or(("", name));
        let value = match (reading, fact) {
            ("", "kind" | "at") => None,
            ("", "prefix") => {
                object.name.insert_str(0, row.try_get::<Option<&str>, _>(at)?.unwrap_or_default());
                None
            }
            ("", "suffix") => {
                object.name.push_str(row.try_get::<Option<&str>, _>(at)?.unwrap_or_default());
                None
            }
            ("name", _) => row.try_get::<Option<Vec<String>>, _>(at)?.map(|parts| name_of(&parts)),
            ("list", _) => row.try_get::<Option<Vec<String>>, _>(at)?.map(|names| list_of(&names)),
            ("expr", _) => row.try_get::<Option<&str>, _>(at)?.map(canonical::expression),
            ("query", _) => {
                row.try_get::<Option<&str>, _>(at)?.map(|text| canonical::query(text, is_qualified))
            }
            _ => row.try_get::<Option<String>, _>(at)?,
        };
        if let Some(value) = value {
            object.facts.insert(fact.to_owned(), value);
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("public.history", true)]
    #[case("public.history(integer)", true)]
    #[case("public.history_of_men", false)]
    #[case("app.history", false)]
    #[case("public.\"Migrations\"", true)]
    fn what_is_ignored_is_named_exactly(#[case] name: &str, #[case] expect: bool) {
        let names = ["public.history", "public.Migrations"].map(QualifiedName::parse);
        assert_eq!(ReadOptions::new().with_ignored(names).ignores(name), expect);
    }
}
