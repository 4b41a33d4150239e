//! The checks of family operations, what is asked of a live database, and the file that `init` writes.

use crate::checks::{project, projects, run};
use crate::support;
use pgharness::check::Registry;
use pgharness::finding::{Class, Outcome};
use pgharness::process::{Finished, Program};
use pgharness::report::Report;
use pgharness::script::database_url;
use pgharness::secret::Secret;
use pgharness::suite::{Config, Suite};
use pgharness::wire::{Address, Proxy, Record, Transcript};
use rstest::rstest;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What is found, a line each.
fn brief(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.severity, finding.message)).collect()
}

#[rstest]
#[case("operations.capacity", "bad.sql",
    &["error `statement_timeout` of `web_app` is declared as 30s, and is none"])]
#[case("operations.capacity", "bad_shorter_in_database.sql",
    &["error `statement_timeout` of `web_app` is declared as 30s, and is 1800s"])]
#[case("operations.capacity", "bad_role_limit.sql",
    &["error the pool of `narrow_capacity` may open 20 connections, and the role may have 10"])]
#[case("operations.capacity", "bad_pools.sql",
    &["warning all pools together may open 198 connections, and the server gives them 197, if production has as many as \
       `postgres.max_connections`"])]
#[case("operations.history", "bad_half_applied.sql",
    &["error `0001_notes.sql` is half-applied in the live database"])]
#[case("operations.history", "bad_pending.sql",
    &["warning 1 of 2 migrations are not applied in the live database"])]
#[case("operations.readiness", "bad_missing_role.sql", &["error there is no role `nobody_made_this`"])]
#[case("operations.readiness", "bad_login.sql", &["error `app_owner` may not log in"])]
#[case("operations.readiness", "bad_not_valid.sql",
    &["warning constraint `public.notes.\"Positive\"` is not validated: old rows may not keep it"])]
#[case("operations.probes", "bad.sql",
    &["error `web_app` is declared to insert `public.orders`, and may not (SQLSTATE 42501)"])]
#[case("operations.probes", "bad_policy.sql",
    &["error `web_app` is declared to insert `public.orders`, and a policy refuses it (SQLSTATE 42501)"])]
#[case("operations.probes", "bad_slow.sql",
    &["error `web_app` is declared to select `public.report`, and does not end within its time-out (SQLSTATE 57014)"])]
#[case("operations.retention", "bad.sql",
    &["error no row of `public.events` that is older than 90 days is removed"])]
#[case("operations.retention", "bad_boundary.sql",
    &["warning rows of `public.events` are removed that are younger than 90 days"])]
#[case("operations.retention", "bad_no_procedure.sql",
    &["warning rows of `public.events` are to be kept for 90 days, and nothing removes them"])]
#[tokio::test]
async fn what_is_found_is_named(#[case] id: &str, #[case] file: &str, #[case] expect: &[&str]) {
    let root = projects();
    let registry = Registry::standard();
    let check = registry.find(id).unwrap();
    let example = check.examples().iter().find(|example| example.file == file).unwrap();
    let dir = root.path().join("project");
    fs::create_dir(&dir).unwrap();
    let report = run(&project(&dir, check, example), id).await;
    // The name of a live database is made up.
    let live = |line: &String| match line.split_once("the live database `") {
        Some((before, _)) => format!("{before}the live database"),
        None => line.clone(),
    };
    let found: Vec<String> = brief(&report).iter().map(live).collect();
    assert_eq!(found, expect, "{:#?}", report.checks);
}

#[tokio::test]
async fn a_fault_of_the_server_is_the_servers() {
    let root = projects();
    let registry = Registry::standard();
    let check = registry.find("operations.server-version").unwrap();
    let bad = check.examples().iter().find(|example| example.file == "bad.sql").unwrap();
    let dir = root.path().join("project");
    fs::create_dir(&dir).unwrap();
    let report = run(&project(&dir, check, bad), check.id()).await;
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.subject.name.as_str()).collect();
    assert_eq!(found, ["CVE-2023-39418", "CVE-2024-10976", "CVE-2026-120154"]);
    assert!(report.findings.iter().all(|finding| finding.class == Class::ServerBug), "{report:#?}");
    assert!(report.findings[0].evidence.iter().any(|step| step.result == "public.notes"), "{report:#?}");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[tokio::test]
