//! The policies of a table, as the server knows them.

use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::QualifiedName;
use sqlx::{PgConnection, Row};

/// A policy that is asked when a role reads a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) is_permissive: bool,
}

/// How many policies `table` has, and those that are asked when `role` reads it.
pub(super) async fn of_reader(
    connection: &mut PgConnection,
    table: &QualifiedName,
    role: &str,
) -> Result<(usize, Vec<Policy>)> {
    let rows = sqlx::query(
        "select polname::text as name, polpermissive,
            polcmd in ('r', '*') and (polroles = array[0::oid]
                or exists (select from unnest(polroles) o where o <> 0 and pg_has_role($2::name, o, 'usage'))) as is_asked
         from pg_policy where polrelid = $1::text::regclass order by polname",
    )
    .bind(table.sql())
    .bind(role)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to read the policies of `{table}`"))?;
    let mut asked = Vec::new();
    for row in &rows {
        if row.try_get("is_asked")? {
            asked.push(Policy { name: row.try_get("name")?, is_permissive: row.try_get("polpermissive")? });
        }
    }
    Ok((rows.len(), asked))
}
