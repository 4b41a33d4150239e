//! What a release may count on: the checks that compare with the one before, and what writes down what that was.

use crate::checks::{projects, run};
use pgharness::process::{Finished, Program};
use pgharness::report::Report;
use pgharness::server::PgBouncer;
use pgharness::suite::Config;
use std::fs;
use std::path::{Path, PathBuf};

const USERS: &str = "create table users (id bigint primary key);\n";
const JOBS: &str = "create table jobs (id bigint primary key, state text);\n";

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Runs git in `dir`, whoever the user is and whatever is configured.
fn git(dir: &Path, arguments: &[&str]) {
    let own = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
    let finished = Program::new("git").args(own).args(arguments).current_dir(dir).run().unwrap();
    assert!(finished.status.success(), "{arguments:?}: {}", finished.complaint());
}

/// A repository within `root` whose revision `v1` has `files`; the project lies in its folder `app`.
fn repository(root: &Path, files: &[(&str, &str)]) -> PathBuf {
    let dir = root.join("app");
    write(&dir, files);
    for arguments in
        [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "-m", "1"], &["tag", "v1"]]
    {
        git(root, arguments);
    }
    dir
}

fn pgharness(dir: &Path, arguments: &[&str]) -> Finished {
    Program::new(env!("CARGO_BIN_EXE_door")).args(arguments).current_dir(dir).run().unwrap()
}

fn brief(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.severity, finding.message)).collect()
}

async fn looked(dir: &Path, id: &str) -> Report {
    run(&Config::load(&dir.join("pgharness.toml")).unwrap(), id).await
}