async fn the_reference_schema_is_fit_to_be_run() {
    let config = Config::load(&repository().join("pgharness.toml")).unwrap();
    let report = Suite::new(&config).with_only(&["operations.*".to_owned()]).run().await.unwrap();
    assert_eq!(brief(&report), [""; 0], "{:#?}", report.checks);
    let probes = report.measurements.iter().find(|figure| figure.name == "operations.probes.probes").unwrap();
    assert!(probes.value > 150.0, "{probes:?}");
    let unknown =
        report.measurements.iter().find(|figure| figure.name == "operations.probes.unknown").unwrap();
    assert!(unknown.value < probes.value / 4.0, "{unknown:?} of {probes:?}");
}

/// A project, and its schema in a live database on a server of its own, whose tables have rows.
async fn with_live(root: &Path) -> (Config, PgConnectOptions) {
    let dir = root.join("project");
    fs::create_dir_all(dir.join("migrations")).unwrap();
    fs::write(
        dir.join("pgharness.toml"),
        "[postgres]\nbootstrap = [\"../roles.sql\"]\nextensions = [\"pg_trgm\"]\n\n[migrations]\nformat = \"sqlx\"\n\n\
         [roles]\nweb_app = { pool_max = 5, password = \"any\", statement_timeout = \"30s\" }\nweb_jobs = {}\n\n\
         [access.matrix.web_app]\n\"public.*\" = [\"select\", \"insert\", \"update\", \"delete\"]\n",
    )
    .unwrap();
    let migration = "create table notes (id bigint generated always as identity primary key, body text);\n\
                     grant select, insert, update, delete on notes to web_app;\n";
    fs::write(dir.join("migrations/0001_notes.sql"), migration).unwrap();
    let live = support::empty_cluster().await;
    let mut owner = live.connect().await.unwrap();
    for sql in [
        include_str!("../../fixtures/checks/roles.sql"),
        migration,
        "insert into notes (body) select 'a' from generate_series(1, 10);
         create table _sqlx_migrations (version bigint primary key, description text not null,
             installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
             execution_time bigint not null);
         create materialized view lengths as select length(body) from notes;
         create policy own on notes using (true);
         alter table notes enable row level security;",
    ] {
        sqlx::raw_sql(sql).execute(&mut owner).await.unwrap();
    }
    (Config::load(&dir.join("pgharness.toml")).unwrap(), live)
}

/// All that a database holds that may be written: catalogs, rows, sequences.
async fn state(owner: &mut PgConnection) -> String {
    let rows: String = sqlx::query_scalar(
        "select (select string_agg(n::text, ',' order by id) from notes n) || ' '
             || (select string_agg(s::text, ',') from pg_sequences s)",
    )
    .fetch_one(&mut *owner)
    .await
    .unwrap();
    support::catalog_digest(owner).await + &rows
}

/// Makes sure that nothing was sent but questions, within transactions or sessions that may only read.
fn assert_reads_only(transcript: &Transcript) {
    for entry in &transcript.entries {
        for statement in entry.sql.split(';').map(|part| part.trim().to_lowercase()) {
            let words: Vec<&str> = statement.split_whitespace().collect();
            match words.first().copied() {
                None | Some("rollback" | "reset" | "show") => {}
                Some("select" | "with") => {
                    for forbidden in ["nextval", "setval", "pg_advisory", "for update", "for share", "into "]
                    {
                        assert!(!statement.contains(forbidden), "`{statement}` was sent:\n{transcript}");
                    }
                }
                Some("begin") => assert!(statement.ends_with("read only"), "`{statement}`:\n{transcript}"),
                Some("set") => {
                    let setting = if words[1] == "local" { words[2] } else { words[1] };
                    assert!(
                        [
                            "statement_timeout",
                            "lock_timeout",
                            "search_path",
                            "client_connection_check_interval",
                            "idle_in_transaction_session_timeout"
                        ]
                        .contains(&setting),
                        "`{statement}`:\n{transcript}"
                    );
                }
                Some(other) => panic!("`{other}` was sent:\n{transcript}"),
            }
        }
    }
}

