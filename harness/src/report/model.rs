//! The report: what every check said, in an order that does not depend on which was first.

use crate::check::{Allowance, Silenced, UNUSED_ALLOWANCE, Verdict, apply};
use crate::error::Result;
use crate::finding::{Finding, Measurement, Outcome};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// What came of running one check.
#[derive(Debug)]
pub struct CheckRun {
    /// Its id.
    pub id: String,
    /// How long it took.
    pub millis: u64,
    /// What it said.
    pub verdict: Result<Verdict>,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Its id.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was skipped, or what was silenced.
    pub reason: Option<String>,
    /// How long it took.
    pub millis: u64,
    /// Whether it was skipped because something failed that is no part of the property. Such a check makes
    /// the report incomplete; one that lacks something does not.
    #[serde(skip)]
    pub is_broken: bool,
}

/// What a report comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// Nothing was found by those that looked.
    Clean,
    /// Something was found.
    Findings,
    /// Nothing was found, but a check broke, or none ran.
    Incomplete,
}

impl Conclusion {
    /// The exit code of the command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Conclusion::Clean => 0,
            Conclusion::Findings => 1,
            Conclusion::Incomplete => 3,
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Conclusion::Clean => "clean",
            Conclusion::Findings => "findings",
            Conclusion::Incomplete => "incomplete",
        })
    }
}

/// What every check said.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it comes to.
    pub outcome: Conclusion,
    /// The version of the server, where one was used.
    pub postgres: Option<String>,
    /// How each check ended, in the order of their ids.
    pub checks: Vec<CheckResult>,
    /// What was found, by check, then by severity, subject and message.
    pub findings: Vec<Finding>,
    /// What was found and is allowed, in the same order.
    pub allowed: Vec<Silenced>,
    /// What was measured, in the order of the names.
    pub measurements: Vec<Measurement>,
    /// How long the whole run took.
    pub millis: u64,
}

impl Report {
    /// Puts together what checks said, with `allowances` taken off.
    pub fn new(postgres: Option<String>, runs: Vec<CheckRun>, allowances: &[Allowance], millis: u64) -> Self {
        let mut checks = Vec::new();
        let mut found = Vec::new();
        let mut measurements = Vec::new();
        let mut ran = BTreeSet::new();
        for CheckRun { id, millis, verdict } in runs {
            let (outcome, reason, is_broken) = match verdict {
                Ok(Verdict::Ran { findings, measurements: more, remark }) => {
                    found.extend(findings);
                    measurements.extend(more);
                    ran.insert(id.clone());
                    // Which of the two it is shows when the allowances have been taken off.
                    (Outcome::Passed, remark, false)
                }
                Ok(Verdict::Skipped(reason)) => (Outcome::Skipped, Some(reason), false),
                Err(error) => (Outcome::Skipped, Some(format!("could not run: {}", error.report())), true),
            };
            checks.push(CheckResult { id, outcome, reason, millis, is_broken });
        }

        let applied = apply(allowances, found, &ran);
        let mut findings = applied.kept;
        findings.extend(applied.unused);
        findings.sort_by(|one, other| order(one).cmp(&order(other)));
        let mut allowed = applied.silenced;
        allowed.sort_by(|one, other| order(&one.finding).cmp(&order(&other.finding)));
        measurements.sort_by(|one, other| one.name.cmp(&other.name).then(one.value.total_cmp(&other.value)));

        // An allowance that is looked at is a check like the others; without any there is nothing to look at.
        if allowances.iter().any(|allowance| ran.contains(&allowance.check)) {
            checks.push(CheckResult {
                id: UNUSED_ALLOWANCE.into(),
                outcome: Outcome::Passed,
                reason: None,
                millis: 0,
                is_broken: false,
            });
        }
        checks.sort_by(|one, other| one.id.cmp(&other.id));
        for check in checks.iter_mut().filter(|check| check.outcome == Outcome::Passed) {
            let silenced = allowed.iter().filter(|silenced| silenced.finding.check == check.id).count();
            if findings.iter().any(|finding| finding.check == check.id) {
                check.outcome = Outcome::Failed;
            }
            let allowed = (silenced > 0).then(|| format!("{silenced} allowed"));
            check.reason = match (allowed, check.reason.take()) {
                (Some(allowed), Some(remark)) => Some(format!("{allowed}; {remark}")),
                (allowed, remark) => allowed.or(remark),
            };
        }

        let outcome = if !findings.is_empty() {
            Conclusion::Findings
        } else if ran.is_empty() || checks.iter().any(|check| check.is_broken) {
            Conclusion::Incomplete
        } else {
            Conclusion::Clean
        };
        Report { outcome, postgres, checks, findings, allowed, measurements, millis }
    }
}

