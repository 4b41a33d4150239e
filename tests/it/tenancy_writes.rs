//! Tenants attacked by writing, by keys and behind poolers, and the reference schema.

use crate::checks::projects;
use crate::tenancy::{broken_reference, reference};
use pgharness::check::{Context, Registry, Verdict};
use pgharness::finding::{Class, Finding};
use pgharness::server::PgBouncer;
use pgharness::suite::Config;
use std::fs;
use std::path::Path;

const CHECKS: [&str; 12] = [
    "tenancy.conflict-oracle",
    "tenancy.cross-delete",
    "tenancy.cross-update",
    "tenancy.fk-cascade",
    "tenancy.fk-reference",
    "tenancy.key-oracle",
    "tenancy.merge",
    "tenancy.pooled-context",
    "tenancy.pooled-role",
    "tenancy.returning",
    "tenancy.stale-plan",
    "tenancy.truncate",
];

async fn findings(context: &Context, id: &str) -> Vec<Finding> {
    match Registry::standard().find(id).unwrap().run(context).await.unwrap() {
        Verdict::Ran { findings, .. } => findings,
        Verdict::Skipped(reason) => panic!("{id} was skipped: {reason}"),
    }
}

fn brief(findings: &[Finding]) -> Vec<String> {
    let mut brief: Vec<String> =
        findings.iter().map(|finding| format!("{} {}", finding.severity, finding.subject)).collect();
    brief.sort();
    brief
}

/// A project with one migration, configured as the examples of `tenancy.cross-update` are.
fn project_of(root: &Path, sql: &str) -> Context {
    let dir = root.join("project");
    fs::create_dir_all(dir.join("migrations")).unwrap();
    fs::write(dir.join("migrations/0001_example.sql"), sql).unwrap();
    let toml = include_str!("../../fixtures/checks/tenancy.cross-update/pgharness.toml");
    fs::write(dir.join("pgharness.toml"), toml).unwrap();
    Context::new(Config::load(&dir.join("pgharness.toml")).unwrap().project().unwrap())
}

#[tokio::test]
async fn no_value_of_a_row_is_reported() {
    let sql = "
        create table customers (tenant_id text, email text primary key, note text not null);
        create table orders (
            tenant_id text not null, id text primary key, note text not null,
            email text references customers (email) on delete cascade
        );
        grant all on customers, orders to web_app;
        insert into customers values ('one', 'kestrel1@example.com', 'kestrel2'), ('two', 'kestrel3@example.com', 'kestrel4');
        insert into orders values ('one', 'kestrel5', 'kestrel6', 'kestrel1@example.com'), ('two', 'kestrel7', 'kestrel8', null);";
    let root = projects();
    let context = project_of(root.path(), sql);
    for id in CHECKS {
        let findings = findings(&context, id).await;
        assert!(!format!("{findings:?}").contains("kestrel"), "{id}: {findings:#?}");
        let is_about_sessions = id.contains("pooled") || id.contains("stale");
        assert_eq!(findings.is_empty(), is_about_sessions, "{id}: {findings:#?}");
    }
}

#[tokio::test]
async fn who_changes_nothing_of_its_own_proves_nothing() {
    let sql = "
        create table records (tenant_id int not null, n int not null);
        insert into records values (1, 1), (2, 1);
        grant select, update, delete on records to web_app;
        alter table records enable row level security;
        create policy reads on records for select using (tenant_id::text = current_setting('app.tenant_id', true));";
    let root = projects();
    let context = project_of(root.path(), sql);
    for id in ["tenancy.cross-update", "tenancy.cross-delete", "tenancy.merge"] {
        let findings = findings(&context, id).await;
        assert_eq!(brief(&findings), ["note table public.records"], "{id}");
        assert_eq!(findings[0].class, Class::DeadPolicy, "{id}");
    }
}

