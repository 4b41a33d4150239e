//! The checks of family drift: what they say, and what they do to a live database, which is nothing.

use crate::checks::{project, projects, run};
use crate::support;
use pgharness::catalog::{Catalog, Snapshot};
use pgharness::check::Registry;
use pgharness::finding::Outcome;
use pgharness::process::{Finished, Program};
use pgharness::report::Report;
use pgharness::script::database_url;
use pgharness::secret::Secret;
use pgharness::server::PgBouncer;
use pgharness::suite::{Config, Suite};
use pgharness::wait::{Look, until_async};
use pgharness::wire::{Address, Proxy, Record};
use pgharness::{Template, TestDb};
use rstest::rstest;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is found, a line each.
fn brief(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.severity, finding.message)).collect()
}

#[rstest]
#[case("drift.live", "bad_grant.sql",
    &["error the grant on table public.users to web_app has another `privileges` in the live database"])]
#[case("drift.live", "bad_index.sql",
    &["error index `public.users_email_tmp` is in the live database, and the migrations do not bring it about"])]
#[case("drift.live", "bad_policy.sql",
    &["error table `public.notes` has another `row security` in the live database"])]
#[case("drift.model", "bad_column.sql", &["error the project's own model does not agree with the migrations"])]
#[case("drift.roundtrip", "bad_index_function.sql", &["error a dump of the schema cannot be restored"])]
#[case("drift.roundtrip", "bad_lost.sql",
    &["error function `pg_catalog.tenant_name()` is lost by dump and restore"])]
#[case("drift.tenant-schemas", "bad_forgotten.sql",
    &["error column `tenant_initech.notes.at` is missing; schema `tenant_acme` has it"])]
#[case("drift.tenant-schemas", "bad_grant.sql",
    &["error the grant on table tenant_globex.notes to web_app is missing; schema `tenant_acme` has it"])]
#[case("drift.tenant-schemas", "bad_live.sql",
    &["error index `tenant_globex.notes_text` is missing; schema `tenant_acme` has it"])]
#[case("drift.tenant-schemas", "bad_onboarded.sql",
    &["error column `tenant_acme.notes.at` has nothing like it in schema `tenant_harnessone`"])]
#[tokio::test]
async fn what_is_found_is_named(#[case] id: &str, #[case] file: &str, #[case] expect: &[&str]) {
    let root = projects();
    let registry = Registry::standard();
    let check = registry.find(id).unwrap();
    let example = check.examples().iter().find(|example| example.file == file).unwrap();
    let dir = root.path().join("project");
    fs::create_dir(&dir).unwrap();
    let report = run(&project(&dir, check, example), id).await;
    assert_eq!(brief(&report), expect, "{:#?}", report.checks);
}

#[tokio::test]
async fn what_the_shell_and_the_restore_said_is_the_evidence() {
    let root = projects();
    let registry = Registry::standard();
    for (id, file, parts) in [
        ("drift.model", "bad_column.sql", ["exit status: 1", "users.name text"]),
        (
            "drift.roundtrip",
            "bad_index_function.sql",
            ["relation \"codes\" does not exist", "exited with status 3"],
        ),
    ] {
        let check = registry.find(id).unwrap();
        let example = check.examples().iter().find(|example| example.file == file).unwrap();
        let dir = root.path().join(id);
        fs::create_dir(&dir).unwrap();
        let report = run(&project(&dir, check, example), id).await;
        let said = &report.findings[0].evidence[0].result;
        for part in parts {
            assert!(said.contains(part), "`{part}` is missing in\n{said}");
        }
    }
}

#[tokio::test]
async fn other_words_of_a_restored_database_are_no_difference() {
    let root = projects();
    let registry = Registry::standard();
    for (id, file, remark) in [
        ("drift.roundtrip", "good_unstable_text.sql", "shown in other words once restored: view public.grid"),
        ("drift.live", "good_restored.sql", "not compared: owners"),
    ] {
        let check = registry.find(id).unwrap();
        let example = check.examples().iter().find(|example| example.file == file).unwrap();
        let dir = root.path().join(id);
        fs::create_dir(&dir).unwrap();
        let report = run(&project(&dir, check, example), id).await;
        assert_eq!(brief(&report), [""; 0], "{id}");
        let said = report.checks[0].reason.as_deref().unwrap_or_default();
        assert!(said.contains(remark), "{said}");
    }
}

/// A project with one table, a grant and what a low role may not look into.
const MIGRATION: &str = "
    create table users (id bigint primary key, email text not null);
    create view emails as select email from users where email <> '';
    create policy own on users using (email = current_user);
    grant select on users to web_app;
    create foreign data wrapper nothing;
    create server elsewhere foreign data wrapper nothing;
    create user mapping for web_app server elsewhere options (password 'never to be shown');";

