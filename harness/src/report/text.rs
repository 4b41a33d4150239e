//! The report for people: how each check ended, by family; what was found, with transcripts to paste; what was
//! measured; what it comes to.

use super::model::{CheckResult, Conclusion, Report};
use super::number::{count, span};
use super::prose::{COLUMNS, printable, wrapped};
use super::{table, transcript};
use crate::finding::{Class, Finding, Outcome, Severity};
use anstyle::{AnsiColor, Style};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// Whether to write colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    On,
    /// For a file, a pipe or a log.
    Off,
}

impl Colour {
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        match self {
            Colour::On if !text.is_empty() => format!("{style}{text}{style:#}"),
            _ => text.to_owned(),
        }
    }
}

/// `report` for people.
pub fn text(report: &Report, colour: Colour) -> String {
    let mut page = Page { out: String::new(), colour };
    page.checks(report);
    page.broken(report);
    report.findings.iter().for_each(|finding| page.finding(finding));
    page.allowed(report);
    page.out.push_str(&table::measurements(&report.measurements, colour));
    page.summary(report);
    page.out
}

struct Page {
    out: String,
    colour: Colour,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn paint(&self, style: Style, text: &str) -> String {
        self.colour.paint(style, text)
    }

    /// A heading a family, and a line a check: mark, name, time, what there is to say.
    fn checks(&mut self, report: &Report) {
        let name = |check: &CheckResult| split(&check.id).1.chars().count();
        let names = report.checks.iter().map(name).max().unwrap_or(0);
        let times = report.checks.iter().map(|check| span(check.millis).len()).max().unwrap_or(0);
        let mut family = "";
        for check in &report.checks {
            let (this_family, name) = split(&check.id);
            if this_family != family {
                if !family.is_empty() {
                    self.line("");
                }
                family = this_family;
                let heading = self.paint(BOLD, family);
                self.line(&heading);
            }
            let (style, mark, remark) = ending(check, &report.findings);
            let time = match check.outcome {
                Outcome::Skipped => String::new(),
                Outcome::Passed | Outcome::Failed => span(check.millis),
            };
            let mark = self.paint(style, mark);
            let time = self.paint(DIM, &format!("{time:>times$}"));
            let remark = self.paint(if check.outcome == Outcome::Failed { style } else { DIM }, &remark);
            self.line(&format!("  {mark} {name:<names$}  {time}  {remark}"));
        }
        if !report.checks.is_empty() {
            self.line("");
        }
    }