#[tokio::test]
async fn the_pooler_is_a_real_one_where_there_is_one() {
    let is_there = PgBouncer::is_installed();
    assert!(is_there || !pgharness::env::is_required("pgbouncer"), "there is no PgBouncer");
    let sql = include_str!("../../fixtures/checks/tenancy.pooled-context/bad.sql");
    let root = projects();
    let context = project_of(root.path(), sql);
    let verdict = Registry::standard().find("tenancy.pooled-context").unwrap().run(&context).await.unwrap();
    let Verdict::Ran { findings, remark, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(brief(&findings), ["error function public.set_tenant(uuid)"]);
    let said = findings[0].evidence.iter().any(|step| step.result.contains("through PgBouncer"));
    assert_eq!((said, remark.is_none()), (is_there, is_there), "{findings:#?} {remark:?}");
}

/// What people write who follow the guide of a well-known platform: policies that compare with a claim of the request.
#[tokio::test]
async fn an_honest_schema_by_claims_has_no_error() {
    let sql = "
        create schema auth;
        grant usage on schema auth to web_app;
        create function auth.tenant() returns uuid language sql stable as
            $$ select nullif(current_setting('app.tenant_id', true), '')::uuid $$;
        create table profiles (
            id uuid primary key default gen_random_uuid(),
            tenant_id uuid not null,
            display_name text,
            created_at timestamptz not null default now()
        );
        create table posts (
            id bigint generated by default as identity primary key,
            tenant_id uuid not null default auth.tenant(),
            title text not null check (char_length(title) > 2),
            body jsonb not null default '{}'
        );
        alter table profiles enable row level security;
        alter table posts enable row level security;
        create policy \"Members read their profiles\" on profiles for select to web_app using (tenant_id = auth.tenant());
        create policy \"Members change their profiles\" on profiles for update to web_app
            using (tenant_id = auth.tenant()) with check (tenant_id = auth.tenant());
        create policy \"Members add profiles\" on profiles for insert to web_app with check (tenant_id = auth.tenant());
        create policy \"Members do everything with posts\" on posts for all to web_app using (tenant_id = auth.tenant());
        grant select, insert, update on profiles to web_app;
        grant select, insert, update, delete on posts to web_app;";
    let root = projects();
    let context = project_of(root.path(), sql);
    for id in CHECKS {
        let findings = findings(&context, id).await;
        assert!(findings.is_empty(), "{id}: {findings:#?}");
    }
}

#[rstest::rstest]
#[tokio::test]
async fn the_reference_schema_stands(
    #[values(
        "tenancy.conflict-oracle",
        "tenancy.cross-delete",
        "tenancy.cross-update",
        "tenancy.fk-cascade",
        "tenancy.fk-reference",
        "tenancy.key-oracle",
        "tenancy.merge",
        "tenancy.pooled-context",
        "tenancy.pooled-role",
        "tenancy.returning",
        "tenancy.stale-plan",
        "tenancy.truncate"
    )]
    id: &str,
) {
    let findings = covered(findings(&Context::new(reference()), id).await);
    assert!(findings.is_empty(), "{findings:#?}");
}

/// Without what could not be looked at: an answered `messaging.idempotency_keys` is final for its own tenant too.
fn covered(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.class != Class::Uncovered).collect()
}

/// The reference schema broken in ways that only writes show.
const BROKEN: &str = "
    alter policy tenant_isolation on trading.strategies with check (true);
    grant truncate on workflow.jobs to task_runner;
    create function identity.enter(tenant uuid) returns void language sql
        as $$ select set_config('app.tenant_id', tenant::text, false) $$;
    grant execute on function identity.enter(uuid) to web_jobs;";

#[rstest::rstest]
#[case("tenancy.cross-update", &["error table trading.strategies"])]
#[case("tenancy.truncate", &["error table workflow.jobs"])]
#[case("tenancy.pooled-context", &["error function identity.enter(uuid)"])]
#[tokio::test]
async fn a_broken_reference_schema_is_found_out(#[case] id: &str, #[case] expected: &[&str]) {
    let (_dir, project) = broken_reference(BROKEN);
    let context = Context::new(project);
    let first = covered(findings(&context, id).await);
    assert_eq!(brief(&first), expected, "{first:#?}");
    assert_eq!(covered(findings(&context, id).await), first, "a second look says something else");
}
