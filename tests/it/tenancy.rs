//! Tenant isolation, attacked: the examples of the checks, the reference schema, and broken variants of it.

use futures_util::StreamExt;
use pgharness::check::{Context, Example, Kind, Project, Registry, Verdict};
use pgharness::finding::{Finding, Measurement, Severity};
use pgharness::suite::Config;
use rstest::rstest;
use std::path::{Path, PathBuf};

const CHECKS: [&str; 3] = ["tenancy.cross-insert", "tenancy.cross-read", "tenancy.no-context"];

/// A project with one migration, configured as the examples of `tenancy.cross-read` are.
fn project_of(sql: &str) -> (tempfile::TempDir, Project) {
    project("tenancy.cross-read", vec![("migrations/0001_example.sql".into(), sql.into())])
}

/// The project that an example stands for. All have the same roles, and then share a server.
fn project_of_example(id: &str, example: &Example) -> (tempfile::TempDir, Project) {
    project(id, example.files())
}

fn project(id: &str, files: Vec<(String, String)>) -> (tempfile::TempDir, Project) {
    // Within the workspace, so that all examples share its servers.
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let examples = repository().join("fixtures/checks");
    std::fs::copy(examples.join("roles.sql"), temporary.path().join("roles.sql")).unwrap();
    let dir = temporary.path().join("project");
    std::fs::create_dir_all(dir.join("migrations")).unwrap();
    std::fs::copy(examples.join(id).join("pgharness.toml"), dir.join("pgharness.toml")).unwrap();
    for (path, text) in files {
        std::fs::write(dir.join(path), text).unwrap();
    }
    let project = Config::load(&dir.join("pgharness.toml")).unwrap().project().unwrap();
    (temporary, project)
}

async fn run(check: &str, project: Project) -> (Vec<Finding>, Vec<Measurement>) {
    run_in(check, &Context::new(project)).await
}

async fn run_in(check: &str, context: &Context) -> (Vec<Finding>, Vec<Measurement>) {
    let registry = Registry::standard();
    match registry.find(check).unwrap().run(context).await.unwrap() {
        Verdict::Ran { findings, measurements, .. } => (findings, measurements),
        Verdict::Skipped(reason) => panic!("{check} was skipped: {reason}"),
    }
}

/// What is found in a schema, as "severity subject".
async fn found(check: &str, sql: &str) -> Vec<String> {
    let (_dir, project) = project_of(sql);
    brief(&run(check, project).await.0)
}

