//! The built-in runner against a server.

use crate::support::{client_tool, empty_cluster, empty_database};
use pgharness::migration::{Applied, Format, Migrations, Runner};
use pgharness::wait::{self, Look};
use rstest::rstest;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

/// How long a test waits for a state that must come.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

pub(crate) fn load(dir: &TempDir) -> Migrations {
    Migrations::load(dir.path(), Format::Plain).unwrap()
}

pub(crate) async fn apply(dir: &TempDir, target: &PgConnectOptions) -> pgharness::Result<Applied> {
    Runner::new(&load(dir)).with_lock_timeout(DEADLINE).apply(target).await
}

pub(crate) fn names(applied: &Applied) -> Vec<&str> {
    applied.applied.iter().map(|migration| migration.name.as_str()).collect()
}

pub(crate) async fn ask<T>(target: &PgConnectOptions, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let mut connection = PgConnection::connect_with(target).await.unwrap();
    connection.fetch_one(AssertSqlSafe(sql.to_owned())).await.unwrap().get(0)
}

pub(crate) async fn run(target: &PgConnectOptions, sql: &str) {
    let mut connection = PgConnection::connect_with(target).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

/// The advisory locks in the database.
pub(crate) const LOCKS: &str = "select count(*) from pg_locks where locktype = 'advisory' \
    and database = (select oid from pg_database where datname = current_database())";

const TWO: &[(&str, &str)] = &[
    ("0001_users.sql", "create table users (id int primary key);\ninsert into users values (1);"),
    ("0002_names.sql", "alter table users add name text;"),
];

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let target = empty_database().await;
    let dir = folder(TWO);
    let pending = load(&dir);
    let pending = Runner::new(&pending).pending(&target).await.unwrap();
    assert_eq!(
        pending.iter().map(|migration| migration.name()).collect::<Vec<_>>(),
        ["0001_users.sql", "0002_names.sql"]
    );
    assert_eq!(names(&apply(&dir, &target).await.unwrap()), ["0001_users.sql", "0002_names.sql"]);
    // Whoever may write nothing finds nothing to write.
    let reader = target.clone().options([("default_transaction_read_only", "on")]);
    let again = apply(&dir, &reader).await.unwrap();
    assert_eq!((again.applied.len(), again.already), (0, 2));
    fs::write(dir.path().join("0003_more.sql"), "select 1;").unwrap();
    assert_eq!(apply(&dir, &reader).await.unwrap_err().sqlstate().as_deref(), Some("25006"));
    let source = load(&dir);
    let history = Runner::new(&source).history(&target).await.unwrap();
    assert_eq!(
        history.iter().map(|entry| entry.version.as_str()).collect::<Vec<_>>(),
        ["0001_users", "0002_names"]
    );
    assert_eq!(history[0].checksum, source.iter().next().unwrap().checksum);
}

#[tokio::test]
async fn pending_and_history_leave_an_empty_database_empty() {
    let target = empty_database().await;
    let source = load(&folder(TWO));
    assert_eq!(Runner::new(&source).pending(&target).await.unwrap().len(), 2);
    assert!(Runner::new(&source).history(&target).await.unwrap().is_empty());
    assert_eq!(
        ask::<i64>(&target, "select count(*) from pg_class where relname = 'schema_migrations'").await,
        0
    );
}

#[tokio::test]
async fn the_history_goes_where_it_is_told() {
    let target = empty_database().await;
    let source = load(&folder(TWO));
    let runner = Runner::new(&source).with_history("ops.applied");
    runner.apply(&target).await.unwrap();
    assert_eq!(ask::<i64>(&target, "select count(*) from ops.applied").await, 2);
    assert_eq!(runner.apply(&target).await.unwrap().already, 2);
}

