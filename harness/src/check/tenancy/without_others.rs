//! The same database without the rows of other tenants: what is different then came from them.

use super::attack::Attack;
use super::tables::Relation;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::quote_literal;
use sqlx::{AssertSqlSafe, Executor};
use std::collections::HashSet;

/// How many rows of a table are looked at for values.
const ROWS_MAX: usize = 1000;

/// What only rows of other tenants have in them: texts, times and keys that are too long to be there by chance.
///
/// # Errors
/// The rows cannot be read.
pub(super) async fn values(attack: &mut Attack) -> Result<HashSet<String>> {
    let stores: Vec<&Relation> = leaves(&attack.relations).collect();
    if stores.is_empty() {
        return Ok(HashSet::new());
    }
    let own = quote_literal(&attack.tenants.own);
    let of = |condition: &str, limit: usize| -> String {
        let parts: Vec<String> = stores
            .iter()
            .map(|relation| {
                let (table, column) = (relation.own_rows(), &relation.column);
                format!(
                    "(select to_jsonb(r) as row from {table} r where r.{column} {condition} limit {limit})"
                )
            })
            .collect();
        format!(
            "select v.value from ({}) every, jsonb_each_text(every.row) v where length(v.value) between 5 and 500",
            parts.join(" union all ")
        )
    };
    // Numbers and times look like others' too easily.
    let sql = format!(
        "select value from ({} except ({} union {})) t where value !~ '^[-+0-9.:eT ]*$' and value not in ('false', 'true')",
        of(&format!("<> {own}"), ROWS_MAX),
        of(&format!("= {own}"), ROWS_MAX * 100),
        of("is null", ROWS_MAX)
    );
    let values: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_all(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || "failed to read the rows of other tenants".into())?;
    Ok(values.into_iter().collect())
}

/// Whether `text` holds one of the `secrets` that is not in what was `sent`.
pub(super) fn tells(text: &str, sent: &str, secrets: &HashSet<String>) -> bool {
    secrets.iter().any(|secret| text.contains(secret.as_str()) && !sent.contains(secret.as_str()))
}

/// Removes the rows of all tenants but one, past triggers and foreign keys.
///
/// # Errors
/// A table does not let its rows go.
pub(super) async fn remove(attack: &mut Attack) -> Result<()> {
    let own = quote_literal(&attack.tenants.own);
    let mut sql = vec!["begin".to_owned()];
    for relation in leaves(&attack.relations) {
        let (table, column) = (relation.own_rows(), &relation.column);
        sql.push(format!("alter table {table} disable trigger all"));
        sql.push(format!("delete from {table} where {column} <> {own}"));
    }
    sql.push("commit".to_owned());
    sqlx::raw_sql(AssertSqlSafe(sql.join("; ")))
        .execute(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || "failed to take away the rows of other tenants".into())?;
    for view in attack.relations.iter().filter(|relation| relation.kind == "materialized view") {
        let sql = format!("refresh materialized view {}", view.name.sql());
        match attack.control.execute(AssertSqlSafe(sql)).await {
            // One that cannot be refreshed shows the same as before, and tells nothing.
            Ok(_) | Err(sqlx::Error::Database(_)) => {}
            Err(lost) => return Err(lost.into()),
        }
    }
    attack.control.execute("discard plans").await?;
    Ok(())
}

/// The tables that rows lie in.
fn leaves(relations: &[Relation]) -> impl Iterator<Item = &Relation> {
    relations.iter().filter(|relation| matches!(relation.kind, "table" | "partition"))
}
