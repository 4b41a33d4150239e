//! What people and machines read, from reports made by hand.

use super::*;
use crate::check::{Allowance, Verdict};
use crate::error::{Error, ErrorKind};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};

fn ran(id: &str, millis: u64, findings: Vec<Finding>) -> CheckRun {
    CheckRun { id: id.into(), millis, verdict: Ok(Verdict::of(findings)) }
}

fn finding(check: &str, severity: Severity, kind: &str, name: &str, message: &str, help: &str) -> Finding {
    Finding {
        check: check.into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new(kind, name),
        message: message.into(),
        help: help.into(),
        evidence: vec![],
    }
}

fn leak() -> Finding {
    Finding {
        evidence: vec![
            Evidence::as_role("postgres", "insert into identity.tenants values ('a'), ('b')", "INSERT 0 2"),
            Evidence::as_role("web_app", "select set_config('app.tenant_id', 'a', false);", ""),
            Evidence::as_role(
                "web_app",
                "select count(*)\nfrom identity.tenants\nwhere id <> current_setting('app.tenant_id')",
                "1, where row-level security leaves 0",
            ),
        ],
        ..finding(
            "tenancy.cross-read",
            Severity::Error,
            "table",
            "identity.tenants",
            "`web_app`, as tenant `a`, reads a row of tenant `b`: the policy `tenants_read` lets every row pass, since it compares the column with itself",
            "compare the column with the setting: `using (id = current_setting('app.tenant_id'))`",
        )
    }
}

fn measured(name: &str, value: f64, unit: &str) -> Measurement {
    Measurement { name: name.into(), value, unit: unit.into() }
}

fn whole() -> Report {
    let allowances =
        [("operations.capacity", "*"), ("tenancy.sequence", "audit.gone_seq")].map(|(check, subject)| {
            Allowance {
                check: check.into(),
                subject: subject.into(),
                reason: "the pooler holds them back".into(),
                place: "`pgharness.toml` line 31".into(),
            }
        });
    let capacity =
        finding("operations.capacity", Severity::Error, "role", "web_app", "pools hold 300 of 200", "fewer");
    let sequence = |name| {
        finding(
            "tenancy.sequence",
            Severity::Warning,
            "sequence",
            name,
            "its values tell how busy others are",
            "",
        )
    };
    let lost = Error::new(ErrorKind::Database, "failed to migrate `t_1`")
        .with_source(std::io::Error::other("connection reset by peer"));
    let runs = vec![
        ran("tenancy.sequence", 3, vec![sequence("b.z_seq"), sequence("b.a_seq")]),
        ran("tenancy.cross-read", 1_234, vec![leak()]),
        CheckRun { id: "tenancy.stale-plan".into(), millis: 7, verdict: Err(lost) },
        CheckRun {
            id: "tenancy.schema-role".into(),
            millis: 0,
            verdict: Ok(Verdict::skipped("needs `tenancy.model = \"schema\"`")),
        },
        ran("operations.capacity", 2, vec![capacity]),
        CheckRun {
            id: "access.append-only".into(),
            millis: 41,
            verdict: Ok(Verdict::of(vec![]).with_measurements([
                measured("load.list_executions.p99", 12.3456, "ms"),
                measured("load.list_executions.p50", 1.2, "ms"),
                measured("load.get.p50", 0.4, "ms"),
                measured("blocks.list_executions", 40.0, "blocks"),
            ])),
        },
    ];
    Report::new(Some("15.18".into()), runs, &allowances, 1_402)
}

const WHOLE: &str = r#"access
  ✓ append-only        41 ms

operations
  ✓ capacity            2 ms  1 allowed

suite
  ! unused-allowance    0 ms  1 warning

tenancy
  ✗ cross-read        1.23 s  1 error
  ○ schema-role               skipped: needs `tenancy.model = "schema"`
  ! sequence            3 ms  2 warnings
  ? stale-plan                could not run: failed to migrate `t_1`

incomplete[tenancy.stale-plan]
  could not run: failed to migrate `t_1`
    caused by: connection reset by peer

warning[suite.unused-allowance] allowance tenancy.sequence on audit.gone_seq
  the allowance of `tenancy.sequence` on `audit.gone_seq` silences nothing

    -- `pgharness.toml` line 31
    --   `tenancy.sequence` ran and found `b.a_seq`, `b.z_seq`

  help: remove it from `pgharness.toml` line 31, or mend its subject