#[tokio::test]
async fn what_a_revision_has_stays_as_it_is() {
    let root = projects();
    let since = ("pgharness.toml", "[migrations]\nsince = \"v1\"\n");
    let dir = repository(
        root.path(),
        &[
            since,
            ("migrations/1_users.sql", USERS),
            ("migrations/2_jobs.sql", JOBS),
            ("migrations/4_c.sql", "select 1;\n"),
        ],
    );
    assert_eq!(brief(&looked(&dir, "migration.immutable").await), [""; 0]);

    write(&dir, &[("migrations/2_jobs.sql", "create table jobs (id bigint primary key);\n")]);
    write(&dir, &[("migrations/3_late.sql", "select 2;\n")]);
    fs::remove_file(dir.join("migrations/1_users.sql")).unwrap();
    let report = looked(&dir, "migration.immutable").await;
    assert_eq!(
        brief(&report),
        [
            "error `1_users.sql` of revision `v1` is gone",
            "error `2_jobs.sql` was edited: revision `v1` has another checksum",
            "warning `3_late.sql` stands before `4_c.sql` of revision `v1`, and is applied late where that one is applied",
        ]
    );
    let shown = &report.findings[1].evidence[0];
    assert_eq!(shown.sql, "git diff v1 -- app/migrations/2_jobs.sql");
    assert!(
        shown.result.contains("\n-create table jobs (id bigint primary key, state text);\n+create"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn a_revision_that_is_not_there_is_named() {
    let root = projects();
    let since = ("pgharness.toml", "[migrations]\nsince = \"v2\"\n");
    let dir = repository(root.path(), &[since, ("migrations/1_users.sql", USERS)]);
    let report = looked(&dir, "migration.immutable").await;
    let reason = report.checks[0].reason.as_deref().unwrap_or_default();
    assert!(reason.contains("there is no revision `v2` in "), "{report:#?}");
    // What looks like an option is none.
    write(&dir, &[("pgharness.toml", "[migrations]\nsince = \"--help\"\n")]);
    let report = looked(&dir, "migration.immutable").await;
    let reason = report.checks[0].reason.as_deref().unwrap_or_default();
    assert!(reason.contains("there is no revision `--help` in "), "{report:#?}");
}

#[test]
fn migrations_are_locked_and_stay_so() {
    let root = projects();
    let dir = root.path().join("app");
    let lock = ("pgharness.toml", "[migrations]\nlock = \"migrations.lock\"\n");
    write(&dir, &[lock, ("migrations/1_users.sql", USERS)]);
    let check = || pgharness(&dir, &["check", "--only", "migration.immutable"]);
    let skipped = check().text();
    assert!(skipped.contains("`migrations.lock` is not there: `pgharness lock` writes it"), "{skipped}");

    assert_eq!(pgharness(&dir, &["lock"]).text(), "+ 1_users.sql\n`migrations.lock` written");
    let first = fs::read_to_string(dir.join("migrations.lock")).unwrap();
    write(&dir, &[("migrations/2_jobs.sql", JOBS)]);
    assert_eq!(check().status.code(), Some(0));
    assert_eq!(pgharness(&dir, &["lock"]).text(), "+ 2_jobs.sql\n`migrations.lock` written");
    let second = fs::read_to_string(dir.join("migrations.lock")).unwrap();
    assert!(second.starts_with(&first) && second.lines().count() == 3, "{second}");
    assert_eq!(pgharness(&dir, &["lock"]).text(), "`migrations.lock` has all of them");

    write(&dir, &[("migrations/1_users.sql", JOBS)]);
    assert_eq!(check().status.code(), Some(1));
    let refused = pgharness(&dir, &["lock"]);
    let said = refused.complaint();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("would lose what it says of `1_users.sql`") && said.contains("--force"), "{said}");
    assert_eq!(fs::read_to_string(dir.join("migrations.lock")).unwrap(), second);
    assert_eq!(pgharness(&dir, &["lock", "--force"]).text(), "! 1_users.sql\n`migrations.lock` written");
    assert_eq!(check().status.code(), Some(0));
}

#[tokio::test]
async fn a_lock_that_stays_behind_in_a_pooler_is_found() {
    if !PgBouncer::is_installed() {
        assert!(!pgharness::env::is_required("pgbouncer"), "there is no PgBouncer");
        return;
    }
    let root = projects();
    let dir = root.path().join("app");
    let script = "psql -qXAt -v ON_ERROR_STOP=1 -c 'select pg_advisory_lock(7)' \
                  -c 'create table if not exists applied (n int)' -f migrations/1_users.sql \
                  -c 'select pg_advisory_unlock(7)'";
    let toml = format!("[migrations]\ncommand = \"{script}\"\n");
    let users = "create table if not exists users (id bigint primary key);\n";
    write(&dir, &[("pgharness.toml", toml.as_str()), ("migrations/1_users.sql", users)]);
    let report = looked(&dir, "migration.lock-released").await;
    assert_eq!(
        brief(&report),
        ["warning the migrator leaves an advisory lock behind when it fails through a transaction pooler"],
        "{:#?}",
        report.checks
    );
    let held = &report.findings[0].evidence[1].result;
    assert!(held.contains("advisory lock (0, 7) of pid") && held.contains("which is idle"), "{held}");
}

#[tokio::test]
async fn a_file_that_keeps_a_lock_is_found_through_a_pooler() {
    if !PgBouncer::is_installed() {
        assert!(!pgharness::env::is_required("pgbouncer"), "there is no PgBouncer");
        return;
    }
    let root = projects();
    let dir = root.path().join("app");
    let users = format!("{USERS}select pg_advisory_lock(8);\n");
    write(
        &dir,
        &[("pgharness.toml", ""), ("migrations/1_users.sql", &users), ("migrations/2_jobs.sql", JOBS)],
    );
    let report = looked(&dir, "migration.lock-released").await;
    assert_eq!(
        brief(&report),
        ["warning the built-in runner leaves an advisory lock behind through a transaction pooler"],
        "{:#?}",
        report.checks
    );
}

#[tokio::test]
async fn the_statements_of_a_revision_are_held_against_what_came_since() {
    let root = projects();
    let users = "create table users (id bigint primary key, name text not null);\n";
    let recorded = r#"{"db_name": "PostgreSQL", "query": "select name from users where id = $1"}"#;
    let dir = repository(
        root.path(),
        &[
            ("pgharness.toml", "[migrations]\nsince = \"v1\"\n"),
            ("migrations/1_users.sql", users),
            ("queries/users.sql", "-- name: all_users\nselect * from users\n"),
            (".sqlx/query-1.json", recorded),
        ],
    );
    // What this release sends is not what the one before does.
    fs::remove_dir_all(dir.join("queries")).unwrap();
    fs::remove_dir_all(dir.join(".sqlx")).unwrap();
    let skipped = looked(&dir, "migration.old-release").await;
    let reason = skipped.checks[0].reason.as_deref();
    assert_eq!(reason, Some("there is no migration that the release before this one does not know"));

    let tagged = "-- pgharness:phase contract\nalter table users drop name;\n";
    write(
        &dir,
        &[
            ("migrations/2_email.sql", "alter table users add email text;\n"),
            ("migrations/3_name.sql", tagged),
        ],
    );
    let report = looked(&dir, "migration.old-release").await;
    assert_eq!(
        brief(&report),
        [
            "warning after `2_email.sql`, `queries/users.sql: all_users` gives more columns: who has it prepared \
             gets an error once",
            "note after `3_name.sql`, `.sqlx/query-1.json` cannot be prepared any more",
            "note after `3_name.sql`, `public.users` refuses a row that it took before",
            "note after `3_name.sql`, `queries/users.sql: all_users` gives something else",
        ],
        "{:#?}",
        report.checks
    );
}
