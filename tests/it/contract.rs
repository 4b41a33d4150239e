//! The contracts hold for the reference layer, and each broken layer is found.

use crate::support::empty_cluster;
use futures_util::FutureExt;
use pgharness::contract::{
    Answer, BoxFuture, ErrorMap, Failure, Reference, Transactions, Verdict, Work, errors, transaction,
};
use pgharness::runtime::{DataError, Isolation, PoolSettings, TransactionOptions, with_transaction};
use pgharness::template;
use rstest::rstest;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use std::panic::AssertUnwindSafe;

#[tokio::test]
async fn the_reference_layer_keeps_the_contract_of_transactions() {
    let target = empty_cluster().await;
    let pool = PoolSettings::new(target.clone()).with_max(4).connect().await.unwrap();
    let report = transaction::verify(&Reference::new(pool), &target).await.unwrap();
    report.assert_clean();
    assert_eq!(report.properties.len(), 15);
    assert_eq!(schemas(&target).await, 0, "the contract's schema is still there");
}

#[tokio::test]
async fn the_reference_layer_keeps_the_contract_of_errors() {
    let target = empty_cluster().await;
    let pool = PoolSettings::new(target.clone()).connect().await.unwrap();
    let report = errors::verify(&Reference::new(pool), &target).await.unwrap();
    report.assert_clean();
    let provoked: std::collections::BTreeSet<_> =
        report.properties.iter().filter_map(|one| one.name.strip_prefix("errors.provoked.")).collect();
    assert!(provoked.len() >= 90, "{}", provoked.len());
    let left: i64 =
        scalar(&target, "select count(*) from pg_roles where rolname like 'pgharness\\_contract%'").await;
    assert_eq!((schemas(&target).await, left), (0, 0));
}

async fn schemas(target: &PgConnectOptions) -> i64 {
    scalar(target, "select count(*) from pg_namespace where nspname = 'pgharness_contract'").await
}

async fn scalar(target: &PgConnectOptions, sql: &'static str) -> i64 {
    let mut session = PgConnection::connect_with(target).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut session).await.unwrap()
}

/// A data layer with one mistake; all else is right.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    /// The driver's own begin and commit, and nothing else.
    Plain,
    CommitsOnError,
    TurnsPanicIntoCommit,
    NeverCommits,
    NoRetry,
    RetriesInSavepoint,
    RetriesForever,
    RetriesAnything,
    IgnoresIsolation,
    SetsTheSession,
    LeavesOpenOnError,
    /// Retries statements, not COMMIT.
    NoRetryAtCommit,
}

struct Broken {
    pool: PgPool,
    mistake: Mistake,
}

impl Broken {
    async fn run(&self, isolation: Isolation, work: &Work<'_>) -> Result<(), Failure> {
        let options = TransactionOptions { isolation, ..TransactionOptions::default() };
        let pool = &self.pool;
        match self.mistake {
            Mistake::Plain => {
                let mut tx = pool.begin().await?;
                work(&mut *tx).await?;
                Ok(tx.commit().await?)
            }
            Mistake::CommitsOnError => {
                let mut tx =
                    pool.begin_with(AssertSqlSafe(format!("begin isolation level {isolation}"))).await?;
                let outcome = work(&mut *tx).await;
                tx.commit().await?;
                outcome
            }
            Mistake::TurnsPanicIntoCommit => {
                with_transaction(pool, options, async |mut tx| {
                    AssertUnwindSafe(work(&mut *tx)).catch_unwind().await.unwrap_or(Ok(()))
                })
                .await
            }
            Mistake::NeverCommits => {
                let mut tx =
                    pool.begin_with(AssertSqlSafe(format!("begin isolation level {isolation}"))).await?;
                work(&mut *tx).await?;
                Ok(tx.rollback().await?)
            }
            Mistake::NoRetry => {
                with_transaction(pool, TransactionOptions { retries: 0, ..options }, async |mut tx| {
                    work(&mut *tx).await
                })
                .await
            }
            Mistake::RetriesInSavepoint => {
                with_transaction(pool, options, async |mut tx| {
                    for _ in 0..3 {
                        let mut savepoint = tx.begin().await?;
                        match work(&mut *savepoint).await {
                            Err(failure) if failure.sqlstate.as_deref() == Some("40001") => {
                                savepoint.rollback().await?;
                            }
                            outcome => {
                                savepoint.commit().await?;
                                return outcome;
                            }
                        }
                    }
                    Err(Failure::new("three times"))
                })
                .await
            }
            Mistake::RetriesForever => {
                let options = TransactionOptions { retries: 0, ..options };
                loop {
                    let outcome = with_transaction(pool, options, async |mut tx| work(&mut *tx).await).await;
                    match &outcome {
                        Err(failure)
                            if failure.sqlstate.as_deref().is_some_and(|code| code.starts_with("40")) => {}
                        _ => return outcome,
                    }
                }
            }
            Mistake::RetriesAnything => {
                let mut outcome = Ok(());
                for _ in 0..3 {
                    outcome = with_transaction(pool, options, async |mut tx| work(&mut *tx).await).await;
                    if outcome.is_ok() {
                        break;
                    }
                }
                outcome
            }
            Mistake::IgnoresIsolation => {
                with_transaction(pool, TransactionOptions::default(), async |mut tx| work(&mut *tx).await)
                    .await
            }
            Mistake::SetsTheSession => {
                let mut session = pool.acquire().await?;
                if isolation != Isolation::ReadCommitted {
                    session
                        .execute(AssertSqlSafe(format!(
                            "set session characteristics as transaction isolation level {isolation}"
                        )))
                        .await?;
                }
                let mut tx = session.begin().await?;
                work(&mut *tx).await?;
                Ok(tx.commit().await?)
            }
            Mistake::LeavesOpenOnError => {
                let mut session = pool.acquire().await?;
                session.execute(AssertSqlSafe(format!("begin isolation level {isolation}"))).await?;
                work(&mut *session).await?;
                session.execute("commit").await?;
                Ok(())
            }
            Mistake::NoRetryAtCommit => {
                let mut attempt = 0;
                loop {
                    let mut tx =
                        pool.begin_with(AssertSqlSafe(format!("begin isolation level {isolation}"))).await?;
                    match work(&mut *tx).await {
                        Ok(()) => return Ok(tx.commit().await?),
                        Err(failure)
                            if failure.sqlstate.as_deref().is_some_and(|code| code.starts_with("40"))
                                && attempt < 5 =>
                        {
                            attempt += 1;
                        }
                        Err(failure) => return Err(failure),
                    }
                }
            }
        }
    }
}

