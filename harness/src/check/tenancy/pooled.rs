//! Clients that share a session, as behind a transaction pooler.

use super::attack::Attack;
use super::probe::{Refusal, figure};
use super::tables::Relation;
use crate::error::Result;
use crate::ident::quote_ident;
use crate::server::PgBouncer;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row};

/// What the next client sees of each relation; `None` where it is refused.
pub(super) type Views = Vec<Option<i64>>;

/// A role's way to the server, on which the session that one client leaves is the next one's.
pub(super) struct Pooled {
    options: PgConnectOptions,
    /// A real pooler, with one session for all; else the harness hands on one session as it is.
    bouncer: Option<PgBouncer>,
    /// What every transaction begins with: where another logs in for the role, it is the role for a transaction only.
    opening: Vec<String>,
}

impl Pooled {
    /// By one session that is handed on.
    pub(super) fn by_session(attack: &Attack, role: &str) -> Pooled {
        let mut opening = vec!["begin".to_owned()];
        if attack.login_of(role) != role {
            opening.push(format!("set local role {}", quote_ident(role)));
        }
        Pooled { options: attack.options_of(role), bouncer: None, opening }
    }

    /// Through PgBouncer in transaction mode, where it is installed.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn by_pgbouncer(attack: &Attack, role: &str) -> Result<Option<Pooled>> {
        if !PgBouncer::is_installed() {
            return Ok(None);
        }
        let direct = Pooled::by_session(attack, role);
        let bouncer = PgBouncer::start(&direct.options, 1).await?;
        let options = bouncer.options(&direct.options);
        Ok(Some(Pooled { options, bouncer: Some(bouncer), ..direct }))
    }

    /// Whether it is a real pooler.
    pub(super) fn is_pgbouncer(&self) -> bool {
        self.bouncer.is_some()
    }

    /// What a client sees that says nothing of itself, after another has run `statements` and gone; and whether the server
    /// took all of them.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn after(
        &self,
        statements: &[String],
        relations: &[&Relation],
    ) -> Result<Option<Views>> {
        let mut first = self.options.connect().await?;
        let is_taken = self.run(&mut first, statements).await?;
        let views = if self.is_pgbouncer() {
            let mut second = self.options.connect().await?;
            let views = self.views(&mut second, relations).await?;
            // The session stays with the pooler: the next attempt begins with a clean one.
            second.execute("discard all").await?;
            views
        } else {
            self.views(&mut first, relations).await?
        };
        Ok(is_taken.then_some(views))
    }

    /// Runs a client's statements; whether the server took all of them.
    async fn run(&self, connection: &mut PgConnection, statements: &[String]) -> Result<bool> {
        for statement in statements {
            let message = if statement == "begin" { self.opening.join("; ") } else { statement.clone() };
            if let Err(error) = figure(connection, &message).await {
                Refusal::of(error)?;
                connection.execute("rollback").await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many rows of each relation are seen.
    async fn views(&self, connection: &mut PgConnection, relations: &[&Relation]) -> Result<Views> {
        let counts: Vec<String> = relations.iter().map(|relation| format!("({})", count(relation))).collect();
        let all = format!("select array[{}]::bigint[]", counts.join(", "));
        if let Some(views) = self.look(connection, &all).await? {
            return Ok(views);
        }
        // One that is refused stops all of them.
        let mut views = Views::new();
        for relation in relations {
            let one = format!("select array[({})]::bigint[]", count(relation));
            views.push(self.look(connection, &one).await?.and_then(|views| views.first().copied().flatten()));
        }
        Ok(views)
    }

    /// The figures that a query gives; `None` where it is refused.
    async fn look(&self, connection: &mut PgConnection, sql: &str) -> Result<Option<Views>> {
        let message = format!("{}; {sql}; rollback", self.opening.join("; "));
        match sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(&mut *connection).await {
            Ok(rows) => match rows.last() {
                Some(row) => Ok(Some(row.try_get(0)?)),
                None => Ok(None),
            },
            Err(error) => {
                Refusal::of(error)?;
                connection.execute("rollback").await?;
                Ok(None)
            }
        }
    }
}

/// The statement that counts what is seen of `relation`: not the rows of the tenant '', which is nobody.
pub(super) fn count(relation: &Relation) -> String {
    let all = format!("select count(*) from {}", relation.name.sql());
    if relation.is_text() { format!("{all} where {} is distinct from ''", relation.column) } else { all }
}

/// The relations of which more is seen than before, with how much.
pub(super) fn more<'a>(
    relations: &[&'a Relation],
    before: &Views,
    after: &Views,
) -> Vec<(&'a Relation, i64)> {
    let pairs = before.iter().zip(after);
    let compared = relations.iter().zip(pairs).filter_map(|(relation, (before, after))| {
        let after = after.unwrap_or_default();
        (after > before.unwrap_or_default()).then_some((*relation, after))
    });
    compared.collect()
}
