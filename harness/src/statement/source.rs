//! A statement with the values that its parameters may take.

use super::model::{Origin, Parameter, SettingValue, Statement};
use super::random::Random;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::finding::Evidence;
use crate::ident::{quote_ident, quote_literal};
use sqlx::{AssertSqlSafe, PgConnection};

/// More values than a run is likely to draw, and few enough to keep.
const VALUES_MAX: usize = 1000;

/// A statement and the values that its parameters may take, read from a database.
#[derive(Clone)]
pub struct Source {
    statement: Statement,
    pools: Vec<Pool>,
}

/// One parameter's values, as text; `None` is null.
#[derive(Clone)]
struct Pool {
    name: String,
    values: Vec<Option<String>>,
    /// Gives the values again, in the same order.
    query: String,
}

/// One choice of values: for each parameter, which of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw(Vec<usize>);

impl Source {
    /// Reads the values through a connection that may see all of them.
    ///
    /// From a column: up to 1000 different values, chosen by their hash, so that the choice is the same for the
    /// same data and no neighbourhood is preferred. An expression is evaluated once, so that all draws agree.
    ///
    /// # Errors
    /// A column cannot be read or holds no value, or an expression fails.
    pub async fn read(statement: &Statement, connection: &mut PgConnection) -> Result<Self> {
        let mut pools = Vec::new();
        for parameter in &statement.parameters {
            let query = values_query(parameter);
            let values: Vec<Option<String>> = sqlx::query_scalar(AssertSqlSafe(query.clone()))
                .fetch_all(&mut *connection)
                .await
                .attempt(ErrorKind::Database, || {
                    format!(
                        "{}:{}: failed to read values for the parameter `{}`",
                        statement.file.display(),
                        statement.line,
                        parameter.name
                    )
                })?;
            if let (true, Origin::Column { table, column }) = (values.is_empty(), &parameter.origin) {
                return Err(Error::usage(format!(
                    "{}:{}: `{table}.{column}` holds no value for the parameter `{}`",
                    statement.file.display(),
                    statement.line,
                    parameter.name
                ))
                .with_help("load fixtures that fill the table first"));
            }
            pools.push(Pool { name: parameter.name.clone(), values, query });
        }
        Ok(Source { statement: statement.clone(), pools })
    }

    /// The statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Chooses a value for each parameter.
    pub fn draw(&self, random: &mut Random) -> Draw {
        Draw(self.pools.iter().map(|pool| random.below(pool.values.len())).collect())
    }

    /// `PREPARE`, once for each session.
    pub fn prepare_sql(&self) -> String {
        // Only an expression says its type; the server infers the others.
        let types: Vec<&str> = self
            .statement
            .bound
            .iter()
            .map(|name| match self.statement.parameters.iter().find(|known| known.name == *name) {
                Some(Parameter { origin: Origin::Expression { type_name, .. }, .. }) => type_name.as_str(),
                _ => "unknown",
            })
            .collect();
        let types = if types.is_empty() { String::new() } else { format!(" ({})", types.join(", ")) };
        format!("prepare {}{types} as {}", quote_ident(&self.statement.name), self.statement.sql)
    }

    /// `EXECUTE` with these values.
    pub fn execute_sql(&self, draw: &Draw) -> String {
        self.execute(|name| match self.value(draw, name) {
            Some(value) => quote_literal(value),
            None => "null".into(),
        })
    }

    /// The statement that sets what the header sets, until the end of the transaction.
    pub fn settings_sql(&self, draw: &Draw) -> Option<String> {
        self.settings(|name| quote_literal(self.value(draw, name).unwrap_or_default()))
    }

    /// The steps up to and with the statement, for psql: `before` what is run (`explain (analyze)`), values by
    /// psql variables that are read from the data anew, so that no value is in the transcript.
    pub fn transcript(&self, superuser: &str, draw: &Draw, before: &str, result: &str) -> Vec<Evidence> {
        let role = self.statement.role.as_deref().unwrap_or(superuser);
        let mut steps = Vec::new();
        for (pool, pick) in self.pools.iter().zip(&draw.0) {
            let name = quote_ident(&pool.name);
            let sql = format!("select v as {name} from ({}) s offset {pick} limit 1 \\gset", pool.query);
            steps.push(Evidence::as_role(superuser, sql, "a value of the data"));
        }
        let begin = match &self.statement.role {
            Some(role) => format!("begin; set local role {};", quote_ident(role)),
            None => "begin;".to_owned(),
        };
        steps.push(Evidence::as_role(superuser, begin, "ok"));
        let variable = |name: &str| format!(":'{name}'");
        if let Some(settings) = self.settings(variable) {
            steps.push(Evidence::as_role(role, format!("{settings};"), "ok"));
        }
        // On a line of its own: the statement may end in a comment.
        steps.push(Evidence::as_role(role, format!("{}\n;", self.prepare_sql()), "ok"));
        steps.push(Evidence::as_role(role, format!("{before}{};", self.execute(variable)), result));
        steps.push(Evidence::as_role(role, "rollback;", "ok"));
        steps
    }

    fn execute(&self, value: impl Fn(&str) -> String) -> String {
        let values: Vec<String> = self.statement.bound.iter().map(|name| value(name)).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        format!("execute {}{values}", quote_ident(&self.statement.name))
    }

    fn settings(&self, value: impl Fn(&str) -> String) -> Option<String> {
        let calls: Vec<String> = self
            .statement
            .settings
            .iter()
            .map(|setting| {
                let value = match &setting.value {
                    SettingValue::Parameter(name) => value(name),
                    SettingValue::Literal(text) => quote_literal(text),
                };
                format!("set_config({}, {value}, true)", quote_literal(&setting.name))
            })
            .collect();
        (!calls.is_empty()).then(|| format!("select {}", calls.join(", ")))
    }

    fn value(&self, draw: &Draw, name: &str) -> Option<&str> {
        let index = self.pools.iter().position(|pool| pool.name == name)?;
        self.pools[index].values.get(*draw.0.get(index)?)?.as_deref()
    }
}

fn values_query(parameter: &Parameter) -> String {
    match &parameter.origin {
        Origin::Column { table, column } => {
            let column = quote_ident(column);
            format!(
                "select v from (select distinct {column}::text collate \"C\" as v from {} where {column} is not \
                 null) d order by md5(v), v limit {VALUES_MAX}",
                table.sql()
            )
        }
        Origin::Expression { type_name, sql } => format!("select ({sql})::{type_name}::text as v"),
    }
}

/// Without the values: they are rows of somebody's table.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<(&str, usize)> =
            self.pools.iter().map(|pool| (pool.name.as_str(), pool.values.len())).collect();
        f.debug_struct("Source").field("statement", &self.statement.name).field("values", &counts).finish()
    }
}
