//! Tenant isolation, attacked: the examples of the checks, the reference schema, and broken variants of it.

use futures_util::StreamExt;
use pgharness::check::{Context, Example, Kind, Project, Registry, Tenancy, TenancyModel, Verdict};
use pgharness::finding::{Finding, Measurement, Severity};
use pgharness::suite::Config;
use rstest::rstest;
use std::path::{Path, PathBuf};

const CHECKS: [&str; 3] = ["tenancy.cross-insert", "tenancy.cross-read", "tenancy.no-context"];

/// The same for all examples, which then share a server.
const BOOTSTRAP: &str = "
    do $$
    declare wanted text;
    begin
        foreach wanted in array array['web_app', 'web_jobs'] loop
            if not exists (select from pg_roles where rolname = wanted) then
                execute format('create role %I login', wanted);
            end if;
        end loop;
    end $$;
    grant create on schema public to public;";

fn tenancy() -> Tenancy {
    Tenancy {
        model: TenancyModel::Rls,
        column: "tenant_id".into(),
        setting: Some("app.tenant_id".into()),
        roles: vec!["web_app".into(), "web_jobs".into()],
        exempt: vec![],
        onboard: None,
    }
}

fn project_of(sql: &str) -> (tempfile::TempDir, Project) {
    let dir = tempfile::tempdir().unwrap();
    let migrations = dir.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    std::fs::write(migrations.join("0001_example.sql"), sql).unwrap();
    let bootstrap = dir.path().join("bootstrap.sql");
    std::fs::write(&bootstrap, BOOTSTRAP).unwrap();
    let mut project = Project {
        dir: dir.path().to_owned(),
        bootstrap: vec![bootstrap],
        connections_max: 100,
        tenancy: Some(tenancy()),
        ..Project::default()
    };
    project.migrations.dir = migrations;
    (dir, project)
}

async fn run(check: &str, project: Project) -> (Vec<Finding>, Vec<Measurement>) {
    let registry = Registry::standard();
    let context = Context::new(project);
    match registry.find(check).unwrap().run(&context).await.unwrap() {
        Verdict::Ran { findings, measurements } => (findings, measurements),
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
        .collect();
    assert!(examples.len() > 30);
    let wrong: Vec<String> = futures_util::stream::iter(examples)
        .map(async |(id, example)| {
            let (_dir, project) = project_of(example.sql);
            let findings = run(id, project).await.0;
            let as_expected = match example.kind() {
                Kind::Good => findings.is_empty(),
                // A dead policy is told from a leak, and so are rows that belong to nobody.
                Kind::Bad if example.file == "bad_dead.sql" => {
                    brief(&findings) == ["note table public.orders"]
                }
                Kind::Bad if example.file == "bad_null_row.sql" && id == "tenancy.cross-read" => {
                    brief(&findings) == ["warning table public.templates"]
                }
                Kind::Config => true,
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

fn reference() -> Project {
    Config::load(&repository().join("pgharness.toml")).unwrap().project().unwrap()
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
    println!("{measurements:?}");
    assert_eq!(figure(&measurements, ".roles"), 5.0);
    assert!(figure(&measurements, ".relations_reached") > 40.0, "{measurements:?}");
    assert!(figure(&measurements, ".probes") > 40.0, "{measurements:?}");
}
