//! Any statement as one role, and what it gave, within a transaction that is rolled back.

use super::probe::{Probed, Refusal, Session};
use crate::error::Result;
use crate::finding::Measurement;
use crate::ident::quote_literal;
use futures_util::StreamExt;
use sqlx::postgres::{PgDatabaseError, PgRow};
use sqlx::{AssertSqlSafe, Either, PgConnection, Row, ValueRef};

/// How long a statement may take: it is not the harness's own, and may do anything.
pub(super) const LIMITS: &str = "set local statement_timeout = '10s'; set local lock_timeout = '10s'";

/// What a statement gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gave {
    /// The rows, each as the server writes it, in an order of their own.
    pub(super) lines: Vec<String>,
    /// How many rows were read or written.
    pub(super) affected: u64,
}

/// What stands between the columns of a line.
const BETWEEN: &str = "\u{1f}";

impl Gave {
    /// The columns of each row.
    pub(super) fn cells(&self) -> impl Iterator<Item = Vec<&str>> {
        self.lines.iter().map(|line| line.split(BETWEEN).collect())
    }
}

impl Session {
    /// Runs `sql` with `settings` beside the context, and undoes it.
    pub(super) async fn try_out(
        &mut self,
        settings: &[(&str, &str)],
        sql: impl Into<String>,
    ) -> Result<Probed<Gave>> {
        let sql = sql.into();
        self.open(settings).await?;
        let outcome = match run(&mut self.connection, &sql).await {
            Ok(gave) => Ok(gave),
            Err(error) => Err(Refusal::of(error)?),
        };
        self.rollback().await?;
        Ok(Probed { sql, outcome })
    }

    /// As [`try_out`](Session::try_out), for what the server says when it refuses, all parts of it.
    pub(super) async fn complaint(
        &mut self,
        settings: &[(&str, &str)],
        sql: &str,
    ) -> Result<Option<Complaint>> {
        self.open(settings).await?;
        let said = run(&mut self.connection, sql).await;
        self.rollback().await?;
        let Err(error) = said else { return Ok(None) };
        let text = match &error {
            sqlx::Error::Database(answer) => answer
                .try_downcast_ref::<PgDatabaseError>()
                .map(|answer| {
                    let parts = [Some(answer.message()), answer.detail(), answer.hint(), answer.r#where()];
                    parts.into_iter().flatten().collect::<Vec<_>>().join(BETWEEN)
                })
                .unwrap_or_default(),
            _ => String::new(),
        };
        Ok(Some(Complaint { refusal: Refusal::of(error)?, text }))
    }

    /// Begins a transaction with the context, limits and `settings`.
    pub(super) async fn open(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let mut opening = self.opening();
        opening.push(LIMITS.to_owned());
        for (name, value) in settings {
            opening.push(format!(
                "select set_config({}, {}, true)",
                quote_literal(name),
                quote_literal(value)
            ));
        }
        sqlx::raw_sql(AssertSqlSafe(opening.join("; "))).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// What the server said when it refused.
pub(super) struct Complaint {
    pub(super) refusal: Refusal,
    /// Message, detail, hint and context.
    pub(super) text: String,
}

/// Runs `sql` as it is; the server writes the values of any type as text.
pub(super) async fn run(connection: &mut PgConnection, sql: &str) -> Result<Gave, sqlx::Error> {
    let mut gave = Gave::default();
    let mut results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    while let Some(result) = results.next().await {
        match result? {
            Either::Left(done) => gave.affected += done.rows_affected(),
            Either::Right(row) => gave.lines.push(line(&row)?),
        }
    }
    gave.lines.sort();
    Ok(gave)
}

fn line(row: &PgRow) -> Result<String, sqlx::Error> {
    let mut cells = Vec::with_capacity(row.len());
    for place in 0..row.len() {
        let value = row.try_get_raw(place)?;
        let text = if value.is_null() { "" } else { value.as_str().map_err(sqlx::Error::Decode)? };
        cells.push(text.to_owned());
    }
    Ok(cells.join(BETWEEN))
}

/// How many of a check's controls ran: without them its probes prove nothing.
pub(super) fn controls(check: &str, count: usize) -> Measurement {
    Measurement::count(check, "controls", count)
}