fn brief(findings: &[Finding]) -> Vec<String> {
    let mut brief: Vec<String> =
        findings.iter().map(|finding| format!("{} {}", finding.severity, finding.subject)).collect();
    brief.sort();
    brief
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_examples_are_found_and_good_ones_are_not() {
    let registry = Registry::standard();
    let examples: Vec<(&'static str, &Example)> = CHECKS
        .into_iter()
        .flat_map(|id| registry.find(id).unwrap().examples().iter().map(move |example| (id, example)))
        .filter(|(_, example)| example.kind() != Kind::Config)
        .collect();
    assert!(examples.len() > 30);
    let wrong: Vec<String> = futures_util::stream::iter(examples)
        .map(async |(id, example)| {
            let (_dir, project) = project_of_example(id, example);
            let context = Context::new(project);
            let findings = run_in(id, &context).await.0;
            let as_expected = match example.kind() {
                Kind::Good | Kind::Config => findings.is_empty(),
                // A dead policy is told from a leak, and so are rows that belong to nobody.
                Kind::Bad if example.file == "bad_dead.sql" => {
                    brief(&findings) == ["note table public.orders"]
                }
                Kind::Bad if example.file == "bad_null_row.sql" && id == "tenancy.cross-read" => {
                    brief(&findings) == ["warning table public.templates"]
                }
                Kind::Bad => {
                    !findings.is_empty() && findings.iter().all(|finding| finding.severity == Severity::Error)
                }
            };
            (!as_expected).then(|| format!("{id}/{}: {findings:#?}", example.file))
        })
        .buffer_unordered(3)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub(crate) fn reference() -> Project {
    let config = repository().join("pgharness.toml");
    Config::load_with(&config, &Registry::standard()).unwrap().project().unwrap()
}

/// The reference schema with one more migration.
pub(crate) fn broken_reference(sql: &str) -> (tempfile::TempDir, Project) {
    let mut project = reference();
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&project.migrations.dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let more = dir.path().join("9999_more.sql");
    std::fs::write(more, format!("set local role app_owner;\n{sql}")).unwrap();
    project.migrations.dir = dir.path().to_owned();
    (dir, project)
}

fn figure(measurements: &[Measurement], name: &str) -> f64 {
    measurements.iter().find(|measurement| measurement.name.ends_with(name)).unwrap().value
}

#[rstest]
#[tokio::test]
async fn the_reference_schema_keeps_its_tenants_apart(
    #[values("tenancy.cross-insert", "tenancy.cross-read", "tenancy.no-context")] check: &str,
) {
    let (findings, measurements) = run(check, reference()).await;
    assert!(findings.is_empty(), "{findings:#?}");
    assert_eq!(figure(&measurements, ".roles"), 5.0);
    assert!(figure(&measurements, ".relations_reached") > 40.0, "{measurements:?}");
    assert!(figure(&measurements, ".probes") > 40.0, "{measurements:?}");
    assert!(figure(&measurements, ".controls") > 40.0, "{measurements:?}");
}

/// The reference schema broken in several places, each in another way.
const BROKEN: &str = "
    alter policy tenant_isolation on workflow.jobs using (true) with check (true);
    alter policy tenant_isolation on trading.strategies with check (true);
    alter table identity.zones disable row level security;
    create policy audit on policy.policies for select to auditor using (true);
    drop policy tenant_isolation on billing.metering;
    do $$
    declare newest regclass;
    begin
        select inhrelid::regclass into strict newest from pg_inherits
        where inhparent = 'audit.audit_events'::regclass order by inhrelid::regclass::text desc limit 1;
        execute format('alter table %s disable row level security', newest);
        execute format('alter table %s rename to audit_events_newest', newest);
        grant select, insert on audit.audit_events_newest to auditor, audit_writer;
    end $$;";

#[rstest]
#[case("tenancy.cross-insert", &[
    "error partition audit.audit_events_newest",
    "error table identity.zones",
    "error table trading.strategies",
    "error table workflow.jobs",
    "note table billing.metering",
])]
#[case("tenancy.cross-read", &[
    "error partition audit.audit_events_newest",
    "error table identity.zones",
    "error table policy.policies",
    "error table workflow.jobs",
    "note table billing.metering",
])]
#[case("tenancy.no-context", &[
    "error partition audit.audit_events_newest",
    "error table identity.zones",
    "error table policy.policies",
    "error table workflow.jobs",
    "note table billing.metering",
])]
#[tokio::test]
async fn a_broken_reference_schema_is_found_out(#[case] check: &str, #[case] expected: &[&str]) {
    let (_dir, project) = broken_reference(BROKEN);
    let context = Context::new(project);
    let findings = run_in(check, &context).await.0;
    assert_eq!(brief(&findings), expected, "{findings:#?}");
    assert_eq!(findings, run_in(check, &context).await.0, "a second look says something else");
    // Roles with the same outcome are one finding.
    let of_jobs = findings.iter().find(|finding| finding.subject.name == "workflow.jobs").unwrap();
    assert!(of_jobs.message.contains("`task_runner`, `web_app` and `web_jobs`"), "{}", of_jobs.message);
}

#[rstest]
#[tokio::test]
async fn no_value_of_a_row_is_reported(
    #[values("tenancy.cross-insert", "tenancy.cross-read", "tenancy.no-context")] check: &str,
) {
    let sql = "
        create table customers (tenant_id text, email text primary key, unique (tenant_id, email));
        create table orders (
            tenant_id text not null, id text primary key, email text not null, note text not null,
            foreign key (tenant_id, email) references customers (tenant_id, email)
        );
        grant select, insert on customers, orders to web_app;
        insert into customers values ('one', 'secret1@example.com'), ('two', 'secret2@example.com');
        insert into orders values ('one', 'secret3', 'secret1@example.com', 'secret4');";
    let (_dir, project) = project_of(sql);
    let findings = run(check, project).await.0;
    assert_eq!(brief(&findings), ["error table public.customers", "error table public.orders"]);
    assert!(!format!("{findings:?}").contains("secret"), "{findings:#?}");
}

#[tokio::test]
async fn a_table_that_takes_no_row_is_not_passed_over() {
    let sql = "create table closed (tenant_id uuid not null, n int not null check (n > 0 and n < 0));
               grant select, insert on closed to web_app;
               alter table closed enable row level security;
               create policy p on closed using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);";
    for check in CHECKS {
        let (_dir, project) = project_of(sql);
        let findings = run(check, project).await.0;
        assert_eq!(brief(&findings), ["note table public.closed"]);
        assert!(findings[0].message.contains("`closed_n_check`"), "{}", findings[0].message);
    }
}

