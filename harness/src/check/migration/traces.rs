//! What a run leaves on a server, seen from outside: transaction ids, and the tables that were written to.

use crate::database::TestDb;
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::wait::Patience;
use sqlx::{Connection, PgConnection};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the last session of a run may take to end.
const LEAVING: Duration = Duration::from_secs(10);

/// The counters of a server at one moment.
#[derive(Debug)]
pub(super) struct Traces {
    /// The transaction id that the next writer gets.
    next_id: i64,
    /// How many rows were inserted, updated and deleted, by table.
    writes: BTreeMap<QualifiedName, (i64, i64, i64)>,
}

/// A table that was written to, and how many rows were inserted, updated and deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) table: QualifiedName,
    pub(super) rows: (i64, i64, i64),
}

impl Traces {
    /// Reads the counters of the database `db` when nobody else is connected to it: a session tells its counters
    /// when it ends. On a server that others use too, their transaction ids count.
    ///
    /// # Errors
    /// A session does not end, or the server is lost.
    pub(super) async fn read(db: &TestDb) -> Result<Traces> {
        let mut connection = db.connection().await?;
        quiet(&mut connection).await?;
        let next_id: i64 = sqlx::query_scalar(
            "select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint",
        )
        .fetch_one(&mut connection)
        .await?;
        let rows: Vec<(String, String, i64, i64, i64)> = sqlx::query_as(
            "select schemaname::text, relname::text, n_tup_ins, n_tup_upd, n_tup_del
             from pg_catalog.pg_stat_all_tables
             where schemaname not in ('pg_toast', 'information_schema')",
        )
        .fetch_all(&mut connection)
        .await?;
        let _ = connection.close().await;
        let writes = rows
            .into_iter()
            .map(|(schema, name, inserted, updated, deleted)| {
                (QualifiedName::new(schema, name), (inserted, updated, deleted))
            })
            .collect();
        Ok(Traces { next_id, writes })
    }

    /// How many transaction ids were spent since `before`.
    pub(super) fn ids_since(&self, before: &Traces) -> i64 {
        self.next_id - before.next_id
    }

    /// The tables that were written to since `before`, apart from what ANALYZE keeps.
    pub(super) fn written_since(&self, before: &Traces) -> Vec<Written> {
        let zero = (0, 0, 0);
        self.writes
            .iter()
            .filter_map(|(table, now)| {
                let then = before.writes.get(table).unwrap_or(&zero);
                let rows = (now.0 - then.0, now.1 - then.1, now.2 - then.2);
                (rows != zero && !table.name.starts_with("pg_statistic"))
                    .then(|| Written { table: table.clone(), rows })
            })
            .collect()
    }
}

/// Waits until this session is the only one of its database.
async fn quiet(connection: &mut PgConnection) -> Result<()> {
    let patience = Patience::new("the sessions of a run to end", LEAVING);
    loop {
        let others: Option<String> = sqlx::query_scalar(
            "select string_agg(format('pid %s (`%s`)', pid, application_name), ', ')
             from pg_catalog.pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'",
        )
        .fetch_one(&mut *connection)
        .await?;
        match others {
            None => return Ok(()),
            Some(others) => patience.not_yet(&others).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_was_written_to() {
        let traces = |writes: &[(&str, (i64, i64, i64))], next_id| Traces {
            next_id,
            writes: writes.iter().map(|(table, rows)| (QualifiedName::parse(table), *rows)).collect(),
        };
        let before = traces(&[("a.one", (1, 0, 0)), ("a.two", (0, 0, 0)), ("a.gone", (1, 0, 0))], 7);
        let now = traces(
            &[
                ("a.one", (1, 0, 2)),
                ("a.two", (0, 0, 0)),
                ("a.new", (3, 0, 0)),
                ("a.pg_statistic", (1, 0, 0)),
            ],
            9,
        );
        assert_eq!(now.ids_since(&before), 2);
        let written: Vec<_> =
            now.written_since(&before).into_iter().map(|w| (w.table.to_string(), w.rows)).collect();
        assert_eq!(written, [("a.new".to_owned(), (3, 0, 0)), ("a.one".to_owned(), (0, 0, 2))]);
    }
}
