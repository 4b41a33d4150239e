//! Tables that lie below others, reached directly: what their parents' policies say is then not asked.

use super::attack::Attack;
use super::insertion::{Insertions, Tried};
use super::probe::{Session, Why};
use super::roles::{done_by, grouped, listed, subject};
use super::tables::Relation;
use super::transcript::transcript;
use super::wording::{remedy, rows, sight};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use std::collections::BTreeSet;

/// What was done to a table and should not have been: a verb, as in "reads 2 rows", and the statements.
#[derive(Clone, Debug, PartialEq)]
struct Done {
    verb: &'static str,
    /// Steps of the harness's own that go before.
    before: Vec<Evidence>,
    sql: String,
    result: String,
    reads: BTreeSet<QualifiedName>,
}

/// What came of one role's attempts on one table.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    done: Vec<Done>,
    unknown: Option<String>,
}

/// Attacks `relations` with every verb, and finds fault at `severity`; gives how many controls ran.
///
/// # Errors
/// The server is lost.
pub(super) async fn attack(attack: &mut Attack, relations: &[Relation], severity: Severity) -> Result<usize> {
    let mut insertions = Insertions::read(attack).await?;
    let (mut controls, mut probes) = (0, 0);
    for relation in relations {
        let mut outcomes = Vec::new();
        for role in attack.roles.clone() {
            let may = Privileges::read(attack, relation, &role).await?;
            if !relation.readers.contains(&role) && !relation.writers.contains_key(&role) && may.is_none() {
                continue;
            }
            let mut session = attack.session(&role, true).await?;
            let mut outcome = Outcome::default();
            if relation.readers.contains(&role) {
                probes += 2;
                controls += usize::from(read(attack, &mut session, relation, &mut outcome).await?);
            }
            if let Some(tried) = insertions.attempt(attack, &mut session, relation).await? {
                insert(attack, tried, &mut outcome);
            }
            probes += change(attack, &mut session, relation, &may, &mut outcome).await?;
            outcomes.push((role, outcome));
        }
        report(attack, relation, outcomes, severity).await?;
    }
    attack.count_probes(probes + insertions.probes);
    Ok(controls + insertions.controls)
}

/// What a role may change in a table.
struct Privileges {
    /// A column that it may both read and update.
    column: Option<String>,
    may_delete: bool,
    /// The tenant's column can be asked for.
    may_ask: bool,
}

impl Privileges {
    async fn read(attack: &mut Attack, relation: &Relation, role: &str) -> Result<Privileges> {
        let (column, may_delete, may_ask) = sqlx::query_as(
            "select (
                select a.attname::text from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                    and a.attidentity <> 'a' and has_column_privilege($1::name, c.oid, a.attnum, 'update')
                    and has_column_privilege($1::name, c.oid, a.attnum, 'select')
                order by a.attname = $3, a.attnum limit 1
            ),
            has_table_privilege($1::name, c.oid, 'delete'),
            has_column_privilege($1::name, c.oid, $3, 'select')
            from pg_class c where c.oid = $2::regclass and has_schema_privilege($1::name, c.relnamespace, 'usage')",
        )
        .bind(role)
        .bind(relation.name.sql())
        .bind(&attack.tenancy.column)
        .fetch_optional(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || format!("failed to read the privileges of `{role}` on `{}`", relation.name))?
        .unwrap_or_default();
        Ok(Privileges { column, may_delete, may_ask })
    }

    fn is_none(&self) -> bool {
        self.column.is_none() && !self.may_delete
    }
}

/// Whether the control ran: the tenant's own rows are seen.
async fn read(
    attack: &Attack,
    session: &mut Session,
    relation: &Relation,
    outcome: &mut Outcome,
) -> Result<bool> {
    let all = session.count(relation, &attack.tenants).await?;
    let asked = session.count_others(relation, &attack.tenants).await?;
    let Ok(counts) = all.outcome else {
        if let Err(refusal) = all.outcome
            && refusal.why == Why::Circumstances
        {
            outcome.unknown = Some(format!("the statement failed ({refusal})"));
        }
        return Ok(false);
    };
    let others = if counts.are_told_apart {
        counts.others
    } else {
        (counts.visible - attack.truth(relation).own).max(0)
    };
    let asked_for = asked.outcome.unwrap_or_default();
    if others > 0 || asked_for > 0 {
        let (sql, others, visible) = if others > 0 {
            (all.sql, others, rows(counts.visible))
        } else {
            (asked.sql, asked_for, rows(asked_for))
        };
        outcome.done.push(Done {
            verb: "reads",
            before: Vec::new(),
            sql,
            result: format!("{visible} visible, {others} of them of other tenants"),
            reads: BTreeSet::new(),
        });
    }
    Ok(counts.own > 0 || (!counts.are_told_apart && counts.visible > 0))
}

fn insert(attack: &Attack, tried: Tried, outcome: &mut Outcome) {
    match tried {
        Tried::Refused | Tried::Dead(..) => {}
        Tried::Unknown(reason) => outcome.unknown = Some(reason),
        Tried::Leak(put) => outcome.done.push(Done {
            verb: "inserts",
            before: vec![
                attack.laid(&put.json, format!("a row of tenant {}", quote_literal(&attack.tenants.other))),
            ],
            sql: put.sql,
            result: "1 row inserted".into(),
            reads: put.reads,
        }),
    }
}