#[tokio::test]
async fn a_live_database_is_asked_and_nothing_else() {
    let root = projects();
    let (config, live) = with_live(root.path()).await;
    let mut owner = live.connect().await.unwrap();
    let before = state(&mut owner).await;
    let record = Record::default();
    let proxy = Proxy::start(Address::of(&live), record.taps()).await.unwrap();
    let url = Secret::new(database_url(&proxy.options(&live)));
    let only: Vec<String> = Registry::standard()
        .iter()
        .map(|check| check.id().to_owned())
        // It reads the catalog as its own test shows, and makes a database of its own beside.
        .filter(|id| !id.starts_with("drift."))
        .collect();
    let report = Suite::new(&config).with_only(&only).on_live(url).run().await.unwrap();
    assert_eq!(state(&mut owner).await, before);
    assert_reads_only(&record.transcript());
    assert!(record.transcript().entries.len() > 30, "{}", record.transcript());
    let found = brief(&report);
    for part in [
        "warning 1 of 1 migrations are not applied in the live database",
        "warning the extension `pg_trgm` is not there in the live database",
        "error `statement_timeout` of `web_app` is declared as 30s, and is none",
        "warning a slow statement leaves no trace in the live database",
    ] {
        assert!(found.iter().any(|line| line.starts_with(part)), "`{part}` is missing in {found:#?}");
    }
    for check in &report.checks {
        let reason = check.reason.as_deref().unwrap_or_default();
        assert!(!reason.contains("could not run"), "{}: {reason}", check.id);
        if check.id.starts_with("migration.") {
            assert_eq!(reason, "it looks at databases of its own, and at no live one", "{}", check.id);
        }
    }
    let probes = report.checks.iter().find(|check| check.id == "operations.probes").unwrap();
    assert_eq!(probes.outcome, Outcome::Skipped);
    // None of ours was made.
    assert_eq!(report.postgres, None);
}

#[tokio::test]
async fn each_session_with_a_live_database_may_only_read() {
    let root = projects();
    let (config, live) = with_live(root.path()).await;
    let (asked, record) = (Arc::new(Mutex::new(Vec::new())), Record::default());
    let (seen, tap) = (asked.clone(), record.taps());
    let proxy = Proxy::start(Address::of(&live), move |connection| {
        seen.lock().unwrap().push(connection.startup.parameter("options").unwrap_or_default());
        tap(connection)
    })
    .await
    .unwrap();
    let url = Secret::new(database_url(&proxy.options(&live)));
    let only = ["operations.*".to_owned()];
    Suite::new(&config).with_only(&only).on_live(url).run().await.unwrap();
    let asked = asked.lock().unwrap();
    // One for each check, two for the history, those of roles whose passwords are known.
    assert!(asked.len() >= 8, "{asked:?}");
    for options in asked.iter() {
        assert!(options.contains("default_transaction_read_only=on"), "{asked:?}");
    }
    for entry in &record.transcript().entries {
        if entry.sql.starts_with("begin") {
            assert!(
                entry.sql.contains("statement_timeout") && entry.sql.contains("lock_timeout"),
                "{}",
                entry.sql
            );
        }
    }
}

#[tokio::test]
async fn probes_on_request_touch_no_row() {
    let root = projects();
    let (config, live) = with_live(root.path()).await;
    let mut owner = live.connect().await.unwrap();
    let before = state(&mut owner).await;
    let only = ["operations.probes".to_owned()];
    let suite = Suite::new(&config).with_only(&only).on_live(Secret::new(database_url(&live)));
    let report = suite.with_live_probes(true).run().await.unwrap();
    assert_eq!(state(&mut owner).await, before);
    assert_eq!(brief(&report), [""; 0]);
    assert_eq!(report.checks[0].outcome, Outcome::Passed);
    let probes = report.measurements.iter().find(|figure| figure.name == "operations.probes.probes").unwrap();
    assert!((probes.value - 4.0).abs() < f64::EPSILON, "{probes:?}");
}

