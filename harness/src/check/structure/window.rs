//! The window of partitions that a table has, as the server sees it.

use crate::check::{Every, Partitions};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// A partitioned table with one key.
#[derive(Clone, Debug)]
pub(super) struct Partitioned {
    pub(super) name: QualifiedName,
    /// The column that it is partitioned by, and its type.
    pub(super) column: String,
    pub(super) type_name: String,
}

/// A partition, and the condition that its rows satisfy.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) name: QualifiedName,
    condition: String,
    pub(super) is_default: bool,
}

/// A stretch of time that one partition is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// Counted from the present one, which is 0.
    pub(super) number: i32,
    /// As people write its beginning: `2026-11-01`.
    pub(super) begins: String,
    /// A moment in its middle, as SQL writes it.
    pub(super) middle: String,
}

/// The declared table; `Err`: why there is no window to look at.
///
/// # Errors
/// The server is lost.
pub(super) async fn table(
    control: &mut PgConnection,
    name: &QualifiedName,
) -> Result<Result<Partitioned, &'static str>> {
    let row = sqlx::query(
        "select c.relkind::text as kind, p.partstrat::text as strategy, p.partnatts as columns, a.attname::text as column,
            pg_catalog.format_type(a.atttypid, null) as type
         from pg_catalog.pg_class c left join pg_catalog.pg_partitioned_table p on p.partrelid = c.oid
         left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0] and a.attnum > 0
         where c.oid = to_regclass($1)",
    )
    .bind(name.sql())
    .fetch_optional(control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to look at `{name}`"))?;
    let Some(row) = row else { return Ok(Err("there is no such table")) };
    if row.try_get::<String, _>("kind")? != "p" {
        return Ok(Err("it is not partitioned"));
    }
    let (strategy, columns): (String, i16) = (row.try_get("strategy")?, row.try_get("columns")?);
    let (column, type_name): (Option<String>, Option<String>) =
        (row.try_get("column")?, row.try_get("type")?);
    Ok(match (column, type_name) {
        (Some(column), Some(type_name))
            if strategy == "r"
                && columns == 1
                && (type_name.starts_with("timestamp") || type_name == "date") =>
        {
            Ok(Partitioned { name: name.clone(), column, type_name })
        }
        _ => Err("it is not partitioned by ranges of one column of time"),
    })
}

/// The periods of the window now.
///
/// # Errors
/// The server is lost.
pub(super) async fn periods(control: &mut PgConnection, window: &Partitions) -> Result<Vec<Period>> {
    let (unit, step) = match window.every {
        Every::Hour => ("hour", "1 hour"),
        Every::Day => ("day", "1 day"),
        Every::Week => ("week", "1 week"),
        Every::Month => ("month", "1 month"),
        Every::Quarter => ("quarter", "3 months"),
        Every::Year => ("year", "1 year"),
    };
    // Whatever zone the project counts in, the middle of a period lies in it, but for hours.
    let rows: Vec<(i32, String, String)> = sqlx::query_as(
        "select number, to_char(first, case when $1 = 'hour' then 'YYYY-MM-DD HH24:00' else 'YYYY-MM-DD' end),
            to_char(first + (first + $2::interval - first) / 2, 'YYYY-MM-DD HH24:MI:SS') || '+00'
         from generate_series(- $3::int, $4::int) as number,
            lateral (select date_trunc($1, now() at time zone 'UTC') + number * $2::interval) as period (first)
         order by number",
    )
    .bind(unit)
    .bind(step)
    .bind(i32::try_from(window.behind).unwrap_or(i32::MAX))
    .bind(i32::try_from(window.ahead).unwrap_or(i32::MAX))
    .fetch_all(control)
    .await
    .attempt(ErrorKind::Database, || "failed to count the periods of a window".into())?;
    Ok(rows.into_iter().map(|(number, begins, middle)| Period { number, begins, middle }).collect())
}

/// The partitions of a table, by name.
///
/// # Errors
/// The server is lost.
pub(super) async fn partitions(control: &mut PgConnection, table: &Partitioned) -> Result<Vec<Partition>> {
    let rows: Vec<(String, String, Option<String>, bool)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text, pg_catalog.pg_get_partition_constraintdef(c.oid),
            pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'
         from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where i.inhparent = $1::regclass and not i.inhdetachpending
         order by 1, 2",
    )
    .bind(table.name.sql())
    .fetch_all(control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list the partitions of `{}`", table.name))?;
    let partition =
        |(schema, name, condition, is_default): (String, String, Option<String>, bool)| Partition {
            name: QualifiedName::new(schema, name),
            // A default partition that is alone takes everything.
            condition: condition.unwrap_or_else(|| "true".into()),
            is_default,
        };
    Ok(rows.into_iter().map(partition).collect())
}

/// Which of `partitions` holds rows of `period`.
///
/// # Errors
/// The server is lost.
pub(super) async fn holder<'a>(
    control: &mut PgConnection,
    table: &Partitioned,
    partitions: &'a [Partition],
    period: &Period,
) -> Result<Option<&'a Partition>> {
    for partition in partitions {
        // The server's own words for what is in it.
        let sql = format!(
            "select coalesce({}, false) from (select '{}'::timestamptz::{} as {}) as probe",
            partition.condition,
            period.middle,
            table.type_name,
            quote_ident(&table.column)
        );
        let holds: bool = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut *control)
            .await
            .attempt(ErrorKind::Database, || format!("failed to ask what `{}` holds", partition.name))?;
        if holds {
            return Ok(Some(partition));
        }
    }
    Ok(None)
}