#[tokio::test]
async fn exempt_tables_and_their_partitions_are_left_alone_and_another_column_is_known() {
    let sql = "create table ref_things (org text, at date) partition by range (at);
               create table things_old partition of ref_things for values from (minvalue) to ('2024-01-01');
               create table things (org text not null);
               grant select on ref_things, things_old, things to web_app;";
    let (_dir, mut project) = project_of(sql);
    if let Some(tenancy) = &mut project.tenancy {
        tenancy.column = "org".into();
        tenancy.exempt = vec!["public.ref_*".into()];
    }
    let findings = run("tenancy.cross-read", project).await.0;
    assert_eq!(brief(&findings), ["error table public.things"]);
}

#[tokio::test]
async fn without_declared_roles_those_that_can_log_in_and_reach_a_table_attack() {
    let sql = "create table things (tenant_id int not null); grant select on things to web_jobs;";
    let (_dir, mut project) = project_of(sql);
    project.tenancy.as_mut().unwrap().roles.clear();
    let (findings, measurements) = run("tenancy.cross-read", project).await;
    assert_eq!(figure(&measurements, ".roles"), 1.0);
    assert!(findings[0].message.contains("`web_jobs`"), "{}", findings[0].message);
}

#[tokio::test]
async fn a_role_that_no_policy_binds_is_told_and_one_that_is_not_there_is_an_error() {
    let (_dir, mut project) = project_of("create table things (tenant_id int not null);");
    project.tenancy.as_mut().unwrap().roles = vec!["postgres".into()];
    assert_eq!(brief(&run("tenancy.cross-read", project).await.0), ["error role postgres"]);

    let (_dir, mut project) = project_of("create table things (tenant_id int not null);");
    project.tenancy.as_mut().unwrap().roles = vec!["web_ap".into()];
    let registry = Registry::standard();
    let context = Context::new(project);
    let error = registry.find("tenancy.cross-read").unwrap().run(&context).await.unwrap_err();
    assert!(error.to_string().contains("there is no role `web_ap`"), "{error}");
}

/// The tenant's column cannot be read, and still more rows are seen than the tenant has.
#[tokio::test]
async fn rows_are_told_apart_by_their_number_where_the_column_is_hidden() {
    let sql = "create table things (tenant_id int not null, n int not null);
               insert into things values (1, 1), (2, 1); grant select (n) on things to web_app;";
    assert_eq!(found("tenancy.cross-read", sql).await, ["error table public.things"]);
}

/// The checks about policies, owners, roles and views.
const OF_POLICIES: [&str; 13] = [
    "tenancy.dead-policy",
    "tenancy.empty-context",
    "tenancy.enabled",
    "tenancy.forced",
    "tenancy.malformed-context",
    "tenancy.matview",
    "tenancy.null-tenant",
    "tenancy.owner",
    "tenancy.permissive-or",
    "tenancy.reachable-role",
    "tenancy.row-security-off",
    "tenancy.trust-boundary",
    "tenancy.view-bypass",
];

/// All of them share one scene, and so does a second round.
#[tokio::test]
async fn nothing_is_wrong_with_the_policies_of_the_reference_schema() {
    let context = Context::new(reference());
    for round in 0..2 {
        for check in OF_POLICIES {
            let (findings, measurements) = run_in(check, &context).await;
            let faults: Vec<&Finding> =
                findings.iter().filter(|finding| finding.severity != Severity::Note).collect();
            assert!(faults.is_empty(), "{check}, round {round}: {faults:#?}");
            assert_eq!(figure(&measurements, ".roles"), 5.0);
        }
    }
}

#[rstest]
#[case("tenancy.dead-policy", &["note table billing.metering"])]
#[case("tenancy.enabled", &["error table identity.zones"])]
#[case("tenancy.permissive-or", &["error table policy.policies"])]
#[tokio::test]
async fn a_broken_policy_is_explained(#[case] check: &str, #[case] expected: &[&str]) {
    let (_dir, project) = broken_reference(BROKEN);
    let findings = run(check, project).await.0;
    assert_eq!(brief(&findings), expected, "{findings:#?}");
}

/// Over a socket every role is trusted, and the client has no address.
#[tokio::test]
async fn roles_come_in_by_the_door_that_services_come_in_by() {
    let sql = "create table things (tenant_id int not null); grant select on things to web_app;
               alter table things enable row level security;
               create policy p on things using (
                   inet_client_addr() is null or tenant_id = nullif(current_setting('app.tenant_id', true), '')::int);";
    for check in ["tenancy.cross-read", "tenancy.no-context"] {
        assert_eq!(found(check, sql).await, [""; 0], "{check}");
    }
}

