//! Differences of two catalogs as steps of a transcript.

use crate::catalog::{Change, Kind, What};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};

/// Where one side of a difference is seen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side<'a> {
    /// In a file, or a database that the transcript is not pasted into.
    Place(&'a str),
    /// In the check's own database, by this role.
    Own(&'a str),
}

/// What each side says, with the command of psql that shows it.
pub(super) fn of(change: &Change, from: Side<'_>, to: Side<'_>) -> Vec<Evidence> {
    let (before, after) = match &change.what {
        What::Added => ("not there".to_owned(), "there".to_owned()),
        What::Removed => ("there".to_owned(), "not there".to_owned()),
        What::Changed { fact, from, to } => {
            let said = |value: &Option<String>| format!("{fact}: {}", value.as_deref().unwrap_or("none"));
            (said(from), said(to))
        }
    };
    vec![seen(change, from, before), seen(change, to, after)]
}

fn seen(change: &Change, side: Side<'_>, result: String) -> Evidence {
    let Change { kind, name, what } = change;
    match side {
        Side::Place(place) => Evidence::step(format!("{place}, {kind} {name}"), result),
        Side::Own(role) => {
            let is_owner = matches!(what, What::Changed { fact, .. } if fact == "owner");
            let command = match kind {
                // Its text does not say whose it is.
                Kind::Function | Kind::Procedure if is_owner => format!("\\df+ {}", without_arguments(name)),
                _ => look(*kind, name),
            };
            Evidence::as_role(role, command, result)
        }
    }
}

/// The object that differs, as a sentence begins with it.
pub(super) fn object(change: &Change) -> String {
    match change.kind {
        // Its name says what it is a grant on, and to whom.
        Kind::Grant => format!("the grant on {}", change.name),
        kind => format!("{kind} `{}`", change.name),
    }
}

/// A finding of `check` about what differs.
pub(super) fn finding(
    check: &str,
    change: &Change,
    severity: Severity,
    message: String,
    help: &str,
    evidence: Vec<Evidence>,
) -> Finding {
    Finding {
        check: check.into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new(change.kind.name(), change.name.clone()),
        message,
        help: help.into(),
        evidence,
    }
}

/// What to type in psql to see the object `name`.
pub(in crate::check) fn look(kind: Kind, name: &str) -> String {
    let relation = || name.rsplit_once('.').map_or(name, |(relation, _)| relation);
    match kind {
        Kind::Table
        | Kind::ForeignTable
        | Kind::View
        | Kind::MaterializedView
        | Kind::Index
        | Kind::Sequence => {
            format!("\\d+ {name}")
        }
        Kind::Column | Kind::Constraint | Kind::Trigger | Kind::Rule | Kind::Policy => {
            format!("\\d+ {}", relation())
        }
        Kind::Role => format!("\\du+ {name}"),
        Kind::Schema => format!("\\dn+ {name}"),
        Kind::Extension => format!("\\dx {name}"),
        Kind::Type => format!("\\dT+ {name}"),
        Kind::Domain => format!("\\dD+ {name}"),
        Kind::Function | Kind::Procedure => format!("\\sf {name}"),
        Kind::Aggregate => format!("\\da+ {}", without_arguments(name)),
        Kind::Grant => {
            match Kind::split(name).map(|(of, rest)| (of, rest.split(" to ").next().unwrap_or(rest))) {
                Some((Kind::Schema, name)) => format!("\\dn+ {name}"),
                Some((Kind::Function | Kind::Procedure | Kind::Aggregate, name)) => {
                    format!("\\df+ {}", without_arguments(name))
                }
                Some((Kind::Column, name)) => {
                    format!("\\dp {}", name.rsplit_once('.').map_or(name, |(table, _)| table))
                }
                Some((_, name)) => format!("\\dp {name}"),
                None => "\\dp *.*".into(),
            }
        }
        Kind::DefaultPrivilege => "\\ddp".into(),
        // Of this database alone: a server has others.
        Kind::Setting => "\\drds * :DBNAME".into(),
        Kind::EventTrigger => format!("\\dy+ {name}"),
        Kind::Subscription => format!("\\dRs+ {name}"),
        Kind::OperatorClass => "\\dAc+".into(),
        Kind::OperatorFamily => "\\dAf+".into(),
        Kind::Publication => format!("\\dRp+ {name}"),
        Kind::Statistics => format!("\\dX {name}"),
        Kind::Collation => format!("\\dO+ {name}"),
        Kind::Server => format!("\\des+ {name}"),
        Kind::UserMapping => "\\deu+".into(),
        Kind::ForeignDataWrapper => format!("\\dew+ {name}"),
        Kind::Language => format!("\\dL+ {name}"),
        _ => "\\dd".into(),
    }
}

fn without_arguments(name: &str) -> &str {
    name.split('(').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Kind::Column, "crm.people.name", "\\d+ crm.people")]
    #[case(Kind::Function, "crm.f(integer, text)", "\\sf crm.f(integer, text)")]
    #[case(Kind::Grant, "table crm.people to web_app", "\\dp crm.people")]
    #[case(Kind::Grant, "column crm.people.name to web_app", "\\dp crm.people")]
    #[case(Kind::Grant, "function crm.f(integer) to web_app", "\\df+ crm.f")]
    fn objects_are_shown_by_psql(#[case] kind: Kind, #[case] name: &str, #[case] command: &str) {
        assert_eq!(look(kind, name), command);
    }

    #[test]
    fn whose_a_function_is_is_shown_too() {
        let what = What::Changed { fact: "owner".into(), from: Some("a".into()), to: Some("b".into()) };
        let change = Change { kind: Kind::Function, name: "crm.f(integer)".into(), what };
        let steps = of(&change, Side::Own("postgres"), Side::Place("there"));
        assert_eq!((steps[0].sql.as_str(), steps[0].result.as_str()), ("\\df+ crm.f", "owner: a"));
    }
}
