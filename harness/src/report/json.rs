//! The report for machines: version 1, frozen. Fields may be added, none is renamed or removed.

use super::model::{CheckResult, Conclusion, Report};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Finding, Measurement};
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    version: u8,
    outcome: Conclusion,
    postgres: Option<&'a str>,
    checks: &'a [CheckResult],
    findings: &'a [Finding],
    measurements: &'a [Measurement],
}

/// `report` as JSON, on several lines and with a line end.
///
/// # Errors
/// It cannot be written, which none of its parts is known to lead to.
pub fn json(report: &Report) -> Result<String> {
    let document = Document {
        version: 1,
        outcome: report.outcome,
        postgres: report.postgres.as_deref(),
        checks: &report.checks,
        findings: &report.findings,
        measurements: &report.measurements,
    };
    let mut text = serde_json::to_string_pretty(&document)
        .attempt(ErrorKind::Environment, || "failed to write the report as JSON".into())?;
    text.push('\n');
    Ok(text)
}
