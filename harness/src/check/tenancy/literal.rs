//! Values that policies name: a row that has one of them may pass, whoever's it is.

use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::QualifiedName;
use sqlx::PgConnection;

/// How many of one relation are tried.
const LITERALS_MAX: i64 = 8;

/// A column, and a value that a policy compares it with, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) column: String,
    pub(super) value: String,
}

/// What permissive policies of `table` say of new rows, besides the column `tenant`: texts, numbers, and columns that are
/// true.
///
/// # Errors
/// The server is lost.
pub(super) async fn of_new_rows(
    connection: &mut PgConnection,
    table: &QualifiedName,
    tenant: &str,
) -> Result<Vec<Literal>> {
    let named: Vec<(String, String)> = sqlx::query_as(
        "with said as (
            select pg_get_expr(coalesce(polwithcheck, polqual), polrelid) as expression
            from pg_policy where polrelid = $1::text::regclass and polcmd in ('a', '*') and polpermissive
        )
        select distinct a.attname::text as column, coalesce(m.value[1], m.value[2], 'true') as value
        from said join pg_attribute a on a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
        cross join lateral (
            select value from regexp_matches(
                expression, '\\m' || a.attname || '\\)*(?:::[a-z ]+)? = (?:''([^'']{1,60})''|(\\d{1,9}))', 'g') as value
            union all
            select array[null, null] where a.atttypid = 'boolean'::regtype and expression ~ ('\\m' || a.attname || '\\M')
        ) m
        where a.attname ~ '^[a-z_][a-z0-9_]*$' and a.attgenerated = '' and a.attname <> $2
        order by 1, 2 limit $3",
    )
    .bind(table.sql())
    .bind(tenant)
    .bind(LITERALS_MAX)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to read the policies of `{table}`"))?;
    Ok(named.into_iter().map(|(column, value)| Literal { column, value }).collect())
}