impl Transactions for Broken {
    fn transaction<'a>(
        &'a self,
        isolation: Isolation,
        work: &'a Work<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.run(isolation, work))
    }
}

#[rstest]
#[case(Mistake::Plain, &["aborted-commit-fails", "cancel-rolls-back", "isolation-reaches-server", "write-skew-retried", "deadlock-retried"])]
#[case(Mistake::CommitsOnError, &["caller-error-rolls-back"])]
#[case(Mistake::TurnsPanicIntoCommit, &["panic-rolls-back"])]
#[case(Mistake::NeverCommits, &["commit-visible"])]
#[case(Mistake::NoRetry, &["write-skew-retried", "commit-failure-retried", "deadlock-retried"])]
#[case(Mistake::RetriesInSavepoint, &["retry-is-new"])]
#[case(Mistake::RetriesForever, &["retry-bounded"])]
#[case(Mistake::RetriesAnything, &["other-errors-not-retried"])]
#[case(Mistake::IgnoresIsolation, &["isolation-reaches-server", "write-skew-retried"])]
#[case(Mistake::SetsTheSession, &["isolation-does-not-persist"])]
#[case(Mistake::LeavesOpenOnError, &["no-leftover", "aborted-commit-fails"])]
#[case(Mistake::NoRetryAtCommit, &["commit-failure-retried"])]
#[tokio::test]
async fn a_broken_data_layer_is_found(#[case] mistake: Mistake, #[case] expected: &[&str]) {
    let target = empty_cluster().await;
    let pool = PgPoolOptions::new().max_connections(4).connect_with(target.clone()).await.unwrap();
    let report = transaction::verify(&Broken { pool, mistake }, &target).await.unwrap();
    for property in expected {
        let name = format!("transaction.{property}");
        assert_eq!(report.verdict(&name), Some(&Verdict::Broken), "{name} of {mistake:?}\n{report}");
        let finding = report.findings.iter().find(|finding| finding.check == name).unwrap();
        assert!(!finding.evidence.is_empty(), "{name} has no evidence");
    }
    if mistake != Mistake::NeverCommits {
        assert_eq!(report.verdict("transaction.commit-visible"), Some(&Verdict::Held), "{report}");
    }
    assert!(std::panic::catch_unwind(|| report.assert_clean()).is_err());
}

#[tokio::test]
async fn a_pool_of_one_cannot_show_a_conflict_and_says_so() {
    let target = empty_cluster().await;
    let settings = PoolSettings::new(target.clone()).with_max(1);
    let pool = settings.with_acquire_timeout(std::time::Duration::from_secs(60)).connect().await.unwrap();
    let report = transaction::verify(&Reference::new(pool), &target).await.unwrap();
    let verdict = report.verdict("transaction.write-skew-retried");
    assert!(matches!(verdict, Some(Verdict::Unknown(_))), "{report}");
}

