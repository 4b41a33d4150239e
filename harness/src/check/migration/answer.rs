//! What the server says of a statement before it runs it: whether it can be prepared, and which columns it gives.

use crate::error::Result;
use sqlx::{AssertSqlSafe, Column, Executor, PgConnection, SqlSafeStr, Statement, TypeInfo};

/// The columns that a statement gives, in order: name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer(Vec<(String, String)>);

/// How a statement has changed for whoever sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    /// It gives a column of another type, or another column.
    Other(String),
    /// It gives more columns than before.
    More(String),
}

impl Answer {
    /// What the server says of `sql`; or why it refuses it.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn of(connection: &mut PgConnection, sql: &str) -> Result<Result<Answer, String>> {
        match connection.prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await {
            Ok(statement) => {
                let columns = statement.columns().iter();
                let shown = |column: &sqlx::postgres::PgColumn| {
                    (column.name().to_owned(), column.type_info().name().to_lowercase())
                };
                Ok(Ok(Answer(columns.map(shown).collect())))
            }
            Err(sqlx::Error::Database(answer)) => Ok(Err(answer.message().to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// What `now` is to somebody who expects this.
    pub(super) fn shift(&self, now: &Answer) -> Option<Shift> {
        for (place, (name, kind)) in self.0.iter().enumerate() {
            match now.0.get(place) {
                Some((_, other)) if alike(kind) != alike(other) => {
                    return Some(Shift::Other(format!("column `{name}` is {other}, and was {kind}")));
                }
                Some((other, _)) if name != other => {
                    return Some(Shift::Other(format!("column `{name}` is called `{other}`")));
                }
                Some(_) => {}
                None => return Some(Shift::Other(format!("column `{name}` is missing"))),
            }
        }
        let more: Vec<&str> = now.0.iter().skip(self.0.len()).map(|(name, _)| name.as_str()).collect();
        (!more.is_empty()).then(|| Shift::More(format!("there is `{}` besides", more.join("`, `"))))
    }
}

/// Types that look the same to a client are the same.
fn alike(kind: &str) -> &str {
    if kind == "varchar" { "text" } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[("id", "int8"), ("name", "text")], None)]
    #[case(&[("id", "int8"), ("name", "varchar")], None)]
    #[case(&[("id", "int4"), ("name", "text")], Some(Shift::Other("column `id` is int4, and was int8".into())))]
    #[case(&[("id", "int8"), ("title", "text")], Some(Shift::Other("column `name` is called `title`".into())))]
    #[case(&[("id", "int8")], Some(Shift::Other("column `name` is missing".into())))]
    #[case(&[("id", "int8"), ("name", "text"), ("at", "date")], Some(Shift::More("there is `at` besides".into())))]
    fn what_shifts_is_told(#[case] now: &[(&str, &str)], #[case] expect: Option<Shift>) {
        let answer = |columns: &[(&str, &str)]| {
            Answer(columns.iter().map(|(name, kind)| ((*name).into(), (*kind).into())).collect())
        };
        assert_eq!(answer(&[("id", "int8"), ("name", "text")]).shift(&answer(now)), expect);
    }
}