fn project_of(root: &Path, migration: &str) -> Config {
    let dir = root.join("project");
    fs::create_dir_all(dir.join("migrations")).unwrap();
    fs::write(dir.join("pgharness.toml"), "[postgres]\nbootstrap = [\"../roles.sql\"]\n").unwrap();
    fs::write(dir.join("migrations/0001_a.sql"), migration).unwrap();
    Config::load(&dir.join("pgharness.toml")).unwrap()
}

async fn compare(config: &Config, live: &PgConnectOptions) -> Report {
    let url = Secret::new(database_url(live));
    let only = ["drift.live".to_owned()];
    Suite::new(config).with_only(&only).with_live(Some(url)).run().await.unwrap()
}

/// A live database with [`MIGRATION`] on a server of its own, and a role that may connect and nothing else.
async fn live_with_reader() -> (PgConnectOptions, PgConnectOptions) {
    let direct = support::empty_cluster().await;
    let mut owner = direct.connect().await.unwrap();
    sqlx::raw_sql(include_str!("../../fixtures/checks/roles.sql")).execute(&mut owner).await.unwrap();
    sqlx::raw_sql(MIGRATION).execute(&mut owner).await.unwrap();
    sqlx::raw_sql(
        "create role reader login;
         do $$ begin
             execute format('revoke all on database %I from public', current_database());
             execute format('grant connect on database %I to reader', current_database());
         end $$;",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let reader = direct.clone().username("reader");
    let mut connection = reader.connect().await.unwrap();
    sqlx::raw_sql("select from users").execute(&mut connection).await.unwrap_err();
    (direct, reader)
}

#[tokio::test]
async fn a_live_database_is_only_read_by_a_role_that_may_only_connect() {
    let root = projects();
    let config = project_of(root.path(), MIGRATION);
    let (direct, reader) = live_with_reader().await;
    let record = Record::default();
    let proxy = Proxy::start(Address::of(&direct), record.taps()).await.unwrap();
    let mut owner = direct.connect().await.unwrap();
    let before = support::catalog_digest(&mut owner).await;
    let report = compare(&config, &proxy.options(&reader)).await;
    assert_eq!(support::catalog_digest(&mut owner).await, before);
    // The database's own grants are a matter of the place.
    let found = brief(&report);
    assert!(found.iter().all(|line| line.starts_with("warning the grant on database to ")), "{found:#?}");
    let said = report.checks[0].reason.as_deref().unwrap();
    assert_eq!(
        said,
        "not compared: owners, and default privileges of who migrates (`migrations.migrator_role` names nobody); \
         the options of user mappings"
    );
    let transcript = record.transcript();
    assert!(transcript.entries.len() > 30, "{transcript}");
    let mut is_open = false;
    for entry in &transcript.entries {
        let words = entry.sql.trim().to_lowercase();
        match words.split_whitespace().next().unwrap() {
            "begin" => {
                assert_eq!(words, "begin isolation level repeatable read, read only");
                is_open = true;
            }
            "rollback" => is_open = false,
            // What looks at catalogs does so within the transaction.
            "select" | "with" => assert!(is_open || !words.contains(" pg_"), "{words}"),
            other => panic!("`{other}` was sent:\n{transcript}"),
        }
    }
    let limits =
        transcript.entries.iter().any(|entry| entry.sql.contains("set_config") && entry.sql.contains("$2"));
    assert!(limits, "no time-out was set:\n{transcript}");
}

#[tokio::test]
async fn a_session_with_a_live_database_may_not_write() {
    let (_, reader) = live_with_reader().await;
    let record = Record::default();
    let proxy = Proxy::start(Address::of(&reader), record.taps()).await.unwrap();
    let root = projects();
    let config = project_of(root.path(), MIGRATION);
    // Seen from outside while it reads: a lock that makes it wait shows the session.
    let mut owner = reader.clone().username("postgres").connect().await.unwrap();
    let mut other = reader.clone().username("postgres").connect().await.unwrap();
    sqlx::raw_sql("begin; lock table pg_catalog.pg_policy in access exclusive mode")
        .execute(&mut owner)
        .await
        .unwrap();
    let watch = async {
        let waiting = "select count(*) from pg_stat_activity
                       where application_name = 'pgharness drift' and wait_event_type = 'Lock'";
        until_async("the session waits", Duration::from_secs(20), async || {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut other).await.unwrap();
            Ok(if waiting > 0 { Look::Ready(()) } else { Look::NotYet("nobody waits".into()) })
        })
        .await
        .unwrap();
    };
    let options = proxy.options(&reader);
    let (report, ()) = tokio::join!(compare(&config, &options), watch);
    let said = report.checks[0].reason.as_deref().unwrap();
    assert!(said.contains("failed to read the policies of the catalog"), "{said}");
    assert!(said.contains("lock timeout"), "nobody is kept waiting: {said}");
}