#[rstest]
#[case(&["check", "--live", "postgres://nobody@127.0.0.1:1/none", "--only", "operations.capacity"], 3, "failed to connect")]
#[case(&["check", "--live", "env:PGHARNESS_NO_SUCH_VARIABLE"], 2, "is not set")]
#[case(&["check", "--probes"], 2, "--live <URL>")]
#[test]
fn a_live_database_that_cannot_be_had_is_said(
    #[case] arguments: &[&str],
    #[case] code: i32,
    #[case] part: &str,
) {
    let root = projects();
    fs::create_dir_all(root.path().join("migrations")).unwrap();
    fs::write(root.path().join("pgharness.toml"), "[roles]\nweb_app = { pool_max = 1 }\n").unwrap();
    let (seen, text) = said(root.path(), arguments);
    assert_eq!(seen, code, "{text}");
    assert!(text.contains(part), "{text}");
}

/// The exit code of `pgharness`, and all that it says.
fn said(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let program = Program::new(env!("CARGO_BIN_EXE_door")).current_dir(dir).args(arguments);
    let finished: Finished = program.run().unwrap();
    (finished.status.code().unwrap(), format!("{}{}", finished.text(), finished.complaint()))
}

/// A folder of a project with these files, within the workspace.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = projects();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::remove_file(root.path().join("roles.sql")).unwrap();
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn init_reads_the_reference_schema() {
    let root = folder(&[]);
    for part in ["migrations", "fixtures/base", "queries"] {
        copy(&repository().join(part), &root.path().join(part));
    }
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 0, "{text}");
    for line in [
        "`pgharness.toml` written",
        "+ migrations in `migrations`, as sqlx has them (22)",
        "+ what comes before the migrations (`migrations/bootstrap/*.sql`)",
        "+ seed data (`fixtures/base/*.sql`)",
        "+ queries (`queries/*.sql`)",
        "+ tenants: row-level security on ",
        "+ `audit.audit_events` in partitions of time",
        "- which version of Postgres you run",
    ] {
        assert!(text.contains(line), "`{line}` is missing in\n{text}");
    }
    let config = Config::load(&root.path().join("pgharness.toml")).unwrap();
    let tenancy = config.tenancy.as_ref().unwrap();
    assert_eq!((tenancy.column.as_str(), tenancy.setting.as_deref()), ("tenant_id", Some("app.tenant_id")));
    for role in ["web_app", "web_jobs", "task_runner", "auditor"] {
        assert!(tenancy.roles.iter().any(|own| own == role), "{tenancy:?}");
        assert!(config.roles[role].statement_timeout.is_some(), "{role}");
    }
    let written = fs::read_to_string(root.path().join("pgharness.toml")).unwrap();
    for part in
        ["# [structure.partitions.\"audit.audit_events\"]\n# every = \"month\"", "\"audit.audit_events\", "]
    {
        assert!(written.contains(part), "`{part}` is missing in\n{written}");
    }
    // What it says is so.
    let (code, report) =
        said(root.path(), &["check", "--only", "operations.capacity,operations.readiness,migration.history"]);
    assert_eq!(code, 0, "{report}");
}