/// What findings are ordered by. The transcripts come last: they only tell apart what reads the same.
fn order(finding: &Finding) -> impl Ord + '_ {
    let evidence: Vec<_> =
        finding.evidence.iter().map(|step| (&step.role, &step.sql, &step.result)).collect();
    (&finding.check, finding.severity, &finding.subject, &finding.message, &finding.help, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::finding::{Class, Evidence, Severity, Subject};
    use proptest::prelude::*;
    use rstest::rstest;

    fn finding(check: &str, severity: Severity, subject: &str, result: &str) -> Finding {
        Finding {
            check: check.into(),
            class: Class::Mistake,
            severity,
            subject: Subject::new("table", subject),
            message: String::new(),
            help: String::new(),
            evidence: vec![Evidence::step("", result)],
        }
    }

    fn run(id: &str, verdict: Result<Verdict>) -> CheckRun {
        CheckRun { id: id.into(), millis: 0, verdict }
    }

    fn found(id: &str) -> CheckRun {
        run(id, Ok(Verdict::of(vec![finding(id, Severity::Note, "x", "")])))
    }

    fn passed(id: &str) -> CheckRun {
        run(id, Ok(Verdict::of(vec![])))
    }

    fn skipped(id: &str) -> CheckRun {
        run(id, Ok(Verdict::skipped("needs a superuser")))
    }

    fn broken(id: &str) -> CheckRun {
        run(id, Err(Error::server("lost")))
    }

    fn allowed(check: &str) -> Vec<Allowance> {
        vec![Allowance { check: check.into(), subject: "*".into(), ..Allowance::default() }]
    }

    #[rstest]
    #[case::pass(vec![passed("a.a"), skipped("a.b")], &[], 0)]
    #[case::note(vec![passed("a.a"), found("a.b")], &[], 1)]
    #[case::allowed(vec![found("a.b")], &allowed("a.b"), 0)]
    #[case::unused_allowance(vec![passed("a.b")], &allowed("a.b"), 1)]
    #[case::allowance_of_a_check_that_did_not_run(vec![passed("a.a"), skipped("a.b")], &allowed("a.b"), 0)]
    #[case::broken(vec![passed("a.a"), broken("a.b")], &[], 3)]
    // What was found is true, whatever else broke.
    #[case::both(vec![found("a.a"), broken("a.b")], &[], 1)]
    #[case::nothing_looked(vec![skipped("a.a")], &[], 3)]
    #[case::nothing(vec![], &[], 3)]
    fn what_it_comes_to(
        #[case] runs: Vec<CheckRun>,
        #[case] allowances: &[Allowance],
        #[case] exit_code: u8,
    ) {
        assert_eq!(Report::new(None, runs, allowances, 0).outcome.exit_code(), exit_code);
    }

    #[test]
    fn a_check_whose_findings_are_all_allowed_passes_and_says_so() {
        let report = Report::new(None, vec![found("a.b")], &allowed("a.b"), 0);
        assert_eq!(report.checks[0].outcome, Outcome::Passed);
        assert_eq!(report.checks[0].reason.as_deref(), Some("1 allowed"));
        assert_eq!(report.allowed.len(), 1);
        assert_eq!(report.checks[1].id, UNUSED_ALLOWANCE);
        assert_eq!(report.checks[1].outcome, Outcome::Passed);
    }

    #[test]
    fn a_broken_check_is_skipped_with_its_error() {
        let report = Report::new(None, vec![broken("a.b")], &[], 0);
        assert_eq!(report.checks[0].outcome, Outcome::Skipped);
        assert_eq!(report.checks[0].reason.as_deref(), Some("could not run: lost"));
    }

    proptest! {
        #[test]
        fn the_order_of_running_does_not_show(order in Just((0..24_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let all: Vec<Finding> = (0..24_usize)
                .map(|n| {
                    let severity = [Severity::Error, Severity::Warning, Severity::Note][n % 3];
                    // Some differ in nothing but their evidence.
                    finding(&format!("a.{}", n % 2), severity, "x", &format!("{}", n / 6))
                })
                .collect();
            let report = |order: &[usize]| {
                let runs = order
                    .iter()
                    .map(|n| run(&all[*n].check, Ok(Verdict::of(vec![all[*n].clone()]))))
                    .collect();
                Report::new(None, runs, &[], 0)
            };
            prop_assert_eq!(report(&order), report(&(0..24).collect::<Vec<_>>()));
        }
    }
}