#[tokio::test]
async fn somebody_elses_schema_is_not_touched() {
    let target = empty_cluster().await;
    let mut session = PgConnection::connect_with(&target).await.unwrap();
    session.execute("create schema pgharness_contract").await.unwrap();
    let pool = PoolSettings::new(target.clone()).connect().await.unwrap();
    let error = transaction::verify(&Reference::new(pool), &target).await.unwrap_err();
    assert!(error.to_string().contains("is not ours"), "{error:?}");
    assert_eq!(schemas(&target).await, 1);
}

/// An error map with one mistake.
#[derive(Clone, Copy, Debug)]
enum Leak {
    MessageToClient,
    DetailToClient,
    DebugToLog,
    TrustsRaisedNames,
    AlwaysInternal,
    AlwaysOk,
    PanicsOnUnknown,
}

struct BrokenMap(Leak);

impl ErrorMap for BrokenMap {
    fn map(&self, error: sqlx::Error) -> Answer {
        use sqlx::postgres::PgDatabaseError;
        let safe = DataError::from(&error);
        let mut answer = Answer { status: safe.status(), body: safe.to_string(), log: format!("{safe:?}") };
        let server =
            error.as_database_error().and_then(|answer| answer.try_downcast_ref::<PgDatabaseError>());
        match self.0 {
            Leak::MessageToClient => answer.body = error.to_string(),
            Leak::DetailToClient => {
                answer.body = server.and_then(|one| one.detail()).unwrap_or_default().into();
            }
            Leak::DebugToLog => answer.log = format!("{error:?}"),
            Leak::TrustsRaisedNames => {
                answer.body = server.and_then(|one| one.constraint()).unwrap_or_default().into();
            }
            Leak::AlwaysInternal => answer.status = 500,
            Leak::AlwaysOk => answer.status = 200,
            Leak::PanicsOnUnknown => {
                if safe.code.as_deref() == Some("ZZ999") {
                    std::panic::resume_unwind(Box::new("unknown code"));
                }
            }
        }
        answer
    }
}

#[rstest]
#[case(Leak::MessageToClient, "errors.no-value", "errors 22P02")]
#[case(Leak::MessageToClient, "errors.no-server-text", "errors 42P01")]
#[case(Leak::DetailToClient, "errors.no-value", "errors 23505")]
#[case(Leak::DebugToLog, "errors.no-value", "errors 23502")]
#[case(Leak::TrustsRaisedNames, "errors.no-value", "errors 23505")]
#[case(Leak::AlwaysInternal, "errors.status", "errors 40001")]
#[case(Leak::AlwaysOk, "errors.status", "errors 23505")]
#[case(Leak::PanicsOnUnknown, "errors.total", "errors ZZ999")]
#[tokio::test]
async fn a_broken_error_map_is_found(#[case] leak: Leak, #[case] property: &str, #[case] subject: &str) {
    let target = empty_cluster().await;
    let report = errors::verify(&BrokenMap(leak), &target).await.unwrap();
    assert_eq!(report.verdict(property), Some(&Verdict::Broken), "{leak:?}\n{report}");
    let found = report.findings.iter().any(|one| one.check == property && one.subject.name == subject);
    assert!(found, "{leak:?}\n{report}");
}

/// What two transactions at once come to in every order of their steps: each property's verdict, and its message.
async fn interleaved(mistake: Option<Mistake>) -> Vec<(Verdict, String)> {
    let shown = transaction::explore(&template! {}, async move |db, isolation, work| {
        let pool = db.pool();
        let outcome = match mistake {
            None => Reference::new(pool.clone()).transaction(isolation, work).await,
            Some(mistake) => Broken { pool: pool.clone(), mistake }.run(isolation, work).await,
        };
        pool.close().await;
        outcome
    })
    .await
    .unwrap();
    assert_eq!(shown.coverage.len(), 2);
    let message = |name: &str| {
        let finding = shown.report.findings.iter().find(|finding| finding.check == name);
        finding.map(|finding| finding.message.clone()).unwrap_or_default()
    };
    shown
        .report
        .properties
        .iter()
        .map(|property| (property.verdict.clone(), message(&property.name)))
        .collect()
}

#[tokio::test]
async fn two_transactions_at_once_lose_nothing() {
    for (verdict, _) in interleaved(None).await {
        assert_eq!(verdict, Verdict::Held);
    }
}

#[rstest]
#[case(Mistake::IgnoresIsolation, "an update was lost", "both did what only one may do")]
#[case(Mistake::NoRetry, "failed: 40001", "failed: 40001")]
#[tokio::test]
async fn two_transactions_at_once_show_what_is_wrong(
    #[case] mistake: Mistake,
    #[case] lost: &str,
    #[case] skew: &str,
) {
    let shown = interleaved(Some(mistake)).await;
    for ((verdict, message), expected) in shown.iter().zip([lost, skew]) {
        assert_eq!(*verdict, Verdict::Broken);
        assert!(message.contains(expected), "{message}");
    }
}
