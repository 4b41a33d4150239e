//! Hot queries: what they cost, and how fast they are.

use crate::support::empty_cluster;
use pgharness::finding::Severity;
use pgharness::load::{Arrivals, Load, drive, look};
use pgharness::statement::{Source, parse};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::Path;
use std::time::Duration;

/// A database with two tenants' rows behind a policy, and a role that is subject to it.
struct Tenants {
    options: PgConnectOptions,
    role: String,
    session: PgConnection,
}

impl Tenants {
    async fn new() -> Self {
        let options = empty_cluster().await;
        let role = format!("app_{}", options.get_database().unwrap());
        let mut session = PgConnection::connect_with(&options).await.unwrap();
        session
            .execute(AssertSqlSafe(format!(
                "create table tenant (id uuid primary key default gen_random_uuid());
                 insert into tenant select from generate_series(1, 4);
                 create table item (id int primary key, tenant_id uuid not null, v int not null);
                 insert into item select n, (select array_agg(id order by id) from tenant)[n % 4 + 1], n % 100
                 from generate_series(1, 20000) n;
                 create index item_tenant on item (tenant_id, id);
                 alter table item enable row level security;
                 create policy own on item using (tenant_id = current_setting('app.tenant_id')::uuid);
                 create role {role} login; grant select, insert, update on item to {role}"
            )))
            .await
            .unwrap();
        session.execute("vacuum (freeze, analyze)").await.unwrap();
        Tenants { options, role, session }
    }

    async fn source(&mut self, header: &str, sql: &str) -> Source {
        let text = format!(
            "-- name: q\n-- role: {}\n-- set: app.tenant_id = :tenant\n-- param tenant: from tenant.id\n\
             {header}\n{sql}",
            self.role
        );
        let statement = parse(Path::new("queries/q.sql"), &text).unwrap().remove(0);
        Source::read(&statement, &mut self.session).await.unwrap()
    }

    async fn end(mut self) {
        let role = &self.role;
        self.session.execute(AssertSqlSafe(format!("drop owned by {role}; drop role {role}"))).await.unwrap();
    }
}

const FIRST_PAGE: &str = "select id, v from item order by tenant_id, id limit 50";

#[tokio::test]
async fn a_query_within_its_budget_is_clean_and_its_figures_are_exact() {
    let mut tenants = Tenants::new().await;
    let source = tenants.source("-- budget: blocks 60, rows 50, rows_scanned_per_row 1", FIRST_PAGE).await;
    let (one, two) = (
        look(&source, &tenants.options, 1).await.unwrap(),
        look(&source, &tenants.options, 1).await.unwrap(),
    );
    assert!(one.findings.is_empty(), "{:#?}", one.findings);
    assert_eq!(one.custom, two.custom, "the same data, the same figures");
    assert_eq!(one.custom.len(), 10);
    // The role is subject to the policy: its condition is in the plan, its value is not.
    let shape = one.custom[0].shape.to_string();
    assert!(shape.contains("item_tenant") && shape.contains("current_setting(?"), "{shape}");
    assert!(one.measurements("q").iter().any(|figure| figure.name == "load.q.blocks" && figure.value > 0.0));
    tenants.end().await;
}

#[tokio::test]
async fn a_query_over_its_budget_is_found_with_its_transcript() {
    let mut tenants = Tenants::new().await;
    let source = tenants
        .source(
            "-- param v: int = 7\n-- budget: blocks 20, rows_scanned_per_row 3, temp_blocks 0",
            "select * from item where v = :v",
        )
        .await;
    let seen = look(&source, &tenants.options, 1).await.unwrap();
    let messages: Vec<_> = seen.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(seen.findings.len(), 2, "{messages:?}");
    let finding = &seen.findings[0];
    assert_eq!((finding.check.as_str(), finding.severity), ("load.budget", Severity::Error));
    assert!(finding.message.starts_with("`q` (queries/q.sql:1) takes "), "{}", finding.message);
    let script: String = finding.evidence.iter().map(|step| format!("{}\n", step.sql)).collect();
    for part in
        ["set local role", "set_config('app.tenant_id', :'tenant', true)", "prepare", "explain (analyze"]
    {
        assert!(script.contains(part), "{part} in\n{script}");
    }
    let explained = finding.evidence.iter().find(|step| step.sql.starts_with("explain")).unwrap();
    assert!(explained.result.contains("Scan"), "{}", explained.result);
    tenants.end().await;
}

