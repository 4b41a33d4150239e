//! The program as people run it: exit codes, what it prints, and that what it prints can be pasted.

use crate::checks::projects;
use crate::support::client_tool;
use pgharness::process::{Finished, Program};
use rstest::rstest;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A project of these files.
fn project(root: &Path, files: &[(&str, &str)]) -> PathBuf {
    let dir = root.join("project");
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn door(dir: &Path) -> Program {
    Program::new(env!("CARGO_BIN_EXE_door")).current_dir(dir)
}

fn run(dir: &Path, arguments: &[&str]) -> Finished {
    door(dir).args(arguments).run().unwrap()
}

fn code(finished: &Finished) -> i32 {
    finished.status.code().unwrap()
}

const USERS: &str = "create table users (id bigint primary key, email text not null);\n";

/// A mistake in its fourth line.
const BROKEN: &str = "-- Jobs wait in a queue.\ncreate table jobs (\n    id bigint primary key,\n    run_at timestampz not null\n);\n";

const CONFIG: &str =
    "[postgres]\nbootstrap = [\"../roles.sql\"]\n\n[migrations]\nmigrator_role = \"app_migrator\"\n";

#[test]
fn a_clean_project_passes() {
    let root = projects();
    let dir = project(root.path(), &[("migrations/0001_users.sql", USERS)]);
    let finished = run(&dir, &["check"]);
    let text = finished.text();
    assert_eq!(code(&finished), 0, "{text}{}", finished.complaint());
    assert!(text.contains("✓ clean-apply"), "{text}");
    assert!(text.contains("skipped: needs `snapshot.file`"), "{text}");
    assert!(text.ends_with("clean (exit code 0)"), "{text}");
    assert_eq!(finished.complaint(), "", "progress is for terminals");
}

#[test]
fn a_command_finds_psql_where_the_path_has_none() {
    // Fetched before, where it has to be: that wants programs of the user's `PATH`.
    client_tool("psql");
    let root = projects();
    let toml =
        "[migrations]\nformat = \"command\"\ncommand = \"psql -qX -f schema.sql \\\"$DATABASE_URL\\\"\"\n";
    let schema = "\\set ON_ERROR_STOP on\nbegin;\nselect pg_advisory_xact_lock(1);\ncreate table if not exists users ();\ncommit;\n";
    let dir = project(root.path(), &[("pgharness.toml", toml), ("schema.sql", schema), ("empty/none", "")]);
    let finished = door(&dir)
        .args(["check", "--only", "migration.clean-apply", "--only", "migration.concurrent"])
        .env("PATH", dir.join("empty"))
        .run()
        .unwrap();
    let text = finished.text();
    assert_eq!(code(&finished), 0, "{text}{}", finished.complaint());
    assert!(text.contains("✓ clean-apply") && text.contains("✓ concurrent"), "{text}");
}

#[test]
fn a_broken_migration_is_shown_with_file_line_statement_and_answer() {
    let root = projects();
    let dir = project(
        root.path(),
        &[
            ("pgharness.toml", CONFIG),
            ("migrations/0001_users.sql", USERS),
            ("migrations/0002_jobs.sql", BROKEN),
            ("queries/jobs.sql", "-- name: jobs\nselect 1;\n"),
        ],
    );
    let finished = run(&dir, &["verify"]);
    let text = finished.text();
    assert_eq!(code(&finished), 1, "{text}{}", finished.complaint());
    for part in [
        "error[migration.clean-apply] migration 0002_jobs.sql",
        "SET ROLE \"app_migrator\";\n    \\i migrations/0001_users.sql",
        "\\i migrations/0002_jobs.sql",
        "type \"timestampz\" does not exist (SQLSTATE 42704)",
        "0002_jobs.sql:4:",
        "run_at timestampz not null",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    // What it keeps from running is one thing, said once.
    let said = "the migrations cannot be applied: see `migration.clean-apply`";
    assert!(text.contains(said), "{text}");
    let lines =
        text.lines().filter(|line| line.starts_with("incomplete[drift.roundtrip, migration.")).count();
    assert_eq!(lines, 1, "{text}");
    assert!(text.contains("migration.concurrent") && text.contains("migration.rerun"), "{text}");
    assert!(text.contains("? queries"), "{text}");
}

#[test]
fn evidence_is_pasted_and_shows_the_same() {
    let root = projects();
    let dir = project(
        root.path(),
        &[
            ("pgharness.toml", CONFIG),
            ("migrations/0001_users.sql", USERS),
            ("migrations/0002_jobs.sql", BROKEN),
        ],
    );
    let text = run(&dir, &["check", "--only", "migration.clean-apply"]).text();
    let start = text.find("    SET ROLE").unwrap();
    let end = text.find("RESET ROLE;").unwrap();
    fs::write(dir.join("pasted.sql"), &text[start..end]).unwrap();
    let pasted = run(&dir, &["psql", "--bare", "--", "-X", "-v", "ON_ERROR_STOP=1", "-f", "pasted.sql"]);
    let answer = pasted.complaint();
    assert!(answer.contains("type \"timestampz\" does not exist"), "{answer}\n{}", pasted.text());
    assert_eq!(code(&pasted), 3, "that is psql's own");
    assert!(pasted.text().contains("CREATE TABLE"), "{}", pasted.text());
}

#[test]
fn the_report_for_machines_has_its_shape() {
    let root = projects();
    let dir = project(
        root.path(),
        &[("migrations/0001_users.sql", USERS), ("migrations/0002-jobs.sql", "select 1;\n")],
    );
    let finished =
        run(&dir, &["check", "--only", "migration.filename,migration.clean-apply", "--format", "json"]);
    assert_eq!(code(&finished), 1, "{}", finished.complaint());
    let report: Value = serde_json::from_str(&finished.text()).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["outcome"], "findings");
    let ended: Vec<(&str, &str)> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["id"].as_str().unwrap(), check["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(ended, [("migration.clean-apply", "skipped"), ("migration.filename", "failed")]);
    assert!(report["checks"][1]["millis"].is_u64());
    let finding = &report["findings"][0];
    assert_eq!(finding["check"], "migration.filename");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["subject"]["kind"], "migration");
    assert_eq!(finding["subject"]["name"], "0002-jobs.sql");
    assert_eq!(finding["evidence"][0]["sql"], "migrations/0002-jobs.sql");
    assert!(finding["evidence"][0]["role"].is_null());
    assert!(report["measurements"].is_array());
}

#[rstest]
#[case::unknown_check(&["check", "--only", "a.b"], &[], 2, "there is no check `a.b`")]
#[case::unknown_kept(&["psql", "pgh_c_0123456789abcdef_1"], &[], 2, "no database `pgh_c_0123456789abcdef_1` is kept")]
#[case::no_snapshot(&["drift", "--accept"], &[], 2, "`snapshot.file` names no file")]
#[case::no_postgres(
    &["check", "--only", "migration.clean-apply"],
    &[("PGHARNESS_INSTALLATION", "/nowhere")],
    3,
    "`/nowhere` is no Postgres installation"
)]
#[case::environment_wins(
    &["check", "--only", "migration.clean-apply", "--config", "version.toml"],
    &[("PGHARNESS_OFFLINE", "1"), ("PGHARNESS_VERSION", "98")],
    3,
    "98"
)]
#[case::file_says(
    &["check", "--only", "migration.clean-apply", "--config", "version.toml"],
    &[("PGHARNESS_OFFLINE", "1")],
    3,
    "99"
)]
fn exit_codes(
    #[case] arguments: &[&str],
    #[case] environment: &[(&str, &str)],
    #[case] expected: i32,
    #[case] part: &str,
) {
    let root = projects();
    let dir = project(
        root.path(),
        &[("migrations/0001_users.sql", USERS), ("version.toml", "[postgres]\nversion = \"99\"\n")],
    );
    // The environment would win over the file.
    let mut program = door(&dir).args(arguments).env("PGHARNESS_VERSION", "");
    for (name, value) in environment {
        program = program.env(name, value);
    }
    let finished = program.run().unwrap();
    let said = format!("{}{}", finished.text(), finished.complaint());
    assert_eq!(code(&finished), expected, "{said}");
    assert!(said.contains(part), "{said}");
}

