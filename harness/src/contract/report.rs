//! What a contract says: each property by name, and a finding for each that is broken.

use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use std::fmt;

/// How a property came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Held,
    /// It is broken; a finding shows how.
    Broken,
    /// It could not be shown either way, for this reason: never a silent pass.
    Unknown(String),
}

/// One property of the code under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its id: `transaction.panic-rolls-back`.
    pub name: String,
    /// How it came out.
    pub verdict: Verdict,
}

/// All properties of a contract, in the order in which they were shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContractReport {
    /// The properties.
    pub properties: Vec<Property>,
    /// What is broken.
    pub findings: Vec<Finding>,
}

impl ContractReport {
    /// Whether every property holds.
    pub fn is_clean(&self) -> bool {
        self.properties.iter().all(|property| property.verdict == Verdict::Held)
    }

    /// How the property `name` came out, if it is one of this contract.
    pub fn verdict(&self, name: &str) -> Option<&Verdict> {
        Some(&self.properties.iter().find(|property| property.name == name)?.verdict)
    }

    /// The test sugar: nothing if every property holds.
    ///
    /// # Panics
    /// A property is broken or could not be shown; the message is the whole report.
    #[track_caller]
    #[expect(clippy::panic, reason = "the documented test sugar")]
    pub fn assert_clean(&self) {
        if !self.is_clean() {
            panic!("{self}");
        }
    }

    pub(super) fn held(&mut self, name: &str) {
        self.push(name, Verdict::Held);
    }

    pub(super) fn unknown(&mut self, name: &str, reason: impl Into<String>) {
        self.push(name, Verdict::Unknown(reason.into()));
    }

    pub(super) fn broken(&mut self, name: &str, severity: Severity, breach: Breach) {
        self.push(name, Verdict::Broken);
        self.find(name, severity, breach);
    }

    /// Adds a finding; the property's verdict is said apart.
    pub(super) fn find(&mut self, name: &str, severity: Severity, breach: Breach) {
        let family = name.split_once('.').map_or(name, |(family, _)| family);
        self.findings.push(Finding {
            check: name.to_owned(),
            class: Class::Mistake,
            severity,
            subject: Subject::new("contract", breach.subject.unwrap_or_else(|| family.to_owned())),
            message: breach.message,
            help: breach.help.to_owned(),
            evidence: breach.evidence,
        });
    }

    /// Says the verdict of a property whose findings were added one by one.
    pub(super) fn conclude(&mut self, name: &str) {
        let broken = self.findings.iter().any(|finding| finding.check == name);
        self.push(name, if broken { Verdict::Broken } else { Verdict::Held });
    }

    fn push(&mut self, name: &str, verdict: Verdict) {
        self.properties.push(Property { name: name.to_owned(), verdict });
    }
}

/// How a property is broken.
#[derive(Debug, Default)]
pub(super) struct Breach {
    /// What within the contract it is about, where that is not the whole.
    pub(super) subject: Option<String>,
    pub(super) message: String,
    pub(super) help: &'static str,
    pub(super) evidence: Vec<Evidence>,
}

impl fmt::Display for ContractReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.properties.iter().filter(|property| property.verdict == Verdict::Held).count();
        write!(f, "{held} of {} properties hold", self.properties.len())?;
        for property in &self.properties {
            if let Verdict::Unknown(reason) = &property.verdict {
                write!(f, "\n  {} could not be shown: {reason}", property.name)?;
            }
        }
        for finding in &self.findings {
            write!(f, "\n  {} {}: {}", finding.severity, finding.check, finding.message)?;
            for step in &finding.evidence {
                write!(f, "\n    {} -- {}", step.sql.replace('\n', " "), step.result)?;
            }
            write!(f, "\n    help: {}", finding.help)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_shown_is_not_clean() {
        let mut report = ContractReport::default();
        report.held("transaction.commit-visible");
        assert!(report.is_clean());
        report.unknown("transaction.write-skew", "needs two connections");
        assert!(!report.is_clean());
        assert_eq!(
            report.to_string(),
            "1 of 2 properties hold\n  transaction.write-skew could not be shown: needs two connections"
        );
    }
}