#[test]
fn init_finds_the_command_of_a_tool() {
    let root = folder(&[
        ("alembic.ini", "[alembic]\n"),
        ("docker-compose.yml", "services:\n  db:\n    image: \"postgres:15-alpine\"\n"),
    ]);
    // A tool of that name, which migrates as it would.
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(
        bin.join("alembic"),
        "#!/bin/sh\nexec psql -v ON_ERROR_STOP=1 -q \"$DATABASE_URL\" -c 'create table orders (org_id int, id int)'\n",
    )
    .unwrap();
    make_executable(&bin.join("alembic"));
    let program = Program::shell("PATH=\"$PWD/bin:$PATH\" exec \"$DOOR\" init")
        .current_dir(root.path())
        .env("DOOR", env!("CARGO_BIN_EXE_door"));
    let finished: Finished = program.run().unwrap();
    let text = format!("{}{}", finished.text(), finished.complaint());
    assert!(text.contains("+ `alembic.ini`: the migrations are applied by `alembic upgrade head`"), "{text}");
    assert!(text.contains("+ Postgres 15 (`docker-compose.yml`)"), "{text}");
    assert!(
        text.contains(
            "- how tenants are kept apart: 1 of 1 table has `org_id`, and none has row-level security"
        ),
        "{text}"
    );
    let written = fs::read_to_string(root.path().join("pgharness.toml")).unwrap();
    for line in
        ["\ncommand = \"alembic upgrade head\"\n", "\nversion = \"15\"\n", "\n# model = \"alembic check\"\n"]
    {
        assert!(written.contains(line), "`{line}` is missing in\n{written}");
    }
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn init_says_of_an_empty_folder_that_nothing_is_there() {
    let root = folder(&[]);
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("- migrations: no folder of them, and no tool's own file"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with('+')), "{text}");
    let (code, report) = said(root.path(), &["check"]);
    assert_eq!(code, 0, "{report}");
}

#[test]
fn init_writes_what_it_can_where_the_migrations_fail() {
    let root = folder(&[
        ("db/migrations/0001_a.sql", "create table a (id int);\n"),
        ("db/migrations/0002_b.sql", "alter table b add c int;\n"),
        ("seeds/a.sql", "insert into a values (1);\n"),
    ]);
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 0, "{text}");
    let told = text
        .lines()
        .find(|line| line.starts_with("- the schema: the migrations could not be applied"))
        .unwrap();
    assert!(told.contains("`0002_b.sql`: relation \"b\" does not exist"), "{text}");
    let written = fs::read_to_string(root.path().join("pgharness.toml")).unwrap();
    assert!(written.contains("relation \"b\" does not exist"), "{written}");
    assert!(written.contains("\ndir = \"db/migrations\"\n"), "{written}");
    assert!(written.contains("\nfiles = [\"seeds/*.sql\"]\n"), "{written}");
    let (code, report) = said(root.path(), &["check", "--only", "migration.clean-apply"]);
    assert_eq!(code, 1, "{report}");
}

#[test]
fn init_takes_what_policies_compare() {
    let root = folder(&[
        ("db/roles.sql", "create role shop login;\n"),
        (
            "migrations/0001_shop.sql",
            "create schema auth;
             create function auth.jwt() returns jsonb language sql stable as
                 $$ select coalesce(nullif(current_setting('request.jwt.claim', true), ''),
                                    nullif(current_setting('request.jwt.claims', true), ''))::jsonb $$;
             create function current_tenant_id() returns uuid language sql stable as
                 $$ select nullif(auth.jwt() ->> 'tenant_id', '')::uuid $$;
             create table tenants (id uuid primary key);
             create table items (id int primary key, \"tenantId\" uuid not null);
             create table orders (id int primary key, \"tenantId\" uuid not null);
             alter table tenants enable row level security;
             alter table items enable row level security;
             alter table orders enable row level security;
             create policy own on tenants using (id = current_tenant_id());
             create policy own on items using (\"tenantId\" = current_tenant_id());
             create policy own on orders using (\"tenantId\" = current_tenant_id());
             create policy pass_by on tenants using (current_setting('app.pass_by', true) = 'on');
             create policy pass_by on items using (current_setting('app.pass_by', true) = 'on');
             create policy pass_by on orders using (current_setting('app.pass_by', true) = 'on');
             grant select on all tables in schema public to shop;
             grant usage on schema auth to shop;",
        ),
    ]);
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 0, "{text}");
    let config = Config::load(&root.path().join("pgharness.toml")).unwrap();
    let tenancy = config.tenancy.as_ref().unwrap();
    assert_eq!(
        (tenancy.column.as_str(), tenancy.setting.as_deref()),
        ("tenantId", Some("request.jwt.claims ->> tenant_id"))
    );
    let written = fs::read_to_string(root.path().join("pgharness.toml")).unwrap();
    assert!(written.contains("# The policies of 2 tables look at it.\ncolumn = "), "{written}");
}

#[test]
fn init_says_what_is_asked_for_in_a_schema_that_nobody_makes() {
    let root = folder(&[(
        "supabase/migrations/20240101000000_notes.sql",
        "create table notes (id bigint primary key, user_id uuid references auth.users (id));
         alter table notes enable row level security;
         create policy own on notes using (user_id = auth.uid());",
    )]);
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 0, "{text}");
    let told = "who makes the schema `auth`, of which the migrations ask for `auth.uid()`, `auth.users`: ";
    assert!(text.contains("schema \"auth\" does not exist") && text.contains(told), "{text}");
    let written = fs::read_to_string(root.path().join("pgharness.toml")).unwrap();
    assert!(written.contains("# Not found: who makes the schema `auth`"), "{written}");
}

#[test]
fn init_makes_up_roles_that_nobody_creates() {
    let root = folder(&[(
        "supabase/migrations/20240101000000_notes.sql",
        "create table notes (id bigint generated always as identity primary key, user_id text not null);
         alter table notes enable row level security;
         create policy own on notes to authenticated
             using (user_id = current_setting('request.jwt.claims', true)::jsonb ->> 'sub');
         grant select on notes to anon, authenticated;",
    )]);
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("- who creates the roles authenticated, anon, which the migrations name"),
        "{text}"
    );
    let written = fs::read_to_string(root.path().join("pgharness.toml")).unwrap();
    for line in [
        "bootstrap = [\"pgharness.roles.sql\"]",
        "# column = \"user_id\"",
        "# setting = \"request.jwt.claims ->> sub\"",
        "# roles = [\"anon\", \"authenticated\"]",
    ] {
        assert!(written.contains(line), "`{line}` is missing in\n{written}");
    }
    // With them the schema can be built, and looked at.
    let (code, report) = said(root.path(), &["check", "--only", "operations.*,migration.clean-apply"]);
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("✓ clean-apply"), "{report}");
}

