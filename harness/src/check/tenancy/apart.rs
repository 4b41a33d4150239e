//! Tenants that share no parent: who is in one team with another may be meant to see them.

use super::tables::Relation;
use super::tenants::Seeds;
use crate::error::{Attempt, ErrorKind, Result};
use crate::fixture::rows::{Parent, Rows, Wish};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::{AssertSqlSafe, PgConnection};

/// Wishes that a row of `relation` refers to parents to which no other tenant's row refers, and adds those that are
/// missing. It is so of parents that say nothing of tenants and were made up, all of them: rows that the project has of
/// its own are values to choose from. Gives the tables of these parents.
///
/// # Errors
/// The server is lost.
pub(super) async fn keep_apart(
    connection: &mut PgConnection,
    rows: &mut Rows,
    seeds: &mut Seeds,
    relation: &Relation,
    wish: &mut Wish,
) -> Result<Vec<QualifiedName>> {
    let mut read = Vec::new();
    let Some((column, tenant)) = wish.everywhere.clone() else { return Ok(read) };
    for parent in rows.parents(&relation.name) {
        let is_of_tenants = rows.has_column(&parent.table, &column);
        if is_of_tenants || parent.own == column || parent.table == relation.name {
            continue;
        }
        let Parent { own, table, theirs } = &parent;
        let made = seeds.journal.iter().filter(|step| step.table == *table).count();
        let failed = || format!("failed to look for parents in `{table}`");
        let present: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {}", table.sql())))
            .fetch_one(&mut *connection)
            .await
            .attempt(ErrorKind::Database, failed)?;
        if usize::try_from(present).ok() != Some(made) {
            continue;
        }
        let (own, theirs) = (quote_ident(own), quote_ident(theirs));
        let free = format!(
            "(select q.{theirs} from {} q where not exists (select from {} r where r.{own} = q.{theirs} \
             and r.{} is distinct from {}) order by q.{theirs} limit 1)",
            table.sql(),
            relation.name.sql(),
            relation.column,
            quote_literal(&tenant)
        );
        let is_there: bool = sqlx::query_scalar(AssertSqlSafe(format!("select {free} is not null")))
            .fetch_one(&mut *connection)
            .await
            .attempt(ErrorKind::Database, failed)?;
        if !is_there {
            let like_others = Wish { values: [].into(), like: None, ..wish.clone() };
            match rows.add(connection, table, &like_others).await? {
                Ok(steps) => seeds.journal.extend(steps),
                // One parent is all that it takes.
                Err(_) => continue,
            }
        }
        wish.values.insert(parent.own, free);
        read.push(parent.table);
    }
    Ok(read)
}
