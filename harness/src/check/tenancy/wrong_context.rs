//! What sessions see whose setting holds no tenant.

use super::attack::Attack;
use super::probe::{Counts, Why};
use super::roles::{done_by, grouped, listed};
use super::wording::rows;
use crate::check::Verdict;
use crate::error::Result;
use crate::finding::Severity;
use crate::ident::quote_literal;
use std::collections::BTreeSet;

/// What one role saw of one table.
#[derive(Clone, PartialEq)]
enum Seen {
    Leak {
        value: String,
        sql: String,
        counts: Counts,
        others: Vec<String>,
    },
    /// Not even its own tenant's rows are seen, or the statement failed.
    Unknown(String),
}

/// Reads all tables with row-level security as all roles, with each of `values` in the setting. What is seen with
/// nothing in it is `tenancy.no-context`'s finding, and not told again.
pub(super) async fn read_with(mut attack: Attack, values: &[String], help: &str) -> Result<Verdict> {
    let guarded = attack.guarded_and_tenants();
    let mut open = BTreeSet::new();
    let mut seen: Vec<Vec<(String, Seen)>> = vec![Vec::new(); guarded.len()];
    for role in attack.roles.clone() {
        let mut without = attack.session(&role, false).await?;
        let mut with = attack.session(&role, true).await?;
        let mut wrong = attack.session(&role, false).await?;
        for (relation, seen) in guarded.iter().zip(&mut seen) {
            if !relation.readers.contains(&role) {
                continue;
            }
            attack.count_probes(2 + values.len());
            let unset = without.count(relation, &attack.tenants).await?.outcome;
            if unset.is_ok_and(|counts| counts.visible > counts.nobody) {
                open.insert(relation.name.to_string());
                continue;
            }
            let control = with.count(relation, &attack.tenants).await?.outcome;
            let mut leaks = Vec::new();
            for value in values {
                wrong.context = Some((attack.setting.clone(), value.clone()));
                let probed = wrong.count(relation, &attack.tenants).await?;
                match probed.outcome {
                    // Who sees rows of nobody alone is told of by `tenancy.null-tenant`.
                    Ok(counts) if counts.visible > counts.nobody => leaks.push((value, probed.sql, counts)),
                    Err(refusal) if refusal.why == Why::Circumstances => {
                        seen.push((role.clone(), Seen::Unknown(format!("the statement failed ({refusal})"))));
                    }
                    _ => {}
                }
            }
            let is_bound = control.is_ok_and(|counts| counts.own > 0 || counts.visible > 0);
            attack.count_controls(usize::from(is_bound));
            let mut leaks = leaks.into_iter();
            if let Some((value, sql, counts)) = leaks.next() {
                let others = leaks.map(|(value, ..)| quote_literal(value)).collect();
                seen.push((role.clone(), Seen::Leak { value: value.clone(), sql, counts, others }));
            } else if !is_bound {
                let reason = "with a tenant set it sees no row either";
                let reason = attack.lacks_own(relation).unwrap_or_else(|| reason.into());
                seen.push((role.clone(), Seen::Unknown(reason)));
            }
        }
    }
    for (relation, seen) in guarded.iter().zip(seen) {
        for (roles, seen) in grouped(seen) {
            match seen {
                Seen::Unknown(reason) => attack.note_uncovered(relation, &roles, &reason),
                Seen::Leak { value, sql, counts, others } => {
                    let first = roles.first().cloned().unwrap_or_default();
                    let context = (attack.setting.clone(), value.clone());
                    let result = format!("{} visible", rows(counts.visible));
                    let evidence = attack.shown_in(Some(&context), relation, &first, sql, result);
                    let also = match others.as_slice() {
                        [] => String::new(),
                        others => format!(", and also with {}", others.join(", ")),
                    };
                    let message = format!(
                        "with {} in `{}` {} {} {} of `{}`{also}",
                        quote_literal(&value),
                        attack.setting,
                        listed(&roles),
                        done_by(&roles, "reads"),
                        rows(counts.visible),
                        relation.name
                    );
                    attack.accuse(Severity::Error, relation, message, help.to_owned(), evidence);
                }
            }
        }
    }
    let verdict = attack.verdict();
    if open.is_empty() {
        return Ok(verdict);
    }
    let names: Vec<String> = open.iter().map(|name| format!("`{name}`")).collect();
    Ok(verdict.with_remark(format!(
        "{} can be read with no tenant at all, which `tenancy.no-context` tells",
        names.join(", ")
    )))
}
