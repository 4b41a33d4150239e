//! One statement as one role, within a transaction that is always rolled back.

use super::tables::Relation;
use super::tenants::Tenants;
use crate::error::{Error, Result};
use crate::ident::quote_literal;
use futures_util::StreamExt;
use sqlx::postgres::{PgDatabaseError, PgRow};
use sqlx::{AssertSqlSafe, Either, Executor, PgConnection, Row};

/// A session of a role, which has logged in.
pub(super) struct Session {
    pub(super) role: String,
    pub(super) connection: PgConnection,
    /// The setting and its value, in every transaction.
    pub(super) context: Option<(String, String)>,
}

/// How many rows a statement saw, by whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) visible: i64,
    /// Whose they are is known: the role may read the tenant's column.
    pub(super) are_told_apart: bool,
    pub(super) own: i64,
    /// Of any other tenant.
    pub(super) others: i64,
    /// Of no tenant, or of the tenant ''.
    pub(super) nobody: i64,
}

/// The server's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) why: Why,
    /// The constraint that it names.
    pub(super) constraint: Option<String>,
    /// A function of the project's raised it, with whatever code it chose.
    pub(super) is_raised: bool,
}

/// What the server's no rests on, by what it says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A policy refuses the new row.
    Policy,
    /// The role lacks a privilege.
    Privilege,
    /// The statement ran out of time or the server of something: nothing is known.
    Circumstances,
    /// Anything else: a policy that raises, a constraint, a trigger.
    Other,
}

impl Refusal {
    /// What the server said; a lost session is an error.
    pub(super) fn of(error: sqlx::Error) -> Result<Refusal> {
        let answer = match &error {
            sqlx::Error::Database(answer) => answer.try_downcast_ref::<PgDatabaseError>(),
            _ => None,
        };
        let Some(answer) = answer else { return Err(Error::from(error)) };
        let class = answer.code().get(..2).unwrap_or_default();
        let is_raised = answer.routine() == Some("exec_stmt_raise");
        let why = match (answer.code(), answer.routine(), class) {
            // By the place in the server's source: its messages are translated.
            ("42501", Some("ExecWithCheckOptions"), _) if answer.r#where().is_none() => Why::Policy,
            ("42501", Some("aclcheck_error"), _) if answer.r#where().is_none() => Why::Privilege,
            _ if is_raised => Why::Other,
            (code, ..) if code.starts_with("57P") => return Err(Error::from(error)),
            (_, _, "53" | "57" | "58" | "55" | "40" | "08" | "XX") => Why::Circumstances,
            _ => Why::Other,
        };
        Ok(Refusal {
            code: answer.code().to_owned(),
            why,
            constraint: answer.constraint().map(ToOwned::to_owned),
            is_raised,
        })
    }
}

impl Refusal {
    /// Whether a constraint refused the row, and not a trigger with a code like theirs. Most have a name.
    pub(super) fn is_of_a_constraint(&self) -> bool {
        let is_told = self.code == "23502" || (self.code.starts_with("23") && self.constraint.is_some());
        is_told && !self.is_raised
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = match self.why {
            Why::Policy => ": refused by a policy",
            Why::Privilege => ": permission denied",
            Why::Circumstances | Why::Other => "",
        };
        write!(f, "SQLSTATE {}{why}", self.code)
    }
}

/// What came of a statement, and the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probed<T> {
    pub(super) sql: String,
    pub(super) outcome: Result<T, Refusal>,
}

impl Session {
    /// The statements that a transaction begins with.
    pub(super) fn opening(&self) -> Vec<String> {
        opening(self.context.as_ref())
    }

    /// Counts the rows of `relation`, by whose they are.
    pub(super) async fn count(&mut self, relation: &Relation, tenants: &Tenants) -> Result<Probed<Counts>> {
        self.count_after("", relation, tenants).await
    }

    /// As [`count`](Session::count), after other statements of the same transaction, each with its semicolon.
    pub(super) async fn count_after(
        &mut self,
        before: &str,
        relation: &Relation,
        tenants: &Tenants,
    ) -> Result<Probed<Counts>> {
        let Relation { column, name, .. } = relation;
        let own = quote_literal(&tenants.own);
        let nobody = if relation.is_text() {
            format!("{column} is null or {column} = ''")
        } else {
            format!("{column} is null")
        };
        let table = name.sql();
        let sql = format!(
            "{before}select count(*) as visible, count(*) filter (where {column} = {own}) as own, \
             count(*) filter (where {nobody}) as nobodys from {table}"
        );
        let told_apart = |row: &PgRow| -> Result<Counts, sqlx::Error> {
            let (visible, own, nobody) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok(Counts { visible, are_told_apart: true, own, others: visible - own - nobody, nobody })
        };
        let first = self.ask(sql, told_apart).await?;
        if first.outcome.as_ref().err().is_none_or(|refusal| refusal.why != Why::Privilege) {
            return Ok(first);
        }
        // Whoever may read one column may count the rows.
        let total = |row: &PgRow| Ok(Counts { visible: row.try_get(0)?, ..Counts::default() });
        self.ask(format!("{before}select count(*) as visible from {table}"), total).await
    }

