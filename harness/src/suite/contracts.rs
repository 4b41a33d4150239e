//! The contracts of the reference data layer, as checks: `verify` shows that it keeps them on this server.

use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
#[cfg(feature = "explore")]
use crate::contract::Transactions as _;
use crate::contract::{ContractReport, Reference, Verdict as Shown, errors, transaction};
use crate::database::{Isolation, Template};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::finding::{Finding, Measurement, Subject};
use crate::runtime::PoolSettings;
use crate::server::Capability;

/// A contract of the reference data layer.
#[derive(Clone, Copy)]
pub(super) enum Contract {
    /// Of its transactions.
    Transactions,
    /// Of its error map.
    Errors,
}

impl Check for Contract {
    fn id(&self) -> &'static str {
        match self {
            Contract::Transactions => "contract.transaction",
            Contract::Errors => "contract.errors",
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Contract::Transactions => {
                "the reference data layer's transactions keep their contract on this server"
            }
            Contract::Errors => "the reference data layer's error map keeps its contract on this server",
        }
    }

    fn explain(&self) -> Explanation {
        match self {
            Contract::Transactions => TRANSACTIONS,
            Contract::Errors => ERRORS,
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::PrivateCluster)]
    }

    // What breaks a contract is code, not a schema: the tests of the contracts have it.
    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        let contract = *self;
        Box::pin(async move {
            let stage = stage(context)?;
            let (report, schedules) = on_a_thread(move || contract.show(stage)).await?;
            let figure = |value: f64| Measurement {
                name: format!("{}.schedules", contract.id()),
                value,
                unit: "schedules".into(),
            };
            Ok(verdict(contract.id(), report)?.with_measurements(schedules.map(figure)))
        })
    }
}

const TRANSACTIONS: Explanation = Explanation {
    proves: "`pgharness::runtime::with_transaction` commits what it says it commits, leaves nothing after an error, a \
             panic or a future that is dropped half-way, runs at the level it was asked for, and retries what must be \
             retried and nothing else. It is shown on a server of its own. And two of them at once lose no update and \
             do not both what only one may do, in every order of their statements with at most two preemptions: the \
             measurement `contract.transaction.schedules` says how many were run, 0 where this program was built \
             without the feature `explore`. Of your own data layer `pgharness::contract::transaction::verify` and \
             `explore` say the same in a test.",
    matters: "Each property comes from a bug that somebody shipped: a COMMIT of an aborted transaction that reports \
              success, a cancelled request that leaves its locks, a retry within the old snapshot.",
    remedy: "The finding names the property and what to change. A data layer that breaks one can be compared with the \
             reference, which is written to be read.",
};

const ERRORS: Explanation = Explanation {
    proves: "Every error that an ordinary server can be made to raise is raised, and what \
             `pgharness::runtime::DataError` makes of it has the right status, holds no input value and none of the \
             server's own text. Of your own error map `pgharness::contract::errors::verify` says the same in a test.",
    matters: "A unique violation that is answered with the server's words tells a stranger which e-mail addresses have \
              accounts; one that is answered with 500 pages somebody at night.",
    remedy: "The finding names the SQLSTATE and what came out of the map.",
};

impl Contract {
    /// The report, and in how many orders two transactions at once were driven, where that is part of it.
    async fn show(self, stage: Template) -> Result<(ContractReport, Option<f64>)> {
        let db = stage.get_for("pgharness verify").await?;
        let settings = PoolSettings::new(db.options());
        match self {
            Contract::Transactions => {
                let pool = settings.with_max(4).connect().await?;
                let mut report = transaction::verify(&Reference::new(pool), &db.options()).await?;
                let schedules = drive(&stage, &mut report).await?;
                Ok((report, Some(schedules)))
            }
            Contract::Errors => {
                let pool = settings.connect().await?;
                Ok((errors::verify(&Reference::new(pool), &db.options()).await?, None))
            }
        }
    }
}

/// Drives two transactions at once through the orders of their steps; gives how many.
#[cfg(feature = "explore")]
async fn drive(stage: &Template, report: &mut ContractReport) -> Result<f64> {
    let shown = transaction::explore(stage, async |db, isolation, work| {
        let pool = db.pool();
        let outcome = Reference::new(pool.clone()).transaction(isolation, work).await;
        pool.close().await;
        outcome
    })
    .await?;
    report.properties.extend(shown.report.properties);
    report.findings.extend(shown.report.findings);
    Ok(shown.coverage.iter().map(|coverage| coverage.schedules as f64).sum())
}

/// Without the explorer there is none, and the figure says so.
#[cfg(not(feature = "explore"))]
async fn drive(_: &Template, _: &mut ContractReport) -> Result<f64> {
    Ok(0.0)
}

/// A server of its own: contracts create roles, end sessions and hold what others would wait for.
fn stage(context: &Context) -> Result<Template> {
    let server = context.server()?.clone();
    let builder = Template::builder(&context.project().dir).with_server(server);
    Ok(builder.with_isolation(Isolation::Cluster).build())
}

/// Contracts poll futures by hand and let them panic: they get a thread and a runtime of their own.
async fn on_a_thread<T: Send + 'static, F: Future<Output = Result<T>>>(
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .attempt(ErrorKind::Environment, || "failed to make a runtime".into());
        let _ = sender.send(runtime.and_then(|runtime| runtime.block_on(make())));
    };
    std::thread::Builder::new()
        .name("pgharness-contract".into())
        .spawn(work)
        .attempt(ErrorKind::Environment, || "failed to start a thread".into())?;
    receiver.await.map_err(|_| Error::environment("the thread of a contract ended"))?
}

/// What a contract says as a check's verdict: what could not be shown is no pass.
fn verdict(id: &str, report: ContractReport) -> Result<Verdict> {
    let unknown: Vec<String> = report
        .properties
        .iter()
        .filter_map(|property| match &property.verdict {
            Shown::Unknown(reason) => Some(format!("`{}` could not be shown: {reason}", property.name)),
            Shown::Held | Shown::Broken => None,
        })
        .collect();
    if report.findings.is_empty() && !unknown.is_empty() {
        return Err(Error::new(ErrorKind::Database, unknown.join("; ")));
    }
    let findings = report.findings.into_iter().map(|finding| {
        let property = finding.check;
        let subject = Subject::new(finding.subject.kind, property);
        Finding { check: id.to_owned(), subject, ..finding }
    });
    Ok(Verdict::of(findings.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Property;

    #[test]
    fn what_could_not_be_shown_is_no_pass() {
        let property = |verdict| Property { name: "errors.total".into(), verdict };
        let report = |verdict| ContractReport { properties: vec![property(verdict)], findings: vec![] };
        assert_eq!(verdict("contract.errors", report(Shown::Held)).unwrap(), Verdict::of(vec![]));
        let error = verdict("contract.errors", report(Shown::Unknown("no time".into()))).unwrap_err();
        assert_eq!(error.to_string(), "`errors.total` could not be shown: no time");
    }
}