#[tokio::test]
async fn a_failing_migration_leaves_nothing_and_shows_the_place() {
    let target = empty_database().await;
    let dir = folder(TWO);
    fs::write(
        dir.path().join("0003_broken.sql"),
        "create table half (id int);\n\n\tcreate tabel x ();\nselect 1;",
    )
    .unwrap();
    let error = apply(&dir, &target).await.unwrap_err();
    let text = format!("{error:?}").replace(&dir.path().display().to_string(), "migrations");
    assert_eq!(
        text,
        "failed to apply migration `0003_broken.sql`: syntax error at or near \"tabel\" (SQLSTATE 42601)\n   \
         --> migrations/0003_broken.sql:3:9\n    |\n  3 | \tcreate tabel x ();\n    | \t       ^"
    );
    assert_eq!(error.sqlstate().as_deref(), Some("42601"));
    assert!(!ask::<bool>(&target, "select to_regclass('half') is not null").await);
    assert_eq!(ask::<i64>(&target, "select count(*) from schema_migrations").await, 2);
    assert_eq!(ask::<i64>(&target, LOCKS).await, 0);
    fs::write(dir.path().join("0003_broken.sql"), "create table whole (id int);").unwrap();
    assert_eq!(names(&apply(&dir, &target).await.unwrap()), ["0003_broken.sql"]);
}

#[rstest]
// An error without a position: the statement is found by counting the answers.
#[case("select 1;\n-- why\nselect 1/0;\nselect 2;", "0001_x.sql:3:1", "22012")]
#[case("select 1;\nselect 1/0; -- the end", "0001_x.sql:2:1", "22012")]
#[case(
    "create table t (id int unique);\ninsert into t values (1);\ninsert into t values (1);",
    "0001_x.sql:3:1",
    "23505"
)]
#[case("select 'é', nosuch;", "0001_x.sql:1:13", "42703")]
#[case("select 1;\r\nselect 2;\r\nselect nosuch;", "0001_x.sql:3:8", "42703")]
#[case("\u{feff}select nosuch;", "0001_x.sql:1:8", "42703")]
#[case("-- no-transaction\nselect 1;\nselect nosuch;", "0001_x.sql:3:8", "42703")]
#[case(
    "do $$\nbegin\n  insert into nosuch values (1);\nend $$;",
    "in PL/pgSQL function inline_code_block line 3",
    "42P01"
)]
#[tokio::test]
async fn errors_point_into_the_file(#[case] text: &str, #[case] place: &str, #[case] code: &str) {
    let target = empty_database().await;
    let error = apply(&folder(&[("0001_x.sql", text)]), &target).await.unwrap_err();
    assert!(error.to_string().contains(place), "{error}");
    assert_eq!(error.sqlstate().as_deref(), Some(code));
    assert_eq!(ask::<i64>(&target, LOCKS).await, 0);
}

#[rstest]
#[case("create extension nosuch;", "the extension `nosuch` is not installed on this server")]
#[case("create table t (email citext);", "comes with the extension `citext`")]
#[case("create table t (id int);\ncreate index concurrently i on t (id);", "put `-- no-transaction`")]
#[case(
    "create table t (id int primary key deferrable initially deferred);\ninsert into t values (1), (1);",
    "refused at the commit"
)]
#[tokio::test]
async fn advice_says_what_to_do(#[case] text: &str, #[case] advice: &str) {
    let target = empty_database().await;
    let error = apply(&folder(&[("0001_x.sql", text)]), &target).await.unwrap_err();
    assert!(error.help().unwrap_or_default().contains(advice), "{error:?}");
    assert_eq!(ask::<i64>(&target, "select count(*) from schema_migrations").await, 0);
}

#[tokio::test]
async fn rows_are_not_shown() {
    let target = empty_database().await;
    let text = "create table t (secret text unique);\ninsert into t select 'hunter' || n % 2 from generate_series(1, 3) n;";
    let error = apply(&folder(&[("0001_x.sql", text)]), &target).await.unwrap_err();
    assert!(!error.report().contains("hunter1"), "{error:?}");
}