#[tokio::test]
async fn a_sort_that_spills_is_counted_in_temporary_blocks() {
    let mut tenants = Tenants::new().await;
    let source = tenants
        .source(
            "-- set: work_mem = 64kB\n-- budget: temp_blocks 0",
            "select a.id from item a, generate_series(1, 3) order by a.v, a.id",
        )
        .await;
    let seen = look(&source, &tenants.options, 1).await.unwrap();
    assert_eq!(seen.findings.len(), 1);
    assert!(seen.custom.iter().all(|plan| plan.temp_blocks > 0));
    tenants.end().await;
}

#[tokio::test]
async fn a_closed_loop_sends_each_request_once_as_the_role() {
    let mut tenants = Tenants::new().await;
    let source = tenants.source("", "select count(*) from item").await;
    let figures = drive(&source, &tenants.options, &Load::closed(3, 120)).await.unwrap();
    assert_eq!((figures.response.samples, figures.failures, figures.rows), (120, 0, 120));
    assert!(figures.response.p95_ms.is_some() && figures.response.p99_ms.is_none());
    assert_eq!((figures.response, figures.lag), (figures.service, None));
    let names: Vec<_> = figures.measurements("q").into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["load.q.p50", "load.q.p95", "load.q.throughput", "load.q.failures"]);
    tenants.end().await;
}

#[tokio::test]
async fn what_a_statement_writes_is_rolled_back() {
    let mut tenants = Tenants::new().await;
    let sql = "update item set v = v + 1 where id = (select min(id) from item) returning id";
    let wrapped = tenants.source("", sql).await;
    let figures = drive(&wrapped, &tenants.options, &Load::closed(2, 30)).await.unwrap();
    assert_eq!((figures.rows, figures.failures), (30, 0), "{figures:?}");
    let seen = look(&wrapped, &tenants.options, 1).await.unwrap();
    assert!(seen.custom.iter().all(|plan| plan.rows == 1));

    // Without settings nothing asks for a transaction but the write itself.
    let text = "-- name: bare\ninsert into tenant default values";
    let statement = parse(Path::new("queries/q.sql"), text).unwrap().remove(0);
    let bare = Source::read(&statement, &mut tenants.session).await.unwrap();
    drive(&bare, &tenants.options, &Load::closed(2, 30)).await.unwrap();
    let left: (i64, i64) =
        sqlx::query_as("select (select count(*) from tenant), (select sum(v) from item where id < 5)")
            .fetch_one(&mut tenants.session)
            .await
            .unwrap();
    assert_eq!(left, (4, 1 + 2 + 3 + 4));
    tenants.end().await;
}

/// One connection cannot keep up with the arrivals: a closed loop would not show it.
#[tokio::test]
async fn waiting_counts_from_the_scheduled_start() {
    let mut tenants = Tenants::new().await;
    let source = tenants.source("", "select pg_sleep(0.005)").await;
    let arrivals = Arrivals::Poisson { per_s: 5000.0, patience: Duration::from_secs(60) };
    let load = Load::closed(1, 60).with_arrivals(arrivals);
    let figures = drive(&source, &tenants.options, &load).await.unwrap();
    assert_eq!((figures.response.samples, figures.skipped), (60, 0));
    assert!(figures.response.p50_ms > figures.service.p50_ms, "{figures:?}");
    assert!(figures.lag.unwrap().p50_ms.unwrap() > 0.0, "{figures:?}");

    let arrivals = Arrivals::Poisson { per_s: 5000.0, patience: Duration::ZERO };
    let figures = drive(&source, &tenants.options, &load.with_arrivals(arrivals)).await.unwrap();
    assert!(figures.skipped > 0, "{figures:?}");
    assert_eq!((figures.failures, figures.response.samples), (figures.skipped, 60 - figures.skipped));
    tenants.end().await;
}

#[tokio::test]
async fn a_failing_request_is_counted_and_the_rest_go_on() {
    let mut tenants = Tenants::new().await;
    let source = tenants.source("-- param v: from item.v", "select 1 / (:v::int % 2)").await;
    let mut load = Load::closed(2, 200).with_seed(5);
    load.warm_up = 0;
    let figures = drive(&source, &tenants.options, &load).await.unwrap();
    assert!(figures.failures > 0 && figures.response.samples > 0, "{figures:?}");
    assert_eq!(figures.failures + figures.response.samples, 200);
    assert_eq!(figures.first_failure.as_deref(), Some("22012"));
    tenants.end().await;
}

#[tokio::test]
async fn a_statement_that_cannot_run_is_an_error_that_names_it() {
    let mut tenants = Tenants::new().await;
    let source = tenants.source("", "select * from tenant").await;
    let error = drive(&source, &tenants.options, &Load::closed(1, 5)).await.unwrap_err();
    assert_eq!(error.sqlstate().as_deref(), Some("42501"), "{error:?}");
    assert!(error.to_string().starts_with("queries/q.sql:1: failed to "), "{error}");
    tenants.end().await;
}
