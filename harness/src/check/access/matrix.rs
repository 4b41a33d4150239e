//! `access.matrix`: what each role may do, as it is declared and as it turns out.

use super::measured::{Measured, Survey, Tried, is_about, sorts_of, survey};
use super::objects::{Object, Sort};
use crate::check::tenancy::{done_by, grouped, listed};
use crate::check::{Check, Context, Example, Explanation, Need, Privilege, Running, Story, Verdict, matches};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::quote_ident;
use crate::server::Capability;
use std::collections::{BTreeMap, BTreeSet};

/// Each role may do what `[access.matrix]` says, and nothing else.
pub(in crate::check) struct Matrix;

const ID: &str = "access.matrix";

impl Check for Matrix {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "each role may do what `[access.matrix]` says, and nothing else"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `[access.matrix]` logs in and tries every verb on every table, partition, view and \
                     materialized view: select, insert, update, delete, truncate, references, trigger, and maintain \
                     from Postgres 17 on. Each is a real statement on no row, which is undone. What the server does \
                     is compared with what is declared, both ways. Sequences (usage), functions (execute) and schemas \
                     (usage, create) are compared where the matrix names some. A column's privilege counts as the \
                     table's.",
            matters: "Grants add up: a default privilege, a role within a role, a grant to PUBLIC, one `all` in a \
                      migration of three years ago. Nobody reads that out of migrations. The matrix is one page that \
                      can be reviewed, and an attempt finds what a role can do whatever the reason is.",
            remedy: "Revoke what is too much, grant what is missing, or change the matrix, in the same change that \
                     makes it true. A pattern for a whole schema also allows what comes to be there later: name tables.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`",
            runs: "delete from invoices",
            gets: "no invoice is left, though the matrix says that it reads and adds",
            because: "somebody granted all while debugging, and a grant stays until it is revoked",
            fix: "revoke all on invoices from web_app; grant select, insert on invoices to web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::MATRIX
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// What differs between what is declared and what was measured, of one object and one role.
#[derive(Clone, PartialEq)]
struct Difference {
    is_too_much: bool,
    privileges: Vec<Privilege>,
    tried: Vec<Tried>,
}

async fn run(context: &Context) -> Result<Verdict> {
    let matrix = &context.project().access.matrix;
    if matrix.is_empty() {
        return Ok(Verdict::skipped(
            "needs `[access.matrix]`: `pgharness init` writes down what each role may do now, to begin with",
        ));
    }
    let wanted: Vec<&str> = matrix.keys().map(String::as_str).collect();
    let Survey { admin, objects, by_role } = survey(context, Some(&wanted)).await?;
    let entries = matrix.values().flatten();
    let patterns = entries.map(|(pattern, privileges)| (pattern.as_str(), privileges.as_slice()));
    let sorts = sorts_of(&objects, patterns.clone());
    let mut findings = Vec::new();
    for object in objects.iter().filter(|object| sorts.contains(&object.sort)) {
        let mut differences = Vec::new();
        for (role, measured) in &by_role {
            let Some(declared) = matrix.get(role) else { continue };
            for difference in compare(object, declared, measured) {
                differences.push((role.clone(), difference));
            }
        }
        for (roles, difference) in grouped(differences) {
            findings.push(finding(&admin, object, &roles, difference));
        }
    }
    for (role, declared) in matrix {
        for pattern in declared.keys() {
            if !objects.iter().any(|object| is_about(pattern, object)) {
                findings.push(idle(role, pattern));
            }
        }
    }
    let figure = |name: &str, count: usize| Measurement::count(ID, name, count);
    let verdict = Verdict::of(findings).with_measurements([
        figure("objects", objects.len()),
        figure("roles", by_role.len()),
        figure("probes", by_role.values().map(|measured| measured.attempts).sum()),
    ]);
    let left_out: Vec<&str> =
        [(Sort::Sequence, "sequences"), (Sort::Routine, "functions"), (Sort::Schema, "schemas")]
            .into_iter()
            .filter(|(sort, _)| !sorts.contains(sort) && objects.iter().any(|object| object.sort == *sort))
            .map(|(_, name)| name)
            .collect();
    if left_out.is_empty() {
        return Ok(verdict);
    }
    Ok(verdict
        .with_remark(format!("the matrix says nothing of {}: they were not compared", left_out.join(", "))))
}

fn compare(
    object: &Object,
    declared: &BTreeMap<String, Vec<Privilege>>,
    measured: &Measured,
) -> Vec<Difference> {
    let privileges = |name: &dyn Fn(&str) -> bool| -> BTreeSet<Privilege> {
        declared.iter().filter(|(pattern, _)| name(pattern)).flat_map(|(_, some)| some).copied().collect()
    };
    let own = privileges(&|pattern| is_about(pattern, object));
    let of_root = match &object.root {
        Some(root) => privileges(&|pattern| matches(pattern, root)),
        None => BTreeSet::new(),
    };
    let Some(tried) = measured.by_object.get(&object.name) else { return Vec::new() };
    let may = |privilege: Privilege| {
        own.contains(&privilege)
            || of_root.contains(&privilege)
            // Who sets a sequence may move it on.
            || (object.sort == Sort::Sequence && privilege == Privilege::Usage && own.contains(&Privilege::Update))
    };
    let differs = |is_too_much: bool| {
        let differing: Vec<_> = tried
            .iter()
            .filter(|(privilege, tried)| match tried.is_held {
                Some(true) => is_too_much && !may(**privilege),
                Some(false) => !is_too_much && own.contains(privilege),
                None => false,
            })
            .collect();
        (!differing.is_empty()).then(|| Difference {
            is_too_much,
            privileges: differing.iter().map(|(privilege, _)| **privilege).collect(),
            tried: differing.iter().map(|(_, tried)| (*tried).clone()).collect(),
        })
    };
    [differs(true), differs(false)].into_iter().flatten().collect()
}

/// `select, insert and update`.
fn in_words(privileges: &[Privilege]) -> String {
    let words: Vec<String> = privileges.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

fn finding(admin: &str, object: &Object, roles: &[String], difference: Difference) -> Finding {
    let Difference { is_too_much, privileges, tried } = difference;
    let (name, who, what) = (&object.name, listed(roles), in_words(&privileges));
    let first = roles.first().cloned().unwrap_or_default();
    let listing: Vec<String> = privileges.iter().map(ToString::to_string).collect();
    let listing = listing.join(", ");
    let grantees: Vec<String> = roles.iter().map(|role| quote_ident(role)).collect();
    let grantees = grantees.join(", ");
    let mut evidence = Vec::new();
    for tried in tried {
        evidence.extend(tried.steps(admin, &first));
    }
    Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new(object.kind.clone(), name.clone()),
        message: if is_too_much {
            format!(
                "{who} {} {what} on `{name}`, which `[access.matrix]` does not say",
                done_by(roles, "has")
            )
        } else {
            format!("{who} {} {what} on `{name}`, though `[access.matrix]` says so", done_by(roles, "lacks"))
        },
        help: if is_too_much {
            format!(
                "`revoke {listing} on {} from {grantees}`; where it stays, it comes from PUBLIC, from a role that it is \
                 a member of, or from ownership; or declare it",
                object.sql
            )
        } else {
            format!(
                "`grant {listing} on {} to {grantees}`, and usage of the schema; or do not declare it",
                object.sql
            )
        },
        evidence,
    }
}

/// An entry that is about nothing.
fn idle(role: &str, pattern: &str) -> Finding {
    Finding {
        check: ID.into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("role", role),
        message: format!("`{pattern}` of `[access.matrix.{role}]` is no object's name"),
        help: "mend the name, or remove the line: it would allow what comes to be there later".into(),
        evidence: vec![Evidence::step(format!("looking for `{pattern}`"), "no object")],
    }
}