#[test]
fn drift_is_accepted_and_found() {
    let root = projects();
    let dir = project(
        root.path(),
        &[
            ("pgharness.toml", "[snapshot]\nfile = \"schema.snapshot\"\n"),
            ("migrations/0001_users.sql", USERS),
        ],
    );
    let missing = run(&dir, &["drift"]).text();
    assert!(
        missing.contains("skipped: `schema.snapshot` is not there: `pgharness drift --accept` writes it"),
        "{missing}"
    );
    let accepted = run(&dir, &["drift", "--accept"]);
    assert_eq!((code(&accepted), accepted.text().as_str()), (0, "`schema.snapshot` written"));
    assert_eq!(code(&run(&dir, &["drift"])), 0);
    assert_eq!(run(&dir, &["drift", "--accept"]).text(), "`schema.snapshot` says so already");

    fs::write(dir.join("migrations/0002_email.sql"), "alter table users alter email drop not null;\n")
        .unwrap();
    let found = run(&dir, &["drift"]);
    let text = found.text();
    assert_eq!(code(&found), 1, "{text}");
    for part in ["error[drift.snapshot] column public.users.email", "\\d+ public.users", "-- nullable: yes"] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let accepted = run(&dir, &["drift", "--accept"]).text();
    assert_eq!(accepted, "~ column public.users.email: nullable no → yes\n`schema.snapshot` written");
}