#[tokio::test]
async fn settings_do_not_leak_into_the_next_file() {
    let target = empty_cluster().await;
    let role = "leaky";
    let dir = folder(&[
        (
            "0001_leaky.sql",
            &format!(
                "create role {role};\ngrant create, usage on schema public to {role};\nset role {role};\n\
                 set search_path = pg_temp;\nset lock_timeout = 1234;\nset statement_timeout = '1h';\n\
                 prepare q as select 1;\ncreate temp table scratch (id int);\nset default_transaction_read_only = on;"
            ),
        ),
        (
            "0002_seen.sql",
            "create table seen as select current_user::text as who, current_setting('search_path') as path, \
             current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement, \
             (select count(*) from pg_prepared_statements) as prepared, to_regclass('pg_temp.scratch')::text as temp;",
        ),
        ("0003_seen_apart.sql", "-- no-transaction\nset search_path = nowhere;\nset role none;"),
        ("0004_seen_again.sql", "create table again as select current_setting('search_path') as path;"),
    ]);
    apply(&dir, &target).await.unwrap();
    let seen: String = ask(&target, "select seen::text from public.seen").await;
    assert_eq!(seen, "(postgres,\"\"\"$user\"\", public\",0,0,0,)");
    assert_eq!(ask::<String>(&target, "select path from public.again").await, "\"$user\", public");
    run(&target, &format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_setting_of_the_connection_stays() {
    let target = empty_database().await.options([("statement_timeout", "12345")]);
    apply(
        &folder(&[("0001_a.sql", "create table seen as select current_setting('statement_timeout') as t;")]),
        &target,
    )
    .await
    .unwrap();
    assert_eq!(ask::<String>(&target, "select t from seen").await, "12345ms");
}

#[rstest]
#[case("0002_names.sql", Some("select 2;"), "`0002_names.sql` was edited after it had been applied")]
#[case("0001_users.sql", None, "`0001_users.sql` is applied, and its file is gone")]
#[case(
    "0000_early.sql",
    Some("select 0;"),
    "`0000_early.sql` is pending, and `0001_users.sql`, which comes after it, is applied"
)]
#[tokio::test]
async fn files_that_contradict_the_history_are_refused(
    #[case] name: &str,
    #[case] text: Option<&str>,
    #[case] expected: &str,
) {
    let target = empty_database().await;
    let dir = folder(TWO);
    apply(&dir, &target).await.unwrap();
    match text {
        Some(text) => fs::write(dir.path().join(name), text).unwrap(),
        None => fs::remove_file(dir.path().join(name)).unwrap(),
    }
    fs::write(dir.path().join("0009_new.sql"), "create table new (id int);").unwrap();
    let error = apply(&dir, &target).await.unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert!(error.help().is_some());
    assert!(!ask::<bool>(&target, "select to_regclass('new') is not null").await);
}

