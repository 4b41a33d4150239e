//! The migrations applied once, from zero: several checks look at what came of it.

use super::context::Context;
use super::migrator::Migrator;
use crate::catalog::{Catalog, ReadOptions};
use crate::database::TestDb;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_literal};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use std::collections::BTreeMap;

/// The migrations applied once, from zero, on a server of their own.
#[derive(Debug)]
pub(super) struct FirstRun {
    pub(super) migrator: Migrator,
    pub(super) db: TestDb,
    /// Why they could not be applied.
    pub(super) failure: Option<Error>,
    /// Kept by a check while it writes to the server, or counts what others write to it.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Option<State>,
    /// The schema as it is shown after a dump and a restore; `None` where that cannot be had.
    pub(super) reworded: tokio::sync::OnceCell<Option<Catalog>>,
}

/// What a database holds, apart from the history of its migrations.
#[derive(Debug)]
pub(super) struct State {
    pub(super) catalog: Catalog,
    /// How many rows each table has.
    pub(super) rows: BTreeMap<String, i64>,
    /// What all databases of the server share: roles, their settings and memberships.
    pub(super) cluster: Vec<String>,
}

impl FirstRun {
    pub(super) async fn of(context: &Context) -> Result<FirstRun> {
        let migrator = Migrator::of(context.project())?;
        let db = context.vacant().await?;
        let failure = migrator.apply(&db).await.err();
        let state = match failure {
            None => Some(State::read(&db, &migrator).await?),
            Some(_) => None,
        };
        let (turn, reworded) = (tokio::sync::Mutex::default(), tokio::sync::OnceCell::new());
        Ok(FirstRun { migrator, db, failure, turn, state, reworded })
    }

    /// What came of it.
    ///
    /// # Errors
    /// The migrations failed, which is another check's finding.
    pub(super) fn state(&self) -> Result<&State> {
        self.state.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Migration, "the migrations cannot be applied: see `migration.clean-apply`")
        })
    }
}

impl State {
    /// What `db` holds now.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn read(db: &TestDb, migrator: &Migrator) -> Result<State> {
        State::read_by(&db.options(), migrator).await
    }

    /// What the database holds that `options` lead to.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn read_by(options: &PgConnectOptions, migrator: &Migrator) -> Result<State> {
        let mut connection = options.connect().await?;
        let state = State::read_on(&mut connection, migrator).await?;
        let _ = connection.close().await;
        Ok(state)
    }

    /// What the connected database holds.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn read_on(connection: &mut PgConnection, migrator: &Migrator) -> Result<State> {
        let catalog = Catalog::read_with(connection, &ReadOptions::new().with_prepared()).await?;
        let tables = tables(connection).await?;
        let histories: Vec<String> =
            tables.iter().filter(|table| migrator.is_history(table)).map(QualifiedName::to_string).collect();
        let catalog = catalog.without(|_, name| histories.iter().any(|history| history == name));
        let counted: Vec<QualifiedName> =
            tables.into_iter().filter(|table| !migrator.is_history(table)).collect();
        let rows = count(connection, &counted).await?;
        let cluster = cluster(connection).await?;
        Ok(State { catalog, rows, cluster })
    }
}

/// The user's own tables that hold rows.
async fn tables(connection: &mut PgConnection) -> Result<Vec<QualifiedName>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and c.oid >= 16384 and n.nspname !~ '^pg_'
         order by 1, 2",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(schema, name)| QualifiedName::new(schema, name)).collect())
}

/// How many rows each has.
async fn count(connection: &mut PgConnection, tables: &[QualifiedName]) -> Result<BTreeMap<String, i64>> {
    let mut rows = BTreeMap::new();
    // Some at a time: a query that names thousands of tables takes as many locks.
    for some in tables.chunks(100) {
        let counts: Vec<String> = some
            .iter()
            .map(|table| {
                let name = quote_literal(&table.to_string());
                format!("select {name}, count(*) from only {}", table.sql())
            })
            .collect();
        let counted: Vec<(String, i64)> =
            sqlx::query_as(AssertSqlSafe(counts.join(" union all "))).fetch_all(&mut *connection).await?;
        rows.extend(counted);
    }
    Ok(rows)
}

/// What all databases of the server share.
async fn cluster(connection: &mut PgConnection) -> Result<Vec<String>> {
    let facts: Vec<String> = sqlx::query_scalar(
        r#"select format('role %s: %s', rolname, to_jsonb(r) - '{oid,rolname,rolpassword}'::text[])
           from pg_catalog.pg_roles r
           union all
           select format('%s is a member of %s', m.member::regrole, m.roleid::regrole) from pg_catalog.pg_auth_members m
           union all
           select format('tablespace %s', spcname) from pg_catalog.pg_tablespace
           order by 1"#,
    )
    .fetch_all(connection)
    .await?;
    Ok(facts)
}