error[tenancy.cross-read] table identity.tenants
  `web_app`, as tenant `a`, reads a row of tenant `b`: the policy `tenants_read` lets every row
  pass, since it compares the column with itself

    SET ROLE "postgres";
    insert into identity.tenants values ('a'), ('b');
    -- INSERT 0 2
    SET ROLE "web_app";
    select set_config('app.tenant_id', 'a', false);
    select count(*)
    from identity.tenants
    where id <> current_setting('app.tenant_id');
    -- 1, where row-level security leaves 0
    RESET ROLE;

  help: compare the column with the setting: `using (id = current_setting('app.tenant_id'))`

warning[tenancy.sequence] sequence b.a_seq
  its values tell how busy others are

warning[tenancy.sequence] sequence b.z_seq
  its values tell how busy others are

allowed
  operations.capacity  role web_app  the pooler holds them back

load               p50 ms  p99 ms
  get               0.400
  list_executions    1.20    12.3

measured                  value
  blocks.list_executions     40  blocks

7 checks: 2 passed, 3 failed, 1 skipped, 1 could not run (1.40 s on Postgres 15.18)
findings: 1 error, 3 warnings, 1 allowed (exit code 1)
`pgharness explain tenancy.cross-read` says what a check proves, and why
"#;

#[test]
fn text_for_people() {
    let seen = text(&whole(), Colour::Off);
    assert_eq!(seen, WHOLE, "\n{seen}");
}

#[test]
fn a_clean_report_is_short() {
    let report = Report::new(None, vec![ran("access.matrix", 5, vec![])], &[], 6);
    assert_eq!(
        text(&report, Colour::Off),
        "access\n  ✓ matrix  5 ms\n\n1 check: 1 passed (6 ms)\nclean (exit code 0)\n"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = text(&whole(), Colour::On);
    assert!(coloured.contains("\u{1b}[1m\u{1b}[31merror[tenancy.cross-read]\u{1b}[0m"), "{coloured:?}");
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    let trimmed: String = plain.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    assert_eq!(trimmed, WHOLE);
}

#[test]
fn a_name_cannot_command_the_terminal() {
    let evil = finding("a.b", Severity::Note, "table", "x\u{1b}[2J", "see \u{7}", "");
    let text = text(&Report::new(None, vec![ran("a.b", 0, vec![evil])], &[], 0), Colour::Off);
    assert!(text.contains("note[a.b] table x\\u{1b}[2J\n  see \\u{7}\n"), "{text}");
}

#[test]
fn what_is_nobodys_mistake_says_so() {
    let known =
        Finding { class: Class::TrustBoundary, ..finding("a.b", Severity::Note, "role", "x", "m", "") };
    let text = text(&Report::new(None, vec![ran("a.b", 0, vec![known])], &[], 0), Colour::Off);
    assert!(text.contains("note[a.b] role x (trust boundary)\n  m\n"), "{text}");
}

#[test]
fn json_for_machines() {
    let expected = serde_json::json!({
        "version": 1,
        "outcome": "findings",
        "postgres": "15.18",
        "checks": [
            {"id": "a.b", "outcome": "failed", "reason": null, "millis": 4},
            {"id": "a.c", "outcome": "skipped", "reason": "needs a superuser", "millis": 0},
            {"id": "a.d", "outcome": "passed", "reason": null, "millis": 5},
        ],
        "findings": [{
            "check": "a.b",
            "class": "mistake",
            "severity": "warning",
            "subject": {"kind": "table", "name": "public.x"},
            "message": "m",
            "help": "h",
            "evidence": [
                {"role": "web_app", "sql": "select 1", "result": "1"},
                {"role": null, "sql": "alembic check", "result": "exit code 1"},
            ],
        }],
        "measurements": [{"name": "blocks.x", "value": 40.0, "unit": "blocks"}],
    });
    let mut found = finding("a.b", Severity::Warning, "table", "public.x", "m", "h");
    found.evidence =
        vec![Evidence::as_role("web_app", "select 1", "1"), Evidence::step("alembic check", "exit code 1")];
    let measured = Verdict::of(vec![]).with_measurements([measured("blocks.x", 40.0, "blocks")]);
    let skipped = Ok(Verdict::skipped("needs a superuser"));
    let runs = vec![
        CheckRun { id: "a.d".into(), millis: 5, verdict: Ok(measured) },
        CheckRun { id: "a.c".into(), millis: 0, verdict: skipped },
        ran("a.b", 4, vec![found]),
    ];
    let text = json(&Report::new(Some("15.18".into()), runs, &[], 9)).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
    // The keys come in the order of the format.
    let at = |key: &str| text.find(&format!("\n  \"{key}\"")).unwrap();
    let order = ["version", "outcome", "postgres", "checks", "findings", "measurements"].map(at);
    assert!(order.is_sorted(), "{text}");
}
