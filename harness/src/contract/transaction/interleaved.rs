//! Two users of the code at once, in every order of their statements.

use super::super::report::{Breach, ContractReport};
use super::super::seam::{BoxFuture, Failure, Session, Work};
use super::super::stage::SCHEMA;
use super::trial::work;
use crate::Template;
use crate::error::Result;
use crate::explore::{Access, Coverage, Exploration, Explorer, ensure};
use crate::finding::Severity;
use crate::runtime::Isolation;
use sqlx::{AssertSqlSafe, Connection};
use std::sync::Arc;

/// What came of the orders that were tried.
#[derive(Clone, Debug)]
pub struct Interleaved {
    /// The properties.
    pub report: ContractReport,
    /// What was tried for each of them.
    pub coverage: Vec<Coverage>,
}

/// What a user of the code does in a transaction.
type Deed = fn(&mut dyn Session) -> BoxFuture<'_, Result<(), Failure>>;

/// Two users of the code, and what must hold behind them.
struct Scene {
    isolation: Isolation,
    /// Makes the table anew.
    set_up: String,
    deeds: [Deed; 2],
    /// Whether all is well, as one boolean.
    is_well: String,
    otherwise: &'static str,
}

/// Shows what holds of two transactions of the code under test at once, in every order of their steps with at most two
/// preemptions, on a server of its own that begins with `template`. `run` runs a [`Work`] in one transaction of the code,
/// on the database that its [`Access`] leads to, and leaves nothing open: a pool is closed at its end.
///
/// | Property | What is shown |
/// |---|---|
/// | `transaction.no-lost-update` | two that each add to what they read, at REPEATABLE READ: both succeed, and both have added |
/// | `transaction.no-write-skew` | two that may not both do what each may do alone, at SERIALIZABLE: both succeed, and one has seen the other |
///
/// # Errors
/// As [`Explorer::run`].
pub async fn explore<F>(template: &Template, run: F) -> Result<Interleaved>
where
    F: AsyncFn(Access, Isolation, &Work<'_>) -> Result<(), Failure> + Send + Sync + 'static,
{
    let run = Arc::new(run);
    let mut shown = Interleaved { report: ContractReport::default(), coverage: Vec::new() };
    shown.add(
        "transaction.no-lost-update",
        "say the level in BEGIN, and run the whole closure again on 40001: what it read has changed",
        accounts().explore(template, &run).await?,
    );
    shown.add(
        "transaction.no-write-skew",
        "run at the level that was asked for, and again as a whole on 40001, at COMMIT too",
        doctors().explore(template, &run).await?,
    );
    Ok(shown)
}

/// Two who each add 10 to a balance.
fn accounts() -> Scene {
    let add: Deed = |session| {
        Box::pin(async move {
            let balance = number(session, &format!("select balance from {SCHEMA}.account")).await? + 10;
            session.run(&format!("update {SCHEMA}.account set balance = {balance}")).await.map(drop)
        })
    };
    Scene {
        isolation: Isolation::RepeatableRead,
        set_up: format!("create table {SCHEMA}.account as select 0::bigint as balance"),
        deeds: [add, add],
        is_well: format!("select balance = 20 from {SCHEMA}.account"),
        otherwise: "an update was lost",
    }
}

/// Two who each leave if another stays.
fn doctors() -> Scene {
    async fn leave(session: &mut dyn Session, id: u32) -> Result<(), Failure> {
        if number(session, &format!("select count(*) from {SCHEMA}.doctor where on_call")).await? < 2 {
            return Ok(());
        }
        session.run(&format!("update {SCHEMA}.doctor set on_call = false where id = {id}")).await.map(drop)
    }
    Scene {
        isolation: Isolation::Serializable,
        set_up: format!(
            "create table {SCHEMA}.doctor as select id, true as on_call from (values (1), (2)) as ids (id)"
        ),
        deeds: [|session| Box::pin(leave(session, 1)), |session| Box::pin(leave(session, 2))],
        is_well: format!("select count(*) = 1 from {SCHEMA}.doctor where on_call"),
        otherwise: "both did what only one may do, or one did not what it may do",
    }
}

/// The number that a statement gives.
async fn number(session: &mut dyn Session, sql: &str) -> Result<i64, Failure> {
    let text = session.run(sql).await?.unwrap_or_default();
    text.parse().map_err(|_| Failure::new(format!("`{sql}` gave `{text}` instead of a number")))
}

impl Scene {
    async fn explore<F>(self, template: &Template, run: &Arc<F>) -> Result<Exploration>
    where
        F: AsyncFn(Access, Isolation, &Work<'_>) -> Result<(), Failure> + Send + Sync + 'static,
    {
        let Scene { isolation, set_up, deeds, is_well, otherwise } = self;
        let mut explorer = Explorer::of(template)
            .with_reset(async move |db: Access| {
                let again =
                    format!("drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}; {set_up}");
                let mut connection = db.connection().await?;
                sqlx::raw_sql(AssertSqlSafe(again)).execute(&mut connection).await?;
                Ok(connection.close().await?)
            })
            .with_warm_backends()
            .with_reduction();
        for (name, deed) in ["one", "two"].into_iter().zip(deeds) {
            let run = run.clone();
            explorer = explorer.client(name, async move |db: Access| {
                run(db, isolation, &work(deed)).await?;
                Ok(())
            });
        }
        explorer
            .every_client_succeeds()
            .invariant(async move |db, _| {
                let mut connection = db.connection().await?;
                let is_well =
                    sqlx::query_scalar(AssertSqlSafe(is_well.clone())).fetch_one(&mut connection).await?;
                connection.close().await?;
                ensure(is_well, otherwise)
            })
            .run()
            .await
    }
}

impl Interleaved {
    fn add(&mut self, name: &str, help: &'static str, found: Exploration) {
        let coverage = found.coverage();
        match found.violation() {
            Some(violation) => {
                let message = format!("{} in the order `{}` of steps", violation.message, violation.schedule);
                let evidence = violation.evidence.clone();
                self.report.broken(
                    name,
                    Severity::Error,
                    Breach { message, help, evidence, ..Breach::default() },
                );
            }
            None if coverage.is_complete => self.report.held(name),
            None => self.report.unknown(name, coverage.to_string()),
        }
        self.coverage.push(coverage.clone());
    }
}
