//! What a role did to a table whose rows are final, and how it is told.

use super::settled::Settled;
use super::verb::{Effect, Verb};
use crate::check::attempt::Answer;
use crate::finding::Severity;

/// What a role did to a table, and what came of each statement.
#[derive(Clone, PartialEq)]
pub(super) struct Deed {
    pub(super) verbs: Vec<(Verb, String)>,
    pub(super) severity: Severity,
    pub(super) is_silent: bool,
}

/// How many statements a finding shows.
pub(super) const SHOWN_MAX: usize = 4;

/// Apart: what changed something, and what was swallowed.
pub(super) fn judged(done: Vec<(Verb, String)>, severity: Severity) -> Vec<Deed> {
    let (silent, loud): (Vec<_>, Vec<_>) = done.into_iter().partition(|(_, result)| result == SWALLOWED);
    let deeds = [
        Deed { verbs: loud, severity, is_silent: false },
        Deed { verbs: silent, severity: Severity::Warning, is_silent: true },
    ];
    deeds.into_iter().filter(|deed| !deed.verbs.is_empty()).collect()
}

/// How the result begins of a statement that nobody carried out and nobody refused.
const SWALLOWED: &str = "no row: done, and nothing changed";

/// What an attempt did, where it did something.
pub(super) fn outcome(table: &Settled, verb: &Verb, answer: &Answer) -> Option<String> {
    match answer.code.as_deref() {
        None if answer.has_changed && answer.rows > 0 => Some(format!("{} changed", rows(answer.rows))),
        None if answer.has_changed => Some("done, and rows changed".into()),
        None if verb.shows_without_rows() => Some("done".into()),
        None if table.has_rules && verb.sql.contains(&table.name.sql()) => Some(SWALLOWED.into()),
        Some(code @ ("23503" | "23001")) if verb.effect == Effect::Gone => {
            Some(format!("SQLSTATE {code}: only rows that others refer to stay"))
        }
        _ => None,
    }
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".into() } else { format!("{count} rows") }
}

/// `UPDATE of `note`, DELETE and TRUNCATE`: what is much is counted.
pub(super) fn in_words(labels: &[&str]) -> String {
    let (updates, others): (Vec<&str>, Vec<&str>) =
        labels.iter().copied().partition(|label| label.starts_with("UPDATE of"));
    let counted = format!("UPDATE of {} columns", updates.len());
    let mut words = if updates.len() > SHOWN_MAX { vec![counted.as_str()] } else { updates };
    for other in others {
        if !words.contains(&other) {
            words.push(other);
        }
    }
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// What to do about it.
pub(super) fn remedy(table: &Settled, verbs: &[(Verb, String)]) -> String {
    let name = table.name.sql();
    if verbs.iter().any(|(verb, _)| verb.label.starts_with("a cascade")) {
        return format!(
            "let the foreign keys of {name} say `on delete restrict on update restrict`: an action runs as the owner, past all privileges"
        );
    }
    if verbs.iter().all(|(verb, _)| verb.effect == Effect::Table) {
        return format!(
            "let {name} belong to a role that nobody logs in as: its owner can undo any protection"
        );
    }
    let part =
        if table.part_of.is_some() { "; a part has privileges and TRUNCATE triggers of its own" } else { "" };
    format!(
        "`revoke update, delete, truncate on {name} from …`, and have triggers raise an error: `before update or delete … for \
         each row` and `before truncate … for each statement`, both `enable always`{part}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["UPDATE of `a`", "DELETE"], "UPDATE of `a` and DELETE")]
    #[case(&["TRUNCATE", "TRUNCATE"], "TRUNCATE")]
    #[case(&["UPDATE of `a`", "UPDATE of `b`", "UPDATE of `c`", "UPDATE of `d`", "UPDATE of `e`", "MERGE"],
        "UPDATE of 5 columns and MERGE")]
    fn ways_are_told_in_words(#[case] labels: &[&str], #[case] expected: &str) {
        assert_eq!(in_words(labels), expected);
    }
}
