//! What a run comes to, as text and as JSON.

use super::mutant::{Mutant, Outcome};
use super::operator::Operator;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// So much of all mutants has to be found on the reference schema, in percent.
const FOUND_MIN: f64 = 98.0;
/// So much of each operator's.
const FOUND_BY_OPERATOR_MIN: f64 = 90.0;

/// What a run comes to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    operators: BTreeMap<&'static str, Row>,
    missed: Vec<Survivor>,
    pub(super) false_alarms: Vec<String>,
    /// Transcripts pasted, and those that did not show the same.
    pub(super) evidence: Option<(usize, Vec<String>)>,
    pub(super) took: Duration,
}

/// What came of one operator.
#[derive(Clone, Debug, Default)]
struct Row {
    expected: String,
    sites: usize,
    tried: usize,
    found: usize,
    missed: usize,
    equivalent: usize,
    stillborn: usize,
}

/// A mutant that none of the checks found which should.
#[derive(Clone, Debug, Serialize)]
struct Survivor {
    id: String,
    operator: &'static str,
    expected: String,
    got: Vec<String>,
    reason: String,
}

/// Version 1.
#[derive(Debug, Serialize)]
struct Json<'a> {
    version: u32,
    mutants: usize,
    found: usize,
    missed: &'a [Survivor],
    equivalent: usize,
    false_alarms: &'a [String],
    operators: Vec<JsonRow<'a>>,
    evidence: Option<JsonEvidence<'a>>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct JsonRow<'a> {
    operator: &'a str,
    expected: &'a str,
    sites: usize,
    tried: usize,
    found: usize,
    missed: usize,
    equivalent: usize,
    stillborn: usize,
}

#[derive(Debug, Serialize)]
struct JsonEvidence<'a> {
    pasted: usize,
    failed: &'a [String],
}

impl Tally {
    /// An operator with so many sites.
    pub(super) fn expect(&mut self, operator: &Operator, sites: usize) {
        let expected = operator.expected.join(" or ");
        self.operators.insert(operator.name, Row { expected, sites, ..Row::default() });
    }

    pub(super) fn count(&mut self, mutant: &Mutant, outcome: Outcome) {
        let Some(row) = self.operators.get_mut(mutant.operator.name) else { return };
        row.tried += 1;
        match outcome {
            Outcome::Found(_) => row.found += 1,
            Outcome::Equivalent => row.equivalent += 1,
            Outcome::Stillborn(_) => row.stillborn += 1,
            Outcome::Missed { got, reason } => {
                row.missed += 1;
                self.missed.push(Survivor {
                    id: mutant.id(),
                    operator: mutant.operator.name,
                    expected: row.expected.clone(),
                    got,
                    reason,
                });
            }
        }
    }

    fn sum(&self, of: impl Fn(&Row) -> usize) -> usize {
        self.operators.values().map(of).sum()
    }

    /// Mutants that differ from the project: those that count.
    fn mutants(&self) -> usize {
        self.sum(Row::mutants)
    }

    /// Whether the bars hold.
    pub(super) fn holds(&self) -> bool {
        let is_found =
            |row: &Row| row.mutants() == 0 || share(row.found, row.mutants()) >= FOUND_BY_OPERATOR_MIN;
        self.mutants() > 0
            && share(self.sum(|row| row.found), self.mutants()) >= FOUND_MIN
            && self.operators.values().all(is_found)
            && self.false_alarms.is_empty()
            && self.evidence.as_ref().is_none_or(|(_, failed)| failed.is_empty())
    }

    pub(super) fn json(&self) -> String {
        let row = |(operator, row): (&&'static str, &'_ Row)| (*operator, row.clone());
        let rows: Vec<(&str, Row)> = self.operators.iter().map(row).collect();
        let json = Json {
            version: 1,
            mutants: self.mutants(),
            found: self.sum(|row| row.found),
            missed: &self.missed,
            equivalent: self.sum(|row| row.equivalent),
            false_alarms: &self.false_alarms,
            operators: rows.iter().map(|(operator, row)| row.json(operator)).collect(),
            evidence: self.evidence.as_ref().map(|(pasted, failed)| JsonEvidence { pasted: *pasted, failed }),
            seconds: (self.took.as_secs_f64() * 10.0).round() / 10.0,
        };
        serde_json::to_string(&json).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![format!(
            "{:<26} {:>5} {:>5} {:>5} {:>6} {:>5} {:>5}  {:>6}  expected",
            "operator", "sites", "tried", "found", "missed", "equal", "still", ""
        )];
        for (name, row) in &self.operators {
            let percent = match row.mutants() {
                0 => "-".into(),
                mutants => format!("{:.1} %", share(row.found, mutants)),
            };
            lines.push(format!(
                "{name:<26} {:>5} {:>5} {:>5} {:>6} {:>5} {:>5}  {percent:>7} {}",
                row.sites, row.tried, row.found, row.missed, row.equivalent, row.stillborn, row.expected
            ));
        }
        lines.push(String::new());
        for survivor in &self.missed {
            lines.push(format!("missed: {}\n  {}", survivor.id, survivor.reason.replace('\n', "\n  ")));
        }
        lines.extend(self.false_alarms.iter().map(|alarm| format!("false alarm: {alarm}")));
        if let Some((pasted, failed)) = &self.evidence {
            lines.extend(failed.iter().map(|failure| format!("evidence: {failure}")));
            lines.push(format!("{pasted} transcripts pasted into psql, {} do not show it", failed.len()));
        }
        let (mutants, found) = (self.mutants(), self.sum(|row| row.found));
        let least = self.operators.iter().filter(|(_, row)| row.mutants() > 0);
        let least = least.min_by(|one, other| {
            let share_of = |row: &Row| share(row.found, row.mutants());
            share_of(one.1).total_cmp(&share_of(other.1))
        });
        lines.push(format!(
            "{mutants} mutants, {found} found ({:.2} %), {} missed; {} equivalent, {} that the server refuses; {} false \
             alarms; {:.0} s",
            share(found, mutants),
            self.missed.len(),
            self.sum(|row| row.equivalent),
            self.sum(|row| row.stillborn),
            self.false_alarms.len(),
            self.took.as_secs_f64()
        ));
        if let Some((name, row)) = least {
            lines.push(format!("least of one operator: {:.1} % ({name})", share(row.found, row.mutants())));
        }
        lines.join("\n")
    }
}

impl Row {
    fn mutants(&self) -> usize {
        self.found + self.missed
    }

    fn json<'a>(&'a self, operator: &'a str) -> JsonRow<'a> {
        let Row { expected, sites, tried, found, missed, equivalent, stillborn } = self;
        JsonRow {
            operator,
            expected,
            sites: *sites,
            tried: *tried,
            found: *found,
            missed: *missed,
            equivalent: *equivalent,
            stillborn: *stillborn,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "these are thousands")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}