/// Updates and deletes; gives how many statements it tried.
async fn change(
    attack: &Attack,
    session: &mut Session,
    relation: &Relation,
    may: &Privileges,
    outcome: &mut Outcome,
) -> Result<usize> {
    let table = relation.name.sql();
    let which = if may.may_ask {
        format!(" where {} = {}", relation.column, quote_literal(&attack.tenants.other))
    } else {
        String::new()
    };
    let mut statements = Vec::new();
    if let Some(column) = &may.column {
        let column = quote_ident(column);
        statements.push(("updates", "updated", format!("update {table} set {column} = {column}{which}")));
    }
    if may.may_delete {
        statements.push(("deletes", "deleted", format!("delete from {table}{which}")));
    }
    let own = if may.may_ask { 0 } else { attack.truth(relation).own };
    let tried = statements.len();
    for (verb, past, sql) in statements {
        let probed = session.try_out(&[], sql).await?;
        let result = match probed.outcome {
            Ok(gave) => {
                let others = i64::try_from(gave.affected).unwrap_or(i64::MAX) - own;
                (others > 0).then(|| format!("{} of other tenants {past}", rows(others)))
            }
            // The row was reached: what holds it back is that others refer to it.
            Err(refusal) if refusal.code == "23503" && may.may_ask => {
                Some(format!("{refusal}: only a foreign key holds a row of another tenant back"))
            }
            Err(refusal) if refusal.why == Why::Circumstances => {
                outcome.unknown = Some(format!("the statement failed ({refusal})"));
                None
            }
            Err(_) => None,
        };
        if let Some(result) = result {
            let reads = BTreeSet::new();
            outcome.done.push(Done { verb, before: Vec::new(), sql: probed.sql, result, reads });
        }
    }
    Ok(tried)
}

async fn report(
    attack: &mut Attack,
    relation: &Relation,
    outcomes: Vec<(String, Outcome)>,
    severity: Severity,
) -> Result<()> {
    let lacks = attack.lacks(relation);
    for (roles, outcome) in grouped(outcomes) {
        let Some(role) = roles.first() else { continue };
        if outcome.done.is_empty() {
            if let Some(reason) = outcome.unknown.or_else(|| lacks.clone()) {
                attack.note_uncovered(relation, &roles, &reason);
            }
            continue;
        }
        let session = attack.session(role, true).await?;
        let mut reads: BTreeSet<QualifiedName> =
            outcome.done.iter().flat_map(|done| done.reads.iter().cloned()).collect();
        reads.insert(relation.name.clone());
        // The parent shows the rows of its other children too.
        reads.extend(relation.ancestors.last().cloned());
        let mut evidence = attack.steps_for(reads);
        if let Some(step) = parent_step(attack, relation, role).await? {
            evidence.extend(transcript(&session, vec![step]));
        }
        for done in &outcome.done {
            evidence.extend(done.before.iter().cloned());
            let step = Evidence::as_role(role, &done.sql, &done.result);
            evidence.extend(transcript(&session, vec![step]));
        }
        let verbs: Vec<&str> = outcome.done.iter().map(|done| done.verb).collect();
        let below = match (relation.kind, relation.ancestors.first()) {
            ("partition" | "partitioned table", Some(parent)) => format!(", a partition of `{parent}`"),
            (_, Some(parent)) => format!(", which inherits from `{parent}`"),
            _ => String::new(),
        };
        attack.findings.push(Finding {
            check: attack.check.into(),
            class: Class::Mistake,
            severity,
            subject: subject(relation.kind, &relation.name),
            message: format!(
                "with a tenant set {} {} rows of other tenants in `{}`{below}",
                listed(&roles),
                joined(&verbs.iter().map(|verb| done_by(&roles, verb)).collect::<Vec<_>>()),
                relation.name
            ),
            help: remedy(relation, &attack.spelling),
            evidence,
        });
    }
    Ok(())
}

/// What the same role sees by way of the parent.
async fn parent_step(attack: &Attack, relation: &Relation, role: &str) -> Result<Option<Evidence>> {
    let Some(parent) =
        relation.ancestors.last().and_then(|name| attack.relations.iter().find(|known| known.name == *name))
    else {
        return Ok(None);
    };
    let seen = attack.session(role, true).await?.count(parent, &attack.tenants).await?;
    let result = match seen.outcome {
        Ok(counts) if counts.others == 0 => {
            format!("{} visible, none of another tenant", rows(counts.visible))
        }
        Ok(counts) => sight(&counts, counts.others),
        Err(refusal) => refusal.to_string(),
    };
    Ok(Some(Evidence::as_role(role, seen.sql, result)))
}

/// As people write several words: "reads, updates and deletes".
pub(super) fn joined<T: AsRef<str>>(words: &[T]) -> String {
    match words.split_last() {
        Some((last, [])) => last.as_ref().to_owned(),
        Some((last, others)) => {
            let others: Vec<&str> = others.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", others.join(", "), last.as_ref())
        }
        None => String::new(),
    }
}
