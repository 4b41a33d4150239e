//! Values by which a row is known wherever it is copied to.

use crate::error::{Attempt, ErrorKind, Result};
use crate::fixture::rows::{Like, Rows, Step, Wish};
use crate::ident::{QualifiedName, quote_literal};
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// What all canaries look like in the text of a row: a text, a UUID or a number.
pub(super) const PATTERN: &str =
    "(pghcanary[0-9]{5}|c0ffee00-0000-4000-8000-0000000[0-9]{5}|80000000[0-9]{5}0)";

/// The value of the canary `number`, as a text.
fn text(number: usize) -> String {
    format!("pghcanary{number:05}")
}

/// The number in a canary that [`PATTERN`] found.
pub(super) fn number(found: &str) -> Option<usize> {
    let found = match found.strip_prefix("80000000") {
        Some(number) => &number[..number.len().saturating_sub(1)],
        None => found,
    };
    let digits = found.len().checked_sub(5).and_then(|at| found.get(at..))?;
    digits.parse().ok()
}

/// Whether `payload` tells the text of the canary `number`; a key alone tells little.
pub(super) fn is_told(number: usize, payload: &str) -> bool {
    payload.contains(&text(number))
}

/// Whether `text` holds the canary `number` in any of its forms.
pub(super) fn is_in(number: usize, text: &str) -> bool {
    [self::text(number), uuid(number), digits(number)].iter().any(|form| text.contains(form.as_str()))
}

fn uuid(number: usize) -> String {
    format!("c0ffee00-0000-4000-8000-0000000{number:05}")
}

fn digits(number: usize) -> String {
    format!("80000000{number:05}0")
}

/// Columns that a canary may be put into, with the value as SQL: those that no condition and no other table restrict.
///
/// # Errors
/// The columns cannot be read.
pub(super) async fn places(
    connection: &mut PgConnection,
    table: &QualifiedName,
    tenant: &str,
    canary: usize,
) -> Result<BTreeMap<String, String>> {
    let columns: Vec<(String, String, i32)> = sqlx::query_as(
        "select a.attname::text, t.typname::text, a.atttypmod
         from pg_attribute a join pg_type t on t.oid = a.atttypid
         where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped and a.attname <> $2
            and a.attgenerated = '' and a.attidentity = ''
            and not exists (
                select from pg_constraint k
                where k.conrelid = a.attrelid and a.attnum = any (k.conkey) and k.contype in ('c', 'f')
            )
            and not exists (select from pg_partitioned_table p
                where p.partrelid = a.attrelid and a.attnum = any (p.partattrs))
         order by a.attnum",
    )
    .bind(table.sql())
    .bind(tenant)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to read the columns of `{table}`"))?;
    let mut places = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for (column, base, modifier) in columns {
        let length = modifier - 4;
        match base.as_str() {
            "text" | "citext" | "varchar" | "bpchar" if !(0..14).contains(&length) => {
                places.insert(column, quote_literal(&text(canary)));
            }
            "json" | "jsonb" => {
                places.insert(
                    column,
                    format!("jsonb_build_object('canary', {})", quote_literal(&text(canary))),
                );
            }
            "uuid" => {
                places.insert(column, quote_literal(&uuid(canary)));
            }
            "int8" | "numeric" if modifier < 0 => {
                numbers.insert(column, digits(canary));
            }
            _ => {}
        }
    }
    // A number may be a quantity: only where there is nothing else.
    Ok(if places.is_empty() { numbers } else { places })
}

/// Adds a row with the canary in it, in as many of the places as the table admits, like one for which `which` is true;
/// or the reason why it takes none.
///
/// # Errors
/// The server is lost.
pub(super) async fn plant(
    connection: &mut PgConnection,
    rows: &mut Rows,
    table: &QualifiedName,
    which: &str,
    places: &BTreeMap<String, String>,
    base: &Wish,
) -> Result<Result<Vec<Step>, String>> {
    let one_each = places.iter().map(|(column, value)| BTreeMap::from([(column.clone(), value.clone())]));
    let mut reason = "it has no column for a text to know it by".to_owned();
    for values in std::iter::once(places.clone()).chain(one_each.take(4)).filter(|values| !values.is_empty())
    {
        for like in [Some(Like::of(table, which)), None] {
            let wish = Wish { values: values.clone(), like, ..base.clone() };
            match rows.add(connection, table, &wish).await? {
                Ok(steps) => return Ok(Ok(steps)),
                Err(refusal) => reason = refusal,
            }
        }
    }
    Ok(Err(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("pghcanary00012", Some(12))]
    #[case("c0ffee00-0000-4000-8000-000000000012", Some(12))]
    #[case("80000000000120", Some(12))]
    #[case("x", None)]
    fn a_canary_is_known_by_its_number(#[case] found: &str, #[case] expected: Option<usize>) {
        assert_eq!(number(found), expected);
    }
}
