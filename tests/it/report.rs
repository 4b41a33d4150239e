//! What a report prints can be pasted.

use crate::support;
use pgharness::check::Verdict;
use pgharness::finding::{Class, Evidence, Finding, Severity, Subject};
use pgharness::process::Program;
use pgharness::report::{CheckRun, Colour, Report, text};
use std::fs;

/// The transcript in `text`, as somebody would mark it with the mouse.
fn transcript(text: &str) -> String {
    let start = text.find("    SET ROLE").unwrap_or_default();
    let (marked, _) = text[start..].rsplit_once("RESET ROLE;").unwrap_or_default();
    format!("{marked}RESET ROLE;\n")
}

#[tokio::test]
async fn a_transcript_runs_in_psql_and_shows_the_same_again() {
    let options = support::empty_cluster().await;
    let role = "Web app";
    let as_role = |sql: &str, result: &str| Evidence::as_role(role, sql, result);
    let evidence = vec![
        Evidence::as_role("postgres", format!("create role \"{role}\""), "CREATE ROLE"),
        Evidence::as_role("postgres", "create table t (a text); grant insert on t to public", "GRANT"),
        as_role("insert into t values ('one\ntwo') -- it's", "INSERT 0 1\ndrop table t"),
        Evidence::step("alembic upgrade head", "exit code 1\rdrop table t"),
        as_role("do $x$\nbegin\n  null;\nend $x$;", "DO"),
        as_role("\\echo now as :USER", ""),
        as_role("select 'seen by ' || current_user", ""),
        Evidence::as_role("postgres", "select 'md5 ' || md5(a)\nfrom t", ""),
    ];
    let finding = Finding {
        check: "a.b".into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("table", "t"),
        message: "m".into(),
        help: "h".into(),
        evidence,
    };
    let run = CheckRun { id: "a.b".into(), millis: 0, verdict: Ok(Verdict::of(vec![finding])) };
    let report = text(&Report::new(None, vec![run], &[], 0), Colour::Off);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pasted.sql");
    fs::write(&file, transcript(&report) + "select 'after as ' || current_user;\n").unwrap();
    let finished = Program::new(support::client_tool("psql"))
        .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
        .arg(options.get_socket().unwrap())
        .args(["-p", &options.get_port().to_string(), "-d", options.get_database().unwrap(), "-f"])
        .arg(&file)
        .run()
        .unwrap();
    let (stdout, complaint) = (finished.text(), finished.complaint());
    assert!(finished.status.success(), "{complaint}\n{report}");
    assert!(stdout.contains(&format!("seen by {role}\n")), "{stdout}");
    // Of `one`, a line end and `two`: what is quoted was not indented.
    assert!(stdout.contains("md5 76bb1822205fc52742565357a1027fec\n"), "{stdout}");
    assert!(stdout.ends_with("after as postgres"), "{stdout}");
}