#[test]
fn init_finds_roles_that_are_taken_by_set_role() {
    let root = folder(&[
        (
            "db/roles.sql",
            "create role reader nologin; create role lonely nologin; create role door login noinherit;
             create role member login; create role everybody nologin;
             grant reader to door; grant everybody to member;",
        ),
        (
            "migrations/0001_notes.sql",
            "create table notes (id bigint primary key, tenant_id text not null);
             alter table notes enable row level security;
             create policy own on notes using (tenant_id = current_setting('app.tenant_id', true));
             grant select on notes to reader, lonely, everybody;",
        ),
    ]);
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("+ tenants: row-level security on 1 table, by `tenant_id`"), "{text}");
    let config = Config::load(&root.path().join("pgharness.toml")).unwrap();
    // Whose privileges a member has anyhow is tried as the member, and nobody can be `lonely`.
    assert_eq!(config.tenancy.as_ref().unwrap().roles, ["member", "reader"]);
    assert_eq!(config.roles.keys().collect::<Vec<_>>(), ["door", "member"]);
    let written = fs::read_to_string(root.path().join("pgharness.toml")).unwrap();
    let written = written.replace("\n# ", " ");
    for part in [
        "`reader` cannot log in, and is taken by SET ROLE (`door`).",
        "`lonely` cannot log in: nobody who logs in may take it by SET ROLE.",
        "It takes `reader` by SET ROLE.",
    ] {
        assert!(written.contains(part), "`{part}` is missing in\n{written}");
    }
    // They are attacked as it says.
    let (_, report) = said(root.path(), &["check", "--only", "tenancy.cross-read"]);
    assert!(report.contains("✓ cross-read"), "{report}");
}

#[test]
fn init_overwrites_nothing() {
    let root = folder(&[("pgharness.toml", "# mine\n")]);
    let file = root.path().join("pgharness.toml");
    let (code, text) = said(root.path(), &["init"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("`pgharness.toml` is there already") && text.contains("--force"), "{text}");
    let (code, shown) = said(root.path(), &["init", "--stdout"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.starts_with("# Written by `pgharness init`."), "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\n");
    assert_eq!(said(root.path(), &["init", "--force"]).0, 0);
    assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), shown.trim_end());
}
