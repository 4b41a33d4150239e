//! Looks at what comes out of the map.

use super::super::report::{Breach, ContractReport};
use super::super::seam::{Answer, ErrorMap};
use super::provocations::Expect;
use crate::finding::{Evidence, Severity};
use crate::runtime::Sqlstate;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Values that mean nothing and that nothing else is likely to contain.
pub(super) struct Canaries {
    text: String,
    number: String,
}

impl Canaries {
    pub(super) fn new() -> Self {
        let random = RandomState::new().hash_one(0u8);
        Canaries {
            text: format!("cnry{random:016x}"),
            // Ten digits that fit an int4.
            number: (1_000_000_000 + random % 1_000_000_000).to_string(),
        }
    }

    /// Puts them in the places of a provocation.
    pub(super) fn place(&self, sql: &str) -> String {
        sql.replace("{text}", &self.text).replace("{number}", &self.number)
    }

    fn are_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        text.contains(&self.text) || text.contains(&self.number)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// What came of a provocation: the driver's error, or why there is none.
pub(super) struct Provoked {
    pub(super) sql: String,
    pub(super) answer: Result<sqlx::Error, String>,
}

const NO_VALUE: &str = "errors.no-value";
const NO_SERVER_TEXT: &str = "errors.no-server-text";
const STATUS: &str = "errors.status";
const TOTAL: &str = "errors.total";

pub(super) struct Judge<'m> {
    map: &'m dyn ErrorMap,
    role: String,
    report: ContractReport,
}

impl<'m> Judge<'m> {
    pub(super) fn new(map: &'m dyn ErrorMap, role: &str) -> Self {
        Judge { map, role: role.to_owned(), report: ContractReport::default() }
    }

    /// Maps a provoked error, and looks at the answer.
    pub(super) fn judge(&mut self, code: &str, expect: Expect, provoked: Provoked, canaries: &Canaries) {
        let provoked_id = format!("errors.provoked.{code}");
        let error = match provoked.answer {
            Ok(error) => error,
            Err(reason) => return self.report.unknown(&provoked_id, reason),
        };
        match error.sqlstate() {
            Some(answered) if answered == code => self.report.held(&provoked_id),
            Some(other) => {
                return self.report.unknown(&provoked_id, format!("the server answers {other} instead"));
            }
            None => return self.report.unknown(&provoked_id, "the connection broke without an answer"),
        }
        let server_text = error.as_database_error().map(|answer| answer.message().to_owned());
        let (role, sql) = (self.role.clone(), provoked.sql);
        let transcript = |result: &str| vec![Evidence::as_role(&role, &sql, result)];
        let Ok(answer) = catch_unwind(AssertUnwindSafe(|| self.map.map(error))) else {
            let message = format!("mapping {code} panics");
            let help = "end the map in a fallback: PL/pgSQL can raise any code";
            let evidence = transcript("the map panics");
            return self.find(
                TOTAL,
                Severity::Error,
                code,
                Breach { message, help, evidence, subject: None },
            );
        };
        for (where_to, text) in [("client", &answer.body), ("log", &answer.log)] {
            if canaries.are_in(text) {
                let breach = Breach {
                    message: format!("with {code} an input value reaches the {where_to}"),
                    help: "show the code and the names of objects only: values are in DETAIL and, with 22P02 \
                           and others, in the primary message",
                    evidence: transcript(&format!("answered with {code}; the value is in the {where_to}")),
                    subject: None,
                };
                self.find(NO_VALUE, Severity::Error, code, breach);
            }
        }
        if server_text.is_some_and(|text| !text.is_empty() && answer.body.contains(&text)) {
            let breach = Breach {
                message: format!("with {code} the server's message reaches the client"),
                help: "write messages of your own: the server's name tables and columns",
                evidence: transcript(&format!("answered with {code}; its message is in the body")),
                subject: None,
            };
            self.find(NO_SERVER_TEXT, Severity::Warning, code, breach);
        }
        self.judge_status(code, expect, &answer, transcript(&format!("answered with {code}")));
    }

    fn judge_status(&mut self, code: &str, expect: Expect, answer: &Answer, evidence: Vec<Evidence>) {
        if expect.allows(answer.status) {
            return;
        }
        // An error reported as success loses data; another class of error misleads a retry.
        let severity = if answer.status < 400 { Severity::Error } else { Severity::Warning };
        let breach = Breach {
            message: format!("{code} becomes {}, where {} is expected", answer.status, expect.meaning()),
            help: "sort by SQLSTATE, with a fallback for each class and one for unknown codes",
            evidence,
            subject: None,
        };
        self.find(STATUS, severity, code, breach);
    }

    fn find(&mut self, property: &str, severity: Severity, code: &str, breach: Breach) {
        let subject = Some(format!("errors {code}"));
        self.report.find(property, severity, Breach { subject, ..breach });
    }

    pub(super) fn report(mut self) -> ContractReport {
        for property in [NO_VALUE, NO_SERVER_TEXT, STATUS, TOTAL] {
            self.report.conclude(property);
        }
        self.report
    }
}
