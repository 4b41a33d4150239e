//! Findings that a project has accepted, each with its reason.

use super::Explanation;
use super::nearest::quoted;
use super::pattern::matches;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The id of the finding that an allowance silences nothing.
pub const UNUSED_ALLOWANCE: &str = "suite.unused-allowance";

/// What `pgharness explain suite.unused-allowance` prints.
pub const UNUSED_ALLOWANCE_EXPLANATION: Explanation = Explanation {
    proves: "Every `[[allow]]` of `pgharness.toml` whose check ran has silenced at least one finding. Of an \
             allowance whose check was skipped or not selected nothing is said.",
    matters: "An allowance outlives what it was written for: the table is renamed, the leak is mended. From then \
              on it waits to silence the next finding of that name, which nobody has looked at.",
    remedy: "Remove the allowance. Where the object was renamed and the finding is still there, mend the subject.",
};

/// How many subjects the evidence of an unused allowance lists.
const SUBJECTS_MAX: usize = 5;

/// A finding that a project has accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// The check whose finding it is.
    pub check: String,
    /// The name of the object, with `*` for any characters.
    pub subject: String,
    /// Why it is accepted.
    pub reason: String,
    /// Where it stands: "`pgharness.toml` line 12".
    #[serde(skip)]
    pub place: String,
}

impl Allowance {
    fn covers(&self, finding: &Finding) -> bool {
        self.check == finding.check && matches(&self.subject, &finding.subject.name)
    }
}

/// A finding that was silenced, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silenced {
    /// The finding.
    pub finding: Finding,
    /// The reason that its allowance gives.
    pub reason: String,
}

/// What allowances leave of findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Those that nothing silences.
    pub kept: Vec<Finding>,
    /// Those that are silenced.
    pub silenced: Vec<Silenced>,
    /// One finding for each allowance that silenced nothing.
    pub unused: Vec<Finding>,
}

/// Silences `findings`. `ran` are the checks that looked: of the others nobody knows whether their allowances
/// are still needed.
pub fn apply(allowances: &[Allowance], findings: Vec<Finding>, ran: &BTreeSet<String>) -> Applied {
    let mut applied = Applied::default();
    for allowance in allowances {
        let is_used = findings.iter().any(|finding| allowance.covers(finding));
        if ran.contains(&allowance.check) && !is_used {
            applied.unused.push(unused(allowance, &findings));
        }
    }
    for finding in findings {
        match allowances.iter().find(|allowance| allowance.covers(&finding)) {
            Some(allowance) => {
                applied.silenced.push(Silenced { finding, reason: allowance.reason.clone() });
            }
            None => applied.kept.push(finding),
        }
    }
    applied
}

fn unused(allowance: &Allowance, findings: &[Finding]) -> Finding {
    let Allowance { check, subject, place, .. } = allowance;
    let subjects: BTreeSet<&str> = findings
        .iter()
        .filter(|finding| finding.check == *check)
        .map(|finding| finding.subject.name.as_str())
        .collect();
    let result = if subjects.is_empty() {
        format!("`{check}` ran and found nothing")
    } else {
        let more = if subjects.len() > SUBJECTS_MAX { ", …" } else { "" };
        format!("`{check}` ran and found {}{more}", quoted(subjects.iter().take(SUBJECTS_MAX)))
    };
    Finding {
        check: UNUSED_ALLOWANCE.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("allowance", format!("{check} on {subject}")),
        message: format!("the allowance of `{check}` on `{subject}` silences nothing"),
        help: format!("remove it from {place}, or mend its subject"),
        evidence: vec![Evidence::step(place.clone(), result)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn finding(check: &str, subject: &str) -> Finding {
        Finding {
            check: check.into(),
            class: Class::Mistake,
            severity: Severity::Error,
            subject: Subject::new("table", subject),
            message: String::new(),
            help: String::new(),
            evidence: vec![],
        }
    }

    fn allowance(check: &str, subject: &str) -> Allowance {
        let place = "`pgharness.toml` line 7".into();
        Allowance { check: check.into(), subject: subject.into(), reason: "so be it".into(), place }
    }

    #[rstest]
    #[case("a.one", "public.x", &[], &["public.x"], &[])]
    #[case("a.one", "public.*", &[], &["public.x"], &[])]
    // Another object, another check: nothing is silenced, and that is said.
    #[case("a.one", "public.y", &["public.x"], &[], &["`a.one` ran and found `public.x`"])]
    #[case("a.two", "public.x", &["public.x"], &[], &["`a.two` ran and found nothing"])]
    // Did not run: no verdict on its allowance.
    #[case("a.three", "public.x", &["public.x"], &[], &[])]
    fn an_allowance_silences_what_it_names(
        #[case] check: &str,
        #[case] subject: &str,
        #[case] kept: &[&str],
        #[case] silenced: &[&str],
        #[case] unused: &[&str],
    ) {
        let ran = ["a.one", "a.two"].map(String::from).into();
        let applied = apply(&[allowance(check, subject)], vec![finding("a.one", "public.x")], &ran);
        let names = |findings: &[Finding]| -> Vec<String> {
            findings.iter().map(|finding| finding.subject.name.clone()).collect()
        };
        assert_eq!(names(&applied.kept), kept);
        let hidden: Vec<Finding> = applied.silenced.iter().map(|silenced| silenced.finding.clone()).collect();
        assert_eq!(names(&hidden), silenced);
        assert!(applied.silenced.iter().all(|silenced| silenced.reason == "so be it"));
        let seen: Vec<&str> =
            applied.unused.iter().map(|finding| finding.evidence[0].result.as_str()).collect();
        assert_eq!(seen, unused);
    }

    #[test]
    fn an_unused_allowance_is_a_warning_that_says_where_it_stands() {
        let ran = ["a.one".to_owned()].into();
        let unused = apply(&[allowance("a.one", "public.x")], vec![], &ran).unused;
        assert_eq!(unused.len(), 1);
        assert_eq!(unused[0].check, UNUSED_ALLOWANCE);
        assert_eq!(unused[0].severity, Severity::Warning);
        assert_eq!(unused[0].message, "the allowance of `a.one` on `public.x` silences nothing");
        assert_eq!(unused[0].help, "remove it from `pgharness.toml` line 7, or mend its subject");
    }
}