#[tokio::test]
async fn rows_that_were_made_up_are_marked_by_their_tenant() {
    let sql = "create table parents (tenant_id int not null, id text primary key);
               create table things (tenant_id int not null, parent text not null references parents, note varchar(40),
                   code varchar(4) not null, kind text not null check (kind in ('a', 'b')), extra jsonb);
               grant select on things to web_app;";
    let (_dir, project) = project_of(sql);
    let findings = run("tenancy.enabled", project).await.0;
    let evidence = format!("{:?}", findings[0].evidence);
    // Two tenants, each in the parent's key, the note and the document; not where a condition or the length forbids it.
    for (mark, number) in
        [("'canary-", 6), ("'kind', 'canary-", 0), ("'code', 'canary-", 0), ("'note', 'canary-", 4)]
    {
        assert_eq!(evidence.matches(mark).count(), number, "{mark} in {evidence}");
    }
}

/// A project of PostgREST's kind that says nothing of its tenants.
#[tokio::test]
async fn tenants_are_found_by_what_policies_read() {
    let sql = "
        create schema auth;
        create function auth.jwt() returns jsonb language sql stable as
            $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
        grant usage on schema auth to web_app;
        create table todos (id int primary key, org_id uuid not null, task text not null);
        create table notes (id int primary key, org_id uuid not null, body text not null);
        grant select on todos, notes to web_app;
        alter table todos enable row level security;
        create policy own on todos using (org_id = (auth.jwt() ->> 'org')::uuid);";
    let (_dir, mut project) = project_of(sql);
    project.tenancy = None;
    let context = Context::new(project);
    let registry = Registry::standard();
    let verdict = registry.find("tenancy.cross-read").unwrap().run(&context).await.unwrap();
    let Verdict::Ran { findings, remark, .. } = verdict else { panic!("{verdict:?}") };
    // Nobody said that tenants may not read one another's notes: it is no error.
    assert_eq!(brief(&findings), ["warning table public.notes"], "{findings:#?}");
    let remark = remark.unwrap();
    assert!(remark.contains("`org_id`") && remark.contains("`request.jwt.claims ->> org`"), "{remark}");
}

#[rstest]
#[case::one(&["items"], "`public.items`")]
#[case::many(
    &["items", "lines", "parts", "units", "words"],
    "`public.items`, `public.lines`, `public.parts` and 2 more"
)]
#[tokio::test]
async fn guarded_tables_without_the_tenants_column_are_named(#[case] tables: &[&str], #[case] named: &str) {
    let mut sql = "
        create table tenants (id uuid primary key);
        create table orders (tenant_id uuid not null references tenants, id int primary key);
        create table notes (n int primary key);
        create table closed (n int primary key);
        alter table tenants enable row level security;
        alter table orders enable row level security;
        alter table closed enable row level security;
        create policy own on tenants using (id = nullif(current_setting('app.tenant_id', true), '')::uuid);
        create policy own on orders using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
        grant select, insert on tenants, orders, notes to web_app;"
        .to_owned();
    for table in tables {
        sql.push_str(&format!(
            "create table {table} (order_id int not null references orders, n int not null, primary key (order_id, n));
             alter table {table} enable row level security;
             create policy own on {table} using (exists (select from orders o where o.id = order_id));
             grant select (order_id) on {table} to web_app;"
        ));
    }
    let (_dir, project) = project_of(&sql);
    let context = Context::new(project);
    let verdict = Registry::standard().find("tenancy.enabled").unwrap().run(&context).await.unwrap();
    let Verdict::Ran { findings, remark, .. } = verdict else { panic!("{verdict:?}") };
    assert!(findings.is_empty(), "{findings:?}");
    let expected = format!(
        "row-level security is on for {named}, without a column `tenant_id`: nothing of the family attacks them"
    );
    assert_eq!(remark, Some(expected));
}

#[tokio::test]
async fn without_a_policy_there_is_nothing_to_attack() {
    let (_dir, mut project) = project_of("create table things (tenant_id int not null);");
    project.tenancy = None;
    let context = Context::new(project);
    for check in OF_POLICIES {
        let verdict = Registry::standard().find(check).unwrap().run(&context).await.unwrap();
        assert!(
            matches!(&verdict, Verdict::Skipped(reason) if reason.contains("no policy")),
            "{check}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_table_of_tenants_is_told_apart_by_its_key() {
    let sql = "
        create table tenants (id uuid primary key, name text not null);
        create table things (tenant_id uuid not null references tenants (id), note text);
        grant select on tenants, things to web_app;
        alter table tenants enable row level security;
        create policy everybody on tenants using (true);
        alter table things enable row level security;
        create policy own on things using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);";
    for check in ["tenancy.cross-read", "tenancy.no-context"] {
        assert_eq!(found(check, sql).await, ["error table public.tenants"]);
    }
}
