//! The report as a page that stands alone: no script, nothing to fetch.

use super::model::{CheckResult, Report};
use super::number::span;
use super::text::{Colour, ending, split, tally};
use super::{table, transcript};
use crate::finding::{Class, Finding, Outcome};
use std::fmt::{self, Display, Write as _};

/// `report` as HTML. The transcripts are there as [`text`](super::text()) has them, to paste into psql.
pub fn html(report: &Report) -> String {
    let verdict = report.outcome;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>pgharness: {verdict}</title>\n\
         <style>\n{}</style>\n<h1>{verdict} <small>{}</small></h1>\n",
        include_str!("page.css"),
        Escaped(&tally(report)),
    );
    page.push_str("<table>\n");
    let mut family = "";
    for check in &report.checks {
        let (this_family, name) = split(&check.id);
        if this_family != family {
            family = this_family;
            let _ = writeln!(page, "<tr><th colspan=\"4\">{}", Escaped(family));
        }
        row(&mut page, check, name, &report.findings);
    }
    page.push_str("</table>\n");
    for check in report.checks.iter().filter(|check| check.is_broken) {
        let reason = check.reason.as_deref().unwrap_or_default();
        let (id, reason) = (Escaped(&check.id), Escaped(reason));
        let _ = writeln!(
            page,
            "<article class=\"warning\"><h2><b>incomplete</b> {id}</h2><pre>{reason}</pre></article>"
        );
    }
    report.findings.iter().for_each(|finding| article(&mut page, finding));
    if !report.allowed.is_empty() {
        page.push_str("<h2>allowed</h2>\n<table>\n");
        for silenced in &report.allowed {
            let subject = silenced.finding.subject.to_string();
            let cells = [silenced.finding.check.as_str(), &subject, &silenced.reason].map(Escaped);
            let _ = writeln!(page, "<tr><td>{}<td>{}<td class=\"dim\">{}", cells[0], cells[1], cells[2]);
        }
        page.push_str("</table>\n");
    }
    let figures = table::measurements(&report.measurements, Colour::Off);
    if !figures.is_empty() {
        let _ = writeln!(page, "<h2>measured</h2>\n<pre>{}</pre>", Escaped(figures.trim_end()));
    }
    page
}

/// The line of a check.
fn row(page: &mut String, check: &CheckResult, name: &str, findings: &[Finding]) {
    let (_, mark, remark) = ending(check, findings);
    let of_check = findings.iter().filter(|finding| finding.check == check.id);
    let style = match (&check.outcome, of_check.map(|finding| finding.severity).min()) {
        (Outcome::Passed, _) => "passed".to_owned(),
        (Outcome::Failed, Some(worst)) => worst.to_string(),
        _ => "dim".to_owned(),
    };
    let time = if check.outcome == Outcome::Skipped { String::new() } else { span(check.millis) };
    let (name, remark) = (Escaped(name), Escaped(&remark));
    let _ = writeln!(
        page,
        "<tr><td class=\"{style}\">{mark}<td>{name}<td class=\"time\">{time}<td class=\"{style}\">{remark}"
    );
}

fn article(page: &mut String, finding: &Finding) {
    let Finding { check, severity, message, help, .. } = finding;
    let whose = match finding.class {
        Class::Mistake => String::new(),
        other => format!(" <span class=\"dim\">({other})</span>"),
    };
    let subject = finding.subject.to_string();
    let (check, subject, message) = (Escaped(check), Escaped(&subject), Escaped(message));
    let _ = writeln!(
        page,
        "<article class=\"{severity}\">\n<h2><b>{severity}</b> {check}: {subject}{whose}</h2>\n<p>{message}"
    );
    let lines: Vec<String> = transcript::lines(&finding.evidence)
        .into_iter()
        // The page sets them in; what lies within quotes never was.
        .map(|line| line.text.strip_prefix("    ").map_or(line.text.clone(), str::to_owned))
        .collect();
    if !lines.is_empty() {
        let _ = writeln!(page, "<pre>{}</pre>", Escaped(&lines.join("\n")));
    }
    if !help.is_empty() {
        let _ = writeln!(page, "<p><b>help:</b> {}", Escaped(help));
    }
    page.push_str("</article>\n");
}

/// Text within a page.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' | '<' | '>' | '"' | '\'' => write!(f, "&#{};", u32::from(c)),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::finding::{Evidence, Severity, Subject};
    use crate::report::CheckRun;

    #[test]
    fn what_is_found_cannot_write_into_the_page() {
        let evil = "</pre><script>alert(1)</script>&\"'";
        let finding = Finding {
            check: "a.b".into(),
            class: Class::TrustBoundary,
            severity: Severity::Warning,
            subject: Subject::new("table", evil),
            message: evil.into(),
            help: evil.into(),
            evidence: vec![Evidence::as_role("web_app", format!("select '{evil}'"), evil)],
        };
        let runs = vec![
            CheckRun { id: "a.b".into(), millis: 1500, verdict: Ok(Verdict::of(vec![finding])) },
            CheckRun { id: "a.c".into(), millis: 0, verdict: Ok(Verdict::skipped(evil)) },
        ];
        let page = html(&Report::new(Some("15.18".into()), runs, &[], 1600));
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("<h1>findings <small>2 checks: 1 failed, 1 skipped (1.60 s on Postgres 15.18)"),
            "{page}"
        );
        assert!(page.contains("<b>warning</b> a.b: table &#60;/pre&#62;"), "{page}");
        assert!(page.contains("(trust boundary)") && page.contains("<pre>SET ROLE"), "{page}");
    }
}