#[test]
fn psql_opens_a_fresh_clone() {
    let root = projects();
    let dir = project(
        root.path(),
        &[
            ("pgharness.toml", "[fixtures]\nfiles = [\"seed.sql\"]\n"),
            ("migrations/0001_users.sql", USERS),
            ("seed.sql", "insert into users values (7, 'seven@example.com');\n"),
        ],
    );
    let finished = run(&dir, &["psql", "--", "-XAtc", "select id from users"]);
    assert_eq!((code(&finished), finished.text().as_str()), (0, "7"), "{}", finished.complaint());
    let finished = run(&dir, &["psql", "--bare", "--", "-XAtc", "select to_regclass('users') is null"]);
    assert_eq!(finished.text(), "t");
    let finished = door(&dir)
        .args(["psql", "--", "-XAtc", "select current_database()"])
        .env("PGHARNESS_KEEP", "always")
        .run()
        .unwrap();
    let kept = finished.text();
    assert!(finished.complaint().contains(&format!("kept database `{kept}`")), "{}", finished.complaint());
    let listed = run(&dir, &["psql", "--list"]).text();
    assert!(listed.contains(&kept), "{listed}");
    let again = run(&dir, &["psql", &kept, "--", "-XAtc", "select current_database(), id from users"]);
    assert_eq!(again.text(), format!("{kept}|7"));
    assert_eq!(code(&run(&dir, &["psql", &kept, "--", "-Xc", "drop table users"])), 0);
}

#[test]
fn verify_writes_its_report_for_machines_and_as_a_page_too() {
    let root = projects();
    let dir = project(root.path(), &[("migrations/0001_users.sql", USERS)]);
    let finished = run(&dir, &["verify", "--report", "out/report.json", "--report", "out/report.html"]);
    assert_eq!(code(&finished), 0, "{}{}", finished.text(), finished.complaint());
    let report: Value =
        serde_json::from_str(&fs::read_to_string(dir.join("out/report.json")).unwrap()).unwrap();
    let ids: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["id"].as_str().unwrap()).collect();
    for id in ["contract.errors", "contract.transaction", "load.queries", "migration.rerun"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    assert!(report["postgres"].is_string());
    let page = fs::read_to_string(dir.join("out/report.html")).unwrap();
    assert!(page.contains("<title>pgharness: clean</title>") && page.contains("<td>rerun<td"), "{page}");
}