    /// What broke, whole: the line of the check has only the beginning. What keeps several from running is said
    /// once.
    fn broken(&mut self, report: &Report) {
        let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
        for check in report.checks.iter().filter(|check| check.is_broken) {
            let reason = check.reason.as_deref().unwrap_or_default();
            match by_reason.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, ids)) => ids.push(&check.id),
                None => by_reason.push((reason, vec![&check.id])),
            }
        }
        for (reason, ids) in by_reason {
            let title = self.paint(YELLOW, &format!("incomplete[{}]", ids.join(", ")));
            self.line(&title);
            for line in reason.lines() {
                self.line(&format!("  {}", printable(line)));
            }
            self.line("");
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let title =
            self.paint(severity_style(finding.severity), &format!("{}[{}]", finding.severity, finding.check));
        let subject = self.paint(BOLD, &printable(&finding.subject.to_string()));
        let class = match finding.class {
            Class::Mistake => String::new(),
            other => self.paint(DIM, &format!(" ({other})")),
        };
        self.line(&format!("{title} {subject}{class}"));
        for line in wrapped(&printable(&finding.message), COLUMNS - 2) {
            self.line(&format!("  {line}"));
        }
        self.line("");
        let transcript = transcript::lines(&finding.evidence);
        for line in &transcript {
            let text = printable(&line.text);
            let text = if line.is_comment { self.paint(DIM, &text) } else { text };
            self.line(&text);
        }
        if !transcript.is_empty() {
            self.line("");
        }
        if !finding.help.is_empty() {
            for (number, line) in wrapped(&printable(&finding.help), COLUMNS - 8).iter().enumerate() {
                let label = if number == 0 { self.paint(CYAN, "help:") } else { "     ".into() };
                self.line(&format!("  {label} {line}"));
            }
            self.line("");
        }
    }

    fn allowed(&mut self, report: &Report) {
        if report.allowed.is_empty() {
            return;
        }
        let title = self.paint(BOLD, "allowed");
        self.line(&title);
        let subject = |finding: &Finding| printable(&finding.subject.to_string());
        let checks = report.allowed.iter().map(|silenced| silenced.finding.check.chars().count()).max();
        let subjects = report.allowed.iter().map(|silenced| subject(&silenced.finding).chars().count()).max();
        let (checks, subjects) = (checks.unwrap_or(0), subjects.unwrap_or(0));
        for silenced in &report.allowed {
            let reason = self.paint(DIM, &printable(&silenced.reason));
            let (check, subject) = (&silenced.finding.check, subject(&silenced.finding));
            self.line(&format!("  {check:<checks$}  {subject:<subjects$}  {reason}"));
        }
        self.line("");
    }

    fn summary(&mut self, report: &Report) {
        let found = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
        self.line(&tally(report));

        let mut found: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
            .into_iter()
            .map(|severity| (found(severity), severity))
            .filter(|(n, _)| *n > 0)
            .map(|(n, severity)| count(n, &severity.to_string()))
            .collect();
        if !report.allowed.is_empty() {
            found.push(format!("{} allowed", report.allowed.len()));
        }
        let style = match report.outcome {
            Conclusion::Clean => GREEN.bold(),
            Conclusion::Findings => RED,
            Conclusion::Incomplete => YELLOW,
        };
        let verdict = self.paint(style, &report.outcome.to_string());
        let figures = if found.is_empty() { String::new() } else { format!(": {}", found.join(", ")) };
        self.line(&format!("{verdict}{figures} (exit code {})", report.outcome.exit_code()));
        if let Some(worst) = report.findings.iter().min_by_key(|finding| finding.severity) {
            let hint = self.paint(
                DIM,
                &format!("`pgharness explain {}` says what a check proves, and why", worst.check),
            );
            self.line(&hint);
        }
    }
}

/// How many checks ended how, in how long, and where.
pub(super) fn tally(report: &Report) -> String {
    let ended = |outcome| report.checks.iter().filter(|check| check.outcome == outcome).count();
    let broken = report.checks.iter().filter(|check| check.is_broken).count();
    let endings = [
        (ended(Outcome::Passed), "passed"),
        (ended(Outcome::Failed), "failed"),
        (ended(Outcome::Skipped) - broken, "skipped"),
        (broken, "could not run"),
    ];
    let said: Vec<String> =
        endings.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let said = if said.is_empty() { "none ran".into() } else { said.join(", ") };
    let on = report.postgres.as_ref().map(|version| format!(" on Postgres {version}")).unwrap_or_default();
    format!("{}: {said} ({}{on})", count(report.checks.len(), "check"), span(report.millis))
}

/// The mark of a check and what there is to say of it.
pub(super) fn ending(check: &CheckResult, findings: &[Finding]) -> (Style, &'static str, String) {
    let reason = || printable(check.reason.as_deref().unwrap_or_default().lines().next().unwrap_or_default());
    match check.outcome {
        Outcome::Passed => (GREEN, "✓", reason()),
        Outcome::Skipped if check.is_broken => (YELLOW, "?", reason()),
        Outcome::Skipped => (DIM, "○", format!("skipped: {}", reason())),
        Outcome::Failed => {
            let of_check = || findings.iter().filter(|finding| finding.check == check.id);
            let mut said: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
                .into_iter()
                .map(|severity| (of_check().filter(|finding| finding.severity == severity).count(), severity))
                .filter(|(n, _)| *n > 0)
                .map(|(n, severity)| count(n, &severity.to_string()))
                .collect();
            said.extend(check.reason.is_some().then(reason));
            let worst = of_check().map(|finding| finding.severity).min().unwrap_or(Severity::Error);
            let mark = if worst == Severity::Error { "✗" } else { "!" };
            (severity_style(worst), mark, said.join(", "))
        }
    }
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Note => CYAN,
    }
}

pub(super) fn split(id: &str) -> (&str, &str) {
    id.split_once('.').unwrap_or(("", id))
}
