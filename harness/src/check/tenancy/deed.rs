//! What a call did to rows of other tenants, seen by who sees all before it is undone.

use super::attack::Attack;
use super::probe::{ROW, Refusal, opening};
use super::trial;
use super::wording::rows;
use crate::error::Result;
use crate::finding::Evidence;
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// What a call did to the rows of other tenants in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) table: QualifiedName,
    /// The condition on rows of the other tenant: a new one's may be meant to come, where people sign up.
    others: String,
    /// How many there were, how many are left, and how many of those the call wrote.
    known: i64,
    left: i64,
    written: i64,
}

/// The rows that the transaction wrote. Those of its parts have later numbers.
const WRITTEN: &str = "xmin::text::bigint >= pg_current_xact_id()::text::bigint % 4294967296";

/// The tables that the transaction changed rows of.
const TOUCHED: &str = "
    select n.nspname::text, c.relname::text
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.oid >= 16384
        and pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)
            + pg_stat_get_xact_tuples_deleted(c.oid) > 0
    order by 1, 2";

impl Deed {
    /// What was done, as the middle of a sentence.
    pub(super) fn told(&self) -> String {
        match self.written {
            0 => format!("takes rows of other tenants out of `{}`", self.table),
            _ => format!("writes rows of other tenants in `{}`", self.table),
        }
    }

    /// What who looks after the server sees before the call.
    pub(super) fn before(&self, admin: &str) -> Option<Evidence> {
        (self.written == 0).then(|| Evidence::as_role(admin, self.count(), of_others(self.known)))
    }

    /// What that sees behind the call, within its transaction.
    pub(super) fn after(&self, admin: &str) -> Evidence {
        match self.written {
            0 => Evidence::as_role(admin, self.count(), of_others(self.left)),
            written => {
                Evidence::as_role(admin, format!("{} and {WRITTEN}", self.count()), of_others(written))
            }
        }
    }

    fn count(&self) -> String {
        format!("select count(*) from only {} where {}", self.table.sql(), self.others)
    }
}

fn of_others(count: i64) -> String {
    format!("{} of other tenants", rows(count))
}

/// A session of who looks after the server, which can become any role and come back within a transaction.
pub(super) struct Witness {
    session: PgConnection,
}

impl Witness {
    /// # Errors
    /// There is no server.
    pub(super) async fn of(attack: &Attack) -> Result<Witness> {
        Ok(Witness { session: attack.db.connection().await? })
    }

    /// Calls as `role` with the first tenant in the session, and undoes it; what it did to rows of others, or why the
    /// server refused.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn call(
        &mut self,
        attack: &Attack,
        role: &str,
        row: Option<&str>,
        sql: &str,
    ) -> Result<Result<Vec<Deed>, Refusal>> {
        let called = self.try_call(attack, role, row, sql).await?;
        let deeds = match called {
            Ok(()) => Ok(self.deeds(attack).await?),
            Err(refusal) => Err(refusal),
        };
        self.session.execute("rollback").await?;
        Ok(deeds)
    }

    async fn try_call(
        &mut self,
        attack: &Attack,
        role: &str,
        row: Option<&str>,
        sql: &str,
    ) -> Result<Result<(), Refusal>> {
        let mut before = opening(Some(&attack.context_of(&attack.tenants.own)));
        before.push(trial::LIMITS.to_owned());
        if let Some(row) = row {
            before.push(format!("select set_config({}, {}, true)", quote_literal(ROW), quote_literal(row)));
        }
        before.push(format!("set session authorization {}", quote_ident(attack.login_of(role))));
        before.push(format!("set role {}", quote_ident(role)));
        sqlx::raw_sql(AssertSqlSafe(before.join("; "))).execute(&mut self.session).await?;
        if let Err(error) = trial::run(&mut self.session, sql).await {
            return Ok(Err(Refusal::of(error)?));
        }
        self.session.execute("reset session authorization").await?;
        Ok(Ok(()))
    }

    async fn deeds(&mut self, attack: &Attack) -> Result<Vec<Deed>> {
        let touched: Vec<(String, String)> = sqlx::query_as(TOUCHED).fetch_all(&mut self.session).await?;
        let mut before = None;
        let mut deeds = Vec::new();
        for (schema, name) in touched {
            let name = QualifiedName::new(schema, name);
            let all = attack.relations.iter().chain(&attack.tables_of_tenants);
            let Some(relation) = all.into_iter().find(|relation| relation.name == name) else { continue };
            let others = format!("{} = {}", relation.column, quote_literal(&attack.tenants.other));
            let mut deed = Deed { table: relation.name.clone(), others, known: 0, left: 0, written: 0 };
            let before = match &mut before {
                Some(session) => session,
                none => none.insert(attack.db.connection().await?),
            };
            deed.known = count(before, &deed.count()).await?;
            deed.left = count(&mut self.session, &deed.count()).await?;
            deed.written = count(&mut self.session, &format!("{} and {WRITTEN}", deed.count())).await?;
            if deed.written > 0 || deed.left < deed.known {
                deeds.push(deed);
            }
        }
        Ok(deeds)
    }
}

async fn count(session: &mut PgConnection, sql: &str) -> Result<i64> {
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(session).await?)
}
