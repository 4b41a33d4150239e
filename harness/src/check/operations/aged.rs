//! Rows whose age is known.

use super::retention::digests;
use crate::error::{Attempt, ErrorKind, Result};
use crate::fixture::rows::{Rows, Step, Wish};
use crate::ident::{QualifiedName, quote_literal};
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// How old a row is, by what it is to be kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    TooOld,
    Young,
}

/// A row that was made up.
#[derive(Clone, Debug)]
pub(super) struct Aged {
    pub(super) age: Age,
    /// Of all that is in it.
    pub(super) digest: String,
}

/// Columns and their values, as expressions.
pub(super) type Arrangement = BTreeMap<String, String>;

impl Age {
    /// Ways to give the columns `times` such an age: all alike, one after the other, the other way round, and each alone
    /// with the others left as the table has them by default.
    pub(super) fn arrangements(self, times: &[String], keep: &str) -> Vec<Arrangement> {
        let keep = format!("interval {}", quote_literal(keep));
        let ago = match self {
            Age::TooOld => format!("({keep} + greatest({keep} / 10, interval '1 hour'))"),
            Age::Young => format!("({keep} - least({keep} / 10, interval '1 hour'))"),
        };
        let arranged = |order: &dyn Fn(usize) -> usize| -> Arrangement {
            times.iter().enumerate().map(|(at, name)| (name.clone(), time_ago(&ago, order(at)))).collect()
        };
        let mut all = vec![arranged(&|_| 0)];
        if times.len() > 1 {
            all.push(arranged(&|at| at));
            all.push(arranged(&|at| times.len() - at));
        }
        // A row that is young in one time alone may be too old in another: of the old ones alone that does no harm.
        if times.len() > 1 && self == Age::TooOld {
            all.extend(times.iter().map(|name| [(name.clone(), time_ago(&ago, 0))].into()));
        }
        all
    }
}

impl Aged {
    /// Adds such a row; gives what added it, or why the table takes none.
    pub(super) async fn add(
        connection: &mut PgConnection,
        rows: &mut Rows,
        table: &QualifiedName,
        age: Age,
        arrangement: Arrangement,
    ) -> Result<Result<(Aged, Vec<Step>), String>> {
        let before = digests(connection, table).await?;
        let wish = Wish { values: arrangement, ..Wish::default() };
        let steps = match rows.add(connection, table, &wish).await? {
            Ok(steps) => steps,
            Err(reason) => return Ok(Err(reason)),
        };
        let after = digests(connection, table).await?;
        let new = after.into_iter().find(|(digest, count)| before.get(digest).unwrap_or(&0) < count);
        Ok(match new {
            Some((digest, _)) => Ok((Aged { age, digest }, steps)),
            None => Err("the row does not stay in the table".into()),
        })
    }
}

/// The columns of time that a statement may set.
///
/// # Errors
/// There is no such table.
pub(super) async fn columns(connection: &mut PgConnection, table: &QualifiedName) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select a.attname::text from pg_catalog.pg_attribute a
         join pg_catalog.pg_type t on t.oid = a.atttypid
         where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
             and coalesce(nullif(t.typbasetype, 0), t.oid) in
                 ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
         order by a.attnum",
    )
    .bind(table.sql())
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Usage, || format!("failed to look at `{table}`, which `structure.retention` names"))
}

/// The time `seconds` after `ago` before now, as an expression.
fn time_ago(ago: &str, seconds: usize) -> String {
    format!("now() - {ago} + interval '{seconds} seconds'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_arranged_in_every_way_that_a_table_may_ask_for() {
        let times = ["a".to_owned(), "b".to_owned()];
        let old = Age::TooOld.arrangements(&times, "90 days");
        assert_eq!(old.len(), 5);
        assert!(old[0].values().all(|value| value.ends_with("'0 seconds'")), "{old:?}");
        assert!(old[1]["a"] < old[1]["b"] && old[2]["a"] > old[2]["b"], "{old:?}");
        assert_eq!(Age::Young.arrangements(&times, "90 days").len(), 3);
        assert_eq!(Age::TooOld.arrangements(&times[..1], "90 days").len(), 1);
    }
}