#[tokio::test]
async fn line_ends_and_a_mark_are_no_edit() {
    let target = empty_database().await;
    let dir = folder(TWO);
    apply(&dir, &target).await.unwrap();
    for (name, text) in TWO {
        fs::write(dir.path().join(name), format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    }
    assert_eq!(apply(&dir, &target).await.unwrap().already, 2);
}

#[rstest]
#[case("create table _sqlx_migrations (version bigint primary key)", "migrated by sqlx")]
#[case("create schema app; create table app.__diesel_schema_migrations (version text)", "migrated by diesel")]
#[case("create table refinery_schema_history (version int)", "migrated by refinery")]
#[case("create table goose_db_version (id int)", "migrated by goose")]
#[case("create table flyway_schema_history (id int)", "migrated by flyway")]
#[case("create table alembic_version (id text)", "migrated by alembic")]
#[case("create table _prisma_migrations (id text)", "migrated by prisma")]
#[case("create table schema_migrations (version varchar primary key)", "migrated by dbmate")]
#[case("create table schema_migrations (version bigint, dirty boolean)", "migrated by golang-migrate")]
#[tokio::test]
async fn the_history_of_another_tool_is_refused(#[case] made: &str, #[case] expected: &str) {
    let target = empty_database().await;
    run(&target, made).await;
    let error = apply(&folder(TWO), &target).await.unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert!(error.help().unwrap().contains("command = "), "{error:?}");
    assert!(!ask::<bool>(&target, "select to_regclass('users') is not null").await);
}

#[tokio::test]
async fn a_table_of_other_use_is_no_history() {
    let target = empty_database().await;
    run(&target, "create table applied (id int)").await;
    let source = load(&folder(TWO));
    let error = Runner::new(&source).with_history("public.applied").apply(&target).await.unwrap_err();
    assert!(error.to_string().contains("`public.applied` of database"), "{error}");
    assert!(error.to_string().contains("is not a history of pgharness"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_runners_apply_each_migration_once() {
    for round in 0..20 {
        let target = empty_database().await;
        let dir = folder(&[
            ("0001_log.sql", "create table log (step int);"),
            ("0002_one.sql", "insert into log values (1);"),
            ("0003_two.sql", "-- no-transaction\ninsert into log values (2);\ninsert into log values (3);"),
        ]);
        let source = load(&dir);
        let runners: Vec<_> = (0..2)
            .map(|_| {
                let (source, target) = (source.clone(), target.clone());
                tokio::spawn(
                    async move { Runner::new(&source).with_lock_timeout(DEADLINE).apply(&target).await },
                )
            })
            .collect();
        let mut applied = 0;
        for runner in runners {
            let outcome = runner.await.unwrap().unwrap();
            assert_eq!(outcome.applied.len() + outcome.already, 3, "round {round}");
            applied += outcome.applied.len();
        }
        assert_eq!(applied, 3, "round {round}");
        assert_eq!(ask::<i64>(&target, "select count(*) from log").await, 3, "round {round}");
        assert_eq!(ask::<i64>(&target, LOCKS).await, 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_is_built_concurrently_while_another_runner_waits() {
    let target = empty_database().await;
    let dir = folder(&[
        ("0001_table.sql", "create table t as select n as id from generate_series(1, 20000) n;"),
        (
            "0002_wait.sql",
            "-- no-transaction\nselect pg_sleep(0.2);\ncreate index concurrently t_id on t (id);\nselect pg_sleep(0.2);",
        ),
        ("0003_index.sql", "-- no-transaction\ncreate index concurrently t_id2 on t (id);"),
    ]);
    let source = load(&dir);
    let runners: Vec<_> = (0..3)
        .map(|_| {
            let (source, target) = (source.clone(), target.clone());
            tokio::spawn(async move { Runner::new(&source).with_lock_timeout(DEADLINE).apply(&target).await })
        })
        .collect();
    for runner in runners {
        runner.await.unwrap().unwrap();
    }
    let valid =
        "select count(*) from pg_index where indisvalid and indexrelid::regclass::text in ('t_id', 't_id2')";
    assert_eq!(ask::<i64>(&target, valid).await, 2);
}

#[tokio::test]
async fn a_runner_that_waits_too_long_says_for_whom() {
    let target = empty_database().await;
    let dir = folder(TWO);
    let mut holder = PgConnection::connect_with(&target.clone().application_name("the other")).await.unwrap();
    holder.execute("select pg_advisory_lock(8099557222590080371)").await.unwrap();
    let pid: i32 = holder.fetch_one("select pg_backend_pid()").await.unwrap().get(0);
    let source = load(&dir);
    let runner = Runner::new(&source).with_lock_timeout(Duration::from_millis(50));
    let error = runner.apply(&target).await.unwrap_err();
    assert!(error.to_string().contains(&format!("pid {pid} (`the other`), connected since 20")), "{error}");
    holder.close().await.unwrap();
    assert_eq!(apply(&dir, &target).await.unwrap().applied.len(), 2);
}

#[tokio::test]
async fn a_dropped_run_gives_the_lock_back_at_once() {
    let target = empty_database().await;
    let dir = folder(&[("0001_slow.sql", "create table half (id int);\nselect pg_sleep(600);")]);
    let slow = start_slow(&dir, &target).await;
    assert_eq!(ask::<i64>(&target, LOCKS).await, 1);
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    wait_for(&target, "the lock to be free", LOCKS, 0).await;
    fs::write(dir.path().join("0001_slow.sql"), "create table half (id int);").unwrap();
    assert_eq!(apply(&dir, &target).await.unwrap().applied.len(), 1);
}

/// The sessions of the database in which a migration sleeps.
pub(crate) const ASLEEP: &str =
    "from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";

/// A run, when it has come to the migration that sleeps.
pub(crate) async fn start_slow(
    dir: &TempDir,
    target: &PgConnectOptions,
) -> tokio::task::JoinHandle<pgharness::Result<Applied>> {
    let (source, options) = (load(dir), target.clone());
    let slow = tokio::spawn(async move { Runner::new(&source).apply(&options).await });
    wait_for(target, "the migration to run", &format!("select count(*) {ASLEEP}"), 1).await;
    slow
}

pub(crate) async fn wait_for(target: &PgConnectOptions, what: &str, sql: &str, expected: i64) {
    wait::until_async(what, DEADLINE, async || {
        let found: i64 = ask(target, sql).await;
        Ok(if found == expected { Look::Ready(()) } else { Look::NotYet(found.to_string()) })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_lost_session_gives_the_lock_back() {
    let target = empty_database().await;
    let dir = folder(&[("0001_suicide.sql", "select pg_terminate_backend(pg_backend_pid());")]);
    apply(&dir, &target).await.unwrap_err();
    wait_for(&target, "the lock to be free", LOCKS, 0).await;
}

#[tokio::test]
async fn statements_without_a_transaction_stay_applied() {
    let target = empty_database().await;
    let text = "-- no-transaction\ncreate table t (id int);\ninsert into t values (1), (1);\n\
                create unique index concurrently t_id on t (id);\nselect 1;";
    let error = apply(&folder(&[("0001_apart.sql", text)]), &target).await.unwrap_err();
    let help = error.help().unwrap();
    assert!(help.contains("the first 2 of its 4 statements are applied and stay"), "{help}");
    assert!(help.contains("an INVALID index is left") && help.ends_with("t_id"), "{help}");
    assert!(error.to_string().contains("0001_apart.sql:4:1"), "{error}");
    assert_eq!(ask::<i64>(&target, "select count(*) from t").await, 2);
    assert_eq!(ask::<i64>(&target, "select count(*) from schema_migrations").await, 0);
}

#[tokio::test]
async fn a_transaction_left_open_is_refused() {
    let target = empty_database().await;
    let text = "-- no-transaction\nbegin;\ncreate table t (id int);";
    let error = apply(&folder(&[("0001_open.sql", text)]), &target).await.unwrap_err();
    assert!(error.to_string().contains("`0001_open.sql` leaves a transaction open"), "{error}");
    assert!(!ask::<bool>(&target, "select to_regclass('t') is not null").await);
}

#[tokio::test]
async fn a_transaction_around_the_file_is_taken_for_the_runners_own() {
    let target = empty_database().await;
    let dir = folder(&[("0001_own.sql", "begin;\ncreate table t (id int);\ncommit;")]);
    assert_eq!(apply(&dir, &target).await.unwrap().applied.len(), 1);
    fs::write(dir.path().join("0002_fails.sql"), "begin;\ncreate table u (id int);\nselect nosuch;\ncommit;")
        .unwrap();
    let error = apply(&dir, &target).await.unwrap_err();
    assert!(error.to_string().contains("0002_fails.sql:3:8"), "{error}");
    assert!(!ask::<bool>(&target, "select to_regclass('u') is not null").await);
}

#[tokio::test]
async fn a_commit_within_the_file_is_refused_before_it_runs() {
    let target = empty_database().await;
    let text = "create table t (id int);\ncommit;\ncreate table u (id int);";
    let error = apply(&folder(&[("0001_commit.sql", text)]), &target).await.unwrap_err();
    assert!(error.to_string().contains("begins or ends transactions of its own"), "{error}");
    assert!(error.to_string().contains("0001_commit.sql:2:1"), "{error}");
    assert!(!ask::<bool>(&target, "select to_regclass('t') is not null").await);
}

#[tokio::test]
async fn a_commit_that_hides_from_the_splitter_is_found_after_it_ran() {
    // With this setting a backslash escapes the quote, and the strings below end elsewhere.
    let target = empty_database().await.options([("standard_conforming_strings", "off")]);
    let text = "create table t (id int);\nselect 'a\\''; commit; select 'b\\'';";
    let error = apply(&folder(&[("0001_hidden.sql", text)]), &target).await.unwrap_err();
    assert!(error.to_string().contains("`0001_hidden.sql` ended the transaction that it ran in"), "{error}");
    assert_eq!(ask::<i64>(&target, "select count(*) from schema_migrations").await, 0);
    assert_eq!(ask::<i64>(&target, LOCKS).await, 0);
}

#[tokio::test]
async fn another_transaction_is_not_taken_for_the_runners_own() {
    let target = empty_database().await.options([("standard_conforming_strings", "off")]);
    let text =
        "create table t (id int);\nselect 'a\\''; commit; begin; select 'b\\'';\ncreate table u (id int);";
    let error = apply(&folder(&[("0001_hidden.sql", text)]), &target).await.unwrap_err();
    assert!(error.to_string().contains("`0001_hidden.sql` ended the transaction that it ran in"), "{error}");
    assert_eq!(ask::<String>(&target, "select concat(to_regclass('t'), to_regclass('u'))").await, "t");
    assert_eq!(ask::<i64>(&target, "select count(*) from schema_migrations").await, 0);
}

#[tokio::test]
async fn a_setting_does_not_reach_how_the_next_file_is_read() {
    let target = empty_database().await;
    let dir = folder(&[
        ("0001_old.sql", "set standard_conforming_strings = off;"),
        ("0002_new.sql", "create table paths (path text);\ninsert into paths values ('c:\\');"),
        ("0003_apart.sql", "-- no-transaction\nset standard_conforming_strings = off;\nselect 1;"),
        ("0004_new.sql", "insert into paths values ('d:\\');"),
    ]);
    apply(&dir, &target).await.unwrap();
    assert_eq!(ask::<String>(&target, "select string_agg(path, ' ') from paths").await, "c:\\ d:\\");
}

#[rstest]
// Whatever a file ends with, what the runner sends next stands apart from it.
#[case("create table t (id int) -- the end", None)]
#[case("create table t (id int); /* the end */", None)]
#[case("-- nothing", None)]
#[case("create table t (id int); select 'open", Some("0001_x.sql:1:33"))]
#[case("create table t (id int); /* open", Some("0001_x.sql:1:26"))]
#[tokio::test]
async fn the_end_of_a_file_is_its_own(#[case] text: &str, #[case] place: Option<&str>) {
    let target = empty_database().await;
    let outcome = apply(&folder(&[("0001_x.sql", text)]), &target).await;
    let recorded = ask::<i64>(&target, "select count(*) from schema_migrations").await;
    match (outcome, place) {
        (Ok(_), None) => assert_eq!(recorded, 1),
        (Err(error), Some(place)) => {
            assert!(error.to_string().contains(place), "{error}");
            assert!(!error.to_string().contains("commit"), "{error}");
            assert_eq!(recorded, 0);
        }
        (outcome, _) => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_migration_that_gives_up_the_lock_is_refused() {
    let target = empty_database().await;
    let text = "create table t (id int);\nselect pg_advisory_unlock_all();";
    let error = apply(&folder(&[("0001_unlock.sql", text)]), &target).await.unwrap_err();
    assert!(error.to_string().contains("`0001_unlock.sql` gave up the lock of the runner"), "{error}");
    assert!(!ask::<bool>(&target, "select to_regclass('t') is not null").await);
}

#[tokio::test]
async fn a_history_that_somebody_locks_is_no_hang() {
    let target = empty_database().await;
    let dir = folder(TWO);
    apply(&dir, &target).await.unwrap();
    let mut holder = PgConnection::connect_with(&target.clone().application_name("the other")).await.unwrap();
    holder.execute("begin; lock table schema_migrations").await.unwrap();
    let error = apply(&dir, &target).await.unwrap_err();
    assert!(error.to_string().contains("is locked by somebody else"), "{error}");
    assert!(error.help().unwrap().contains("(`the other`, AccessExclusiveLock)"), "{error:?}");
    holder.execute("rollback").await.unwrap();
    assert_eq!(apply(&dir, &target).await.unwrap().already, 2);
}

#[tokio::test]
async fn a_role_without_rights_is_told_so() {
    let target = empty_cluster().await;
    let role = "poor";
    run(&target, &format!("create role {role} login")).await;
    let error = apply(&folder(TWO), &target.clone().username(role)).await.unwrap_err();
    assert!(
        error.to_string().starts_with("may not create the history `public.schema_migrations`"),
        "{error}"
    );
    assert_eq!(ask::<i64>(&target, LOCKS).await, 0);
    run(&target, &format!("drop role {role}")).await;
}

#[tokio::test]
async fn plain_files_run_in_the_order_of_their_names() {
    let target = empty_database().await;
    let dir = folder(&[
        ("identity.up.sql", "create table tenants (id int primary key);"),
        ("workflow.up.sql", "create table jobs (tenant int references tenants);"),
    ]);
    let source = Migrations::load(dir.path(), Format::Auto).unwrap();
    let applied = Runner::new(&source).apply(&target).await.unwrap();
    assert_eq!(names(&applied), ["identity.up.sql", "workflow.up.sql"]);
    let history = Runner::new(&source).history(&target).await.unwrap();
    assert_eq!(history[1].version, "workflow");
}

#[tokio::test]
async fn a_command_gets_the_database() {
    let target = empty_database().await;
    let dir = folder(&[("schema.sql", "create table t (id int);")]);
    let psql = client_tool("psql");
    let psql = psql.display();
    let by_url = Migrations::command(format!("{psql} -qX \"$DATABASE_URL\" -f schema.sql"), dir.path());
    Runner::new(&by_url).apply(&target).await.unwrap();
    let by_variables = Migrations::command(format!("{psql} -qX -c 'insert into t values (1)'"), dir.path());
    Runner::new(&by_variables).apply(&target).await.unwrap();
    assert_eq!(ask::<i64>(&target, "select count(*) from t").await, 1);
    assert!(
        Runner::new(&by_url)
            .pending(&target)
            .await
            .unwrap_err()
            .to_string()
            .contains("keeps its own history")
    );
}

#[tokio::test]
async fn a_failing_command_shows_its_last_lines() {
    let target = empty_database().await.password("hunter2");
    let line = "echo before; echo \"cannot connect to $DATABASE_URL\" >&2; exit 7";
    let command = Migrations::command(line, std::env::temp_dir());
    let error = Runner::new(&command).apply(&target).await.unwrap_err();
    let text = error.report();
    assert!(text.contains("exit status: 7\n  | before\n  | cannot connect to postgresql:///"), "{text}");
    assert!(!text.contains("hunter2") && text.contains("password=***"), "{text}");
}

#[tokio::test]
async fn a_command_past_its_deadline_is_ended() {
    let target = empty_database().await;
    let command =
        Migrations::command("sleep 600", std::env::temp_dir()).with_deadline(Duration::from_millis(50));
    let error = Runner::new(&command).apply(&target).await.unwrap_err();
    assert!(error.to_string().contains("gave up after 50ms"), "{error}");
}
