//! Looking for canaries in everything that a role can read.

use super::canary::{self, PATTERN};
use super::probe::{Session, Why};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::PgConnection;

/// Something that a role may read, and its columns as SQL.
#[derive(Clone, Debug)]
pub(super) struct Readable {
    pub(super) name: QualifiedName,
    pub(super) kind: &'static str,
    columns: Vec<String>,
}

/// Where a canary was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) sql: String,
    /// The canary's number, and how many rows it is in.
    pub(super) canaries: Vec<(usize, i64)>,
}

/// All tables, views and materialized views that `role` may read a column of.
///
/// # Errors
/// The catalog cannot be read.
pub(super) async fn readable(connection: &mut PgConnection, role: &str) -> Result<Vec<Readable>> {
    let rows: Vec<(String, String, String, Vec<String>)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text, c.relkind::text,
            array(select a.attname::text from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                    and has_column_privilege($1::name, c.oid, a.attnum, 'select')
                order by a.attnum)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'v', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
            and has_schema_privilege($1::name, n.oid, 'usage')
            and has_any_column_privilege($1::name, c.oid, 'select')
            and not exists (
                select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
            )
         order by n.nspname collate \"C\", c.relname collate \"C\"",
    )
    .bind(role)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list what `{role}` may read"))?;
    let readable = |(schema, name, kind, columns): (String, String, String, Vec<String>)| Readable {
        name: QualifiedName::new(schema, name),
        kind: match kind.as_str() {
            "v" => "view",
            "m" => "materialized view",
            "p" => "partitioned table",
            _ => "table",
        },
        columns: columns.iter().map(|column| quote_ident(column)).collect(),
    };
    Ok(rows.into_iter().map(readable).collect())
}

/// The canaries in `readable` that fit `condition`, or why it could not be searched.
///
/// # Errors
/// The server is lost.
pub(super) async fn search(
    session: &mut Session,
    readable: &Readable,
    condition: &str,
) -> Result<Result<Found, String>> {
    let sql = format!(
        "select count(*), found from (select (regexp_match(row({})::text, {}))[1] as found from {}{condition}) r \
         where found is not null group by found order by found",
        readable.columns.join(", "),
        quote_literal(PATTERN),
        readable.name.sql()
    );
    let probed = session.try_out(&[], sql).await?;
    Ok(match probed.outcome {
        Ok(gave) => {
            let canaries = gave.cells().filter_map(|cells| match cells.as_slice() {
                [count, found] => Some((canary::number(found)?, count.parse().ok()?)),
                _ => None,
            });
            Ok(Found { sql: probed.sql, canaries: canaries.collect() })
        }
        Err(refusal) if refusal.why == Why::Circumstances => Err(format!("the statement failed ({refusal})")),
        // A policy or a view that refuses shows nothing.
        Err(_) => Ok(Found { sql: probed.sql, canaries: Vec::new() }),
    })
}