#[tokio::test]
async fn a_pooler_in_between_does_not_matter() {
    if !PgBouncer::is_installed() {
        assert!(!pgharness::env::is_required("pgbouncer"), "there is no PgBouncer");
        return;
    }
    let root = projects();
    let config = project_of(root.path(), MIGRATION);
    let (direct, reader) = live_with_reader().await;
    // By TCP: the bouncer runs as the server's user, who cannot enter our directory.
    let inner = Proxy::start_tcp(Address::of(&direct), Record::default().taps()).await.unwrap();
    let bouncer = PgBouncer::start(&inner.options(&reader), 1).await.unwrap();
    let report = compare(&config, &bouncer.options(&reader)).await;
    assert_eq!(report.checks[0].outcome, Outcome::Failed, "{report:#?}");
    let found = brief(&report);
    assert!(found.iter().all(|line| line.starts_with("warning the grant on database to ")), "{found:#?}");
    // What was set for the reading did not stay in the server's session.
    let mut again = bouncer.options(&reader).statement_cache_capacity(0).connect().await.unwrap();
    let sql = "select current_setting('transaction_read_only') || current_setting('lock_timeout')";
    let left: String = sqlx::query_scalar(sql).persistent(false).fetch_one(&mut again).await.unwrap();
    assert_eq!(left, "off0");
    again.close().await.unwrap();
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The reference schema on a server of that major version, if there is one.
async fn reference(version: &str) -> Option<TestDb> {
    let template = Template::builder(repository())
        .with_bootstrap(["migrations/bootstrap/roles.sql"])
        .with_migrations("migrations")
        .with_migrator_role("app_migrator")
        .with_server(support::server_with(version, &[])?);
    Some(template.build().get().await.unwrap())
}

async fn catalog_of(db: &TestDb) -> Catalog {
    Catalog::read(&mut db.connection().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_reference_schema_is_one_on_15_and_18_and_a_live_database_of_another_version_does_not_differ() {
    let (Some(older), Some(newer)) = (reference("15").await, reference("18").await) else { return };
    let (old, new) =
        (Snapshot::render(&catalog_of(&older).await), Snapshot::render(&catalog_of(&newer).await));
    let differences: Vec<_> = similar_lines(&old, &new);
    assert_eq!(differences, [""; 0], "15 against 18");
    let mut config = Config::load(&repository().join("pgharness.toml")).unwrap();
    for (own, live) in [("15", &newer), ("18", &older)] {
        config.postgres.version = Some(own.into());
        let report = compare(&config, &live.options()).await;
        assert_eq!(brief(&report), [""; 0], "{own}: {:#?}", report.checks);
        let said = report.checks[0].reason.as_deref().unwrap();
        assert!(said.contains("may show differently, beyond a warning"), "{said}");
    }
}

/// The lines that only one of them has.
fn similar_lines(old: &str, new: &str) -> Vec<String> {
    let lacking = |text: &str, other: &str| -> Vec<String> {
        text.lines().filter(|line| !other.lines().any(|own| own == *line)).map(str::to_owned).collect()
    };
    [lacking(old, new), lacking(new, old)].concat()
}

/// The program, on a project.
fn door(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let program = Program::new(env!("CARGO_BIN_EXE_door")).current_dir(dir).args(arguments);
    variables.iter().fold(program, |program, (name, value)| program.env(name, value)).run().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_a_url_or_the_variable_that_holds_it() {
    let root = projects();
    let config = project_of(root.path(), "create table users (id bigint primary key);");
    let dir = config.dir();
    let live = support::empty_database().await;
    let url = database_url(&live);
    let mut connection = PgConnection::connect_with(&live).await.unwrap();
    sqlx::raw_sql("create table users (id integer primary key)").execute(&mut connection).await.unwrap();
    for (arguments, variables) in [
        (["drift", "--live", &url, "--format", "json"], &[][..]),
        (["drift", "--live", "env:STAGING", "--format", "json"], &[("STAGING", url.as_str())][..]),
    ] {
        let finished = door(dir, &arguments, variables);
        let said = finished.complaint();
        assert_eq!(finished.status.code(), Some(1), "{said}");
        let report: Value = serde_json::from_str(&finished.text()).unwrap();
        let ended: Vec<_> = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| format!("{} {}", check["id"].as_str().unwrap(), check["outcome"].as_str().unwrap()))
            .collect();
        assert_eq!(
            ended,
            [
                "drift.live failed",
                "drift.model skipped",
                "drift.roundtrip passed",
                "drift.snapshot skipped",
                "drift.tenant-schemas skipped",
            ]
        );
        assert_eq!(
            report["findings"][0]["message"],
            "column `public.users.id` has another `type` in the live database"
        );
    }
    let unset = door(dir, &["drift", "--live", "env:NOT_SET_ANYWHERE"], &[]);
    assert_eq!(unset.status.code(), Some(2));
    assert!(
        unset.complaint().contains("the environment variable `NOT_SET_ANYWHERE` is not set"),
        "{}",
        unset.complaint()
    );
    let odd = door(dir, &["drift", "--live", "env:1"], &[]);
    assert!(odd.complaint().contains("`1` is no name of an environment variable"), "{}", odd.complaint());
}