    /// Counts the rows of the other tenant by asking for them.
    pub(super) async fn count_others(
        &mut self,
        relation: &Relation,
        tenants: &Tenants,
    ) -> Result<Probed<i64>> {
        self.count_others_after("", relation, tenants).await
    }

    /// As [`count_others`](Session::count_others), after other statements of the same transaction.
    pub(super) async fn count_others_after(
        &mut self,
        before: &str,
        relation: &Relation,
        tenants: &Tenants,
    ) -> Result<Probed<i64>> {
        let sql = format!(
            "{before}select count(*) from {} where {} = {}",
            relation.name.sql(),
            relation.column,
            quote_literal(&tenants.other)
        );
        self.ask(sql, |row| row.try_get(0)).await
    }

    /// Runs a statement that gives one row.
    pub(super) async fn ask<T>(
        &mut self,
        sql: String,
        read: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Probed<T>> {
        // One message: there are thousands of these.
        let message = format!("{}; {sql}; rollback", self.opening().join("; "));
        let rows = sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(&mut self.connection).await;
        let outcome = match rows {
            Ok(rows) => match rows.last() {
                Some(row) => Ok(read(row)?),
                None => return Err(Error::from(sqlx::Error::RowNotFound)),
            },
            Err(error) => {
                let refusal = Refusal::of(error)?;
                self.rollback().await?;
                Err(refusal)
            }
        };
        Ok(Probed { sql, outcome })
    }

    /// Runs a statement that finds the row `json`, where it is given one, in the setting [`ROW`]; gives how many rows it
    /// changed.
    pub(super) async fn write(&mut self, sql: &str, json: Option<&str>) -> Result<Probed<u64>> {
        let mut statements = self.opening();
        statements.extend(json.map(laid));
        let place = statements.len();
        // What is judged at the end of a transaction is judged here.
        statements.extend([sql.to_owned(), SETTLE.to_owned(), "rollback".to_owned()]);
        // One message: there are thousands of these.
        let message = statements.join("; ");
        let mut results = sqlx::raw_sql(AssertSqlSafe(message)).fetch_many(&mut self.connection);
        let (mut ended, mut changed, mut refused) = (0, 0, None);
        while let Some(result) = results.next().await {
            match result {
                Ok(Either::Left(done)) => {
                    if ended == place {
                        changed = done.rows_affected();
                    }
                    ended += 1;
                }
                Ok(Either::Right(_)) => {}
                Err(error) => refused = Some(Refusal::of(error)?),
            }
        }
        drop(results);
        let outcome = match refused {
            None => Ok(changed),
            Some(refusal) => {
                self.rollback().await?;
                Err(refusal)
            }
        };
        Ok(Probed { sql: sql.to_owned(), outcome })
    }

    /// Runs statements one after the other, up to one that is refused.
    pub(super) async fn play(&mut self, statements: &[String], json: Option<&str>) -> Result<Played> {
        let mut opening = self.opening();
        opening.extend(json.map(laid));
        sqlx::raw_sql(AssertSqlSafe(opening.join("; "))).execute(&mut self.connection).await?;
        let mut played = Played { figures: Vec::new(), refusal: None };
        for statement in statements {
            match figure(&mut self.connection, statement).await {
                Ok(figure) => played.figures.push(figure),
                Err(error) => {
                    played.refusal = Some(Refusal::of(error)?);
                    break;
                }
            }
        }
        if played.refusal.is_none()
            && let Err(error) = self.connection.execute(SETTLE).await
        {
            played.refusal = Some(Refusal::of(error)?);
        }
        self.rollback().await?;
        Ok(played)
    }

    pub(super) async fn rollback(&mut self) -> Result<()> {
        self.connection.execute("rollback").await?;
        Ok(())
    }
}

/// What statements came to: the figure of each, and the refusal of the one after those, or of what was deferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Played {
    pub(super) figures: Vec<i64>,
    pub(super) refusal: Option<Refusal>,
}

/// Runs a statement: the number that it gives, or else how many rows it changed.
pub(super) async fn figure(connection: &mut PgConnection, sql: &str) -> Result<i64, sqlx::Error> {
    let mut results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    let (mut number, mut changed) = (None, 0);
    while let Some(result) = results.next().await {
        match result? {
            Either::Left(done) => changed = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX),
            Either::Right(row) => number = number.or_else(|| row.try_get::<i64, _>(0).ok()),
        }
    }
    Ok(number.unwrap_or(changed))
}

/// Lays a row ready for the statements of a transaction.
fn laid(json: &str) -> String {
    format!("select set_config({}, {}, true)", quote_literal(ROW), quote_literal(json))
}

/// Judges what was deferred.
const SETTLE: &str = "set constraints all immediate";

/// The setting in which a row travels, so that no statement spells out what is in it.
pub(super) const ROW: &str = "pgharness.row";

/// The statements that a transaction in this context begins with.
pub(super) fn opening(context: Option<&(String, String)>) -> Vec<String> {
    let set = |(setting, value): &(String, String)| {
        format!("select set_config({}, {}, true)", quote_literal(setting), quote_literal(value))
    };
    std::iter::once("begin".to_owned()).chain(context.map(set)).collect()
}
