//! The other backends keep the embedded one's contract.

use pgharness::secret::Secret;
use pgharness::server::{ServerConfig, ServerSource};
use pgharness::{Template, TestDb, notice, template};
use sqlx::Executor;
use std::path::Path;

static EMBEDDED: Template = template! {};

/// What every backend owes a test: a database of its own, gone afterwards.
async fn check_contract(template: &Template) {
    let (one, two) = (template.get().await.unwrap(), template.get().await.unwrap());
    one.connection().await.unwrap().execute("create table t as select 1").await.unwrap();
    let error = two.connection().await.unwrap().execute("select * from t").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42P01");
    let name = one.name().to_owned();
    drop(one);
    wait_for_drop(&two, &name).await;
}

async fn wait_for_drop(witness: &TestDb, name: &str) {
    use pgharness::wait::{Look, until_async};
    let mut connection = witness.connection().await.unwrap();
    until_async("the drop", std::time::Duration::from_secs(20), async || {
        let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
        Ok(if there { Look::NotYet("still there".into()) } else { Look::Ready(()) })
    })
    .await
    .unwrap();
}

fn with_source(source: ServerSource) -> Template {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = ServerConfig { source, ..ServerConfig::from_env(here).unwrap() };
    Template::builder(here).with_server(config).build()
}

#[tokio::test]
async fn an_external_server_keeps_the_contract() {
    let lender = EMBEDDED.get().await.unwrap();
    let url = lender.server().url_tcp("postgres").await.unwrap();
    check_contract(&with_source(ServerSource::External { url: Secret::new(url) })).await;
}

#[tokio::test]
async fn a_container_keeps_the_contract() {
    const IMAGE: &str = "pgharness-postgres:15";
    let template = with_source(ServerSource::Container { image: Some(IMAGE.into()) });
    if let Err(error) = template.server().await {
        assert!(!pgharness::env::is_required("container"), "{error:?}");
        notice::skipped("container", &format!("no container of `{IMAGE}` can be started: {error}"));
        return;
    }
    check_contract(&template).await;
}
