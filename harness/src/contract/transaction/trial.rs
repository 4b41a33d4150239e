//! One run of the contract: the code under test, the stage, and the log that becomes evidence.

use super::super::report::{Breach, ContractReport};
use super::super::seam::{BoxFuture, Failure, Session, Transactions, Work};
use super::super::stage::{INSIDE, SCHEMA, Stage};
use crate::error::Result;
use crate::finding::{Evidence, Severity};
use crate::runtime::Isolation;
use sqlx::postgres::PgConnectOptions;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long one property may take before the trial goes on without it.
const PROPERTY_DEADLINE: Duration = Duration::from_secs(60);

/// How a property came out; the log holds the evidence.
pub(super) enum Shown {
    Held,
    Broken(String),
    Unknown(String),
}

impl Shown {
    /// Held if `good`; else broken, as `message` says.
    pub(super) fn of(good: bool, message: impl FnOnce() -> String) -> Self {
        if good { Shown::Held } else { Shown::Broken(message()) }
    }
}

/// The transcript of one property, shared with the closures that run inside transactions.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Evidence>>>);

impl Log {
    pub(super) fn note(&self, step: Evidence) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    /// What was noted so far; the log is empty then.
    pub(super) fn take(&self) -> Vec<Evidence> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a statement in the code's transaction and notes it.
    pub(super) async fn run(&self, session: &mut dyn Session, sql: &str) -> Result<Option<String>, Failure> {
        let outcome = session.run(sql).await;
        let result = match &outcome {
            Ok(Some(value)) => value.clone(),
            Ok(None) => "ok".to_owned(),
            Err(failure) => failure.to_string(),
        };
        self.note(Evidence::step(sql, result));
        outcome
    }
}

pub(super) struct Trial<'t> {
    pub(super) code: &'t dyn Transactions,
    pub(super) stage: Stage,
    pub(super) log: Log,
    report: ContractReport,
    leftovers: Vec<Evidence>,
}

impl<'t> Trial<'t> {
    pub(super) async fn set_up(code: &'t dyn Transactions, target: &PgConnectOptions) -> Result<Self> {
        let mut stage = Stage::set_up(target).await?;
        for sql in [
            format!("create table {SCHEMA}.probe (id int primary key)"),
            format!("create table {SCHEMA}.doctor (id int primary key, on_call boolean not null)"),
            format!("create table {SCHEMA}.late (attempt int not null)"),
            format!(
                "create function {SCHEMA}.refuse_first() returns trigger language plpgsql as \
                 $$ begin if new.attempt = 1 then raise 'refused at commit' using errcode = '40001'; end if; \
                 return null; end $$"
            ),
            format!(
                "create constraint trigger refuse_first after insert on {SCHEMA}.late \
                 deferrable initially deferred for each row execute function {SCHEMA}.refuse_first()"
            ),
            format!("grant all on all tables in schema {SCHEMA} to public"),
        ] {
            stage.ask(&sql).await?;
        }
        let report = ContractReport::default();
        Ok(Trial { code, stage, log: Log::default(), report, leftovers: Vec::new() })
    }

    /// The report, once everything is dropped again.
    pub(super) async fn tear_down(mut self) -> Result<ContractReport> {
        const NAME: &str = "transaction.no-leftover";
        if self.leftovers.is_empty() {
            self.report.held(NAME);
        } else {
            self.report.broken(
                NAME,
                Severity::Error,
                Breach {
                    message: format!(
                        "{} of the trials left a session inside a transaction",
                        self.leftovers.len()
                    ),
                    help: "give a connection back to the pool only after its transaction has ended; close it \
                           otherwise",
                    evidence: std::mem::take(&mut self.leftovers),
                    ..Breach::default()
                },
            );
        }
        self.stage.tear_down().await?;
        Ok(self.report)
    }

    /// Shows one property on empty tables, then looks for what it left.
    pub(super) async fn show(
        &mut self,
        name: &str,
        help: &'static str,
        property: impl AsyncFnOnce(&mut Self) -> Result<Shown>,
    ) -> Result<()> {
        self.stage.ask(&format!("truncate {SCHEMA}.probe, {SCHEMA}.doctor, {SCHEMA}.late")).await?;
        let id = format!("transaction.{name}");
        let shown = match tokio::time::timeout(PROPERTY_DEADLINE, property(self)).await {
            Ok(shown) => shown?,
            Err(_) => Shown::Unknown(format!("did not come to an end within {PROPERTY_DEADLINE:?}")),
        };
        let evidence = self.log.take();
        match shown {
            Shown::Held => self.report.held(&id),
            Shown::Unknown(reason) => self.report.unknown(&id, reason),
            Shown::Broken(message) => {
                let breach = Breach { message, help, evidence, ..Breach::default() };
                self.report.broken(&id, Severity::Error, breach);
            }
        }
        self.look_for_leftovers(name).await.map(drop)
    }

    /// Notes and ends sessions that are still inside a transaction; whether there were any.
    pub(super) async fn look_for_leftovers(&mut self, after: &str) -> Result<bool> {
        let Some(left) = self.stage.leftovers().await? else { return Ok(false) };
        self.leftovers.push(Evidence::as_role(
            &self.stage.role,
            format!("select pid, state {INSIDE} -- after {after}"),
            left,
        ));
        // The next property starts from a clean state, and its TRUNCATE must not wait for a lock.
        self.stage.ask(&format!("select count(pg_terminate_backend(pid, 1000)) {INSIDE}")).await?;
        Ok(true)
    }

    /// Runs a transaction of the code under test, and notes how it ended.
    pub(super) async fn run(&self, isolation: Isolation, work: &Work<'_>) -> Result<(), Failure> {
        let outcome = self.code.transaction(isolation, work).await;
        self.note_end(isolation, &outcome);
        outcome
    }

    pub(super) fn note_end(&self, isolation: Isolation, outcome: &Result<(), Failure>) {
        let result = match outcome {
            Ok(()) => "returned Ok".to_owned(),
            Err(failure) => format!("returned an error, {failure}"),
        };
        self.log.note(Evidence::step(format!("transaction({isolation:?})"), result));
    }

    /// A number that a fresh session sees.
    pub(super) async fn count(&self, what: &str) -> Result<i64> {
        let sql = format!("select count(*) from {SCHEMA}.{what}");
        let seen = self.stage.ask_freshly(&sql).await?.unwrap_or_default();
        self.log.note(Evidence::as_role(&self.stage.role, sql, seen.clone()));
        Ok(seen.parse().unwrap_or(-1))
    }
}

/// Lets the compiler know the type of a closure that is to be a [`Work`].
pub(super) fn work<F>(closure: F) -> F
where
    F: for<'s> Fn(&'s mut dyn Session) -> BoxFuture<'s, Result<(), Failure>> + Send + Sync,
{
    closure
}

/// Work that runs these statements in order, up to the first that fails.
pub(super) fn statements<T: Into<Vec<String>>>(
    log: &Log,
    sql: T,
) -> impl for<'s> Fn(&'s mut dyn Session) -> BoxFuture<'s, Result<(), Failure>> + Send + Sync + use<T> {
    let (log, sql) = (log.clone(), Arc::new(sql.into()));
    work(move |session| {
        let (log, sql) = (log.clone(), sql.clone());
        Box::pin(async move {
            for sql in sql.iter() {
                log.run(session, sql).await?;
            }
            Ok(())
        })
    })
}
