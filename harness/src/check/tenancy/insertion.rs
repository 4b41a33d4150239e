//! Rows put into relations, in the other tenant's name and in the attacker's own.

use super::attack::Attack;
use super::literal::{self, Literal};
use super::probe::{Probed, ROW, Refusal, Session, Why};
use super::tables::Relation;
use super::tried::Reach;
use crate::error::Result;
use crate::fixture::rows::{Rehearsed, Rows};
use crate::ident::{QualifiedName, quote_literal};
use std::collections::{BTreeMap, BTreeSet};

/// Puts rows into relations, as whoever may name which columns.
pub(super) struct Insertions {
    rows: Rows,
    /// Rows of the other tenant that relations take, for those who may name these columns.
    plans: BTreeMap<(QualifiedName, BTreeSet<String>), Result<Rehearsed, String>>,
    /// The values that the policies of a relation name.
    literals: BTreeMap<QualifiedName, Vec<Literal>>,
    pub(super) probes: usize,
    pub(super) controls: usize,
}

/// What came of one role's attempt on one relation.
#[derive(Clone, PartialEq)]
pub(super) enum Tried {
    /// The other tenant's row was refused, and one of the tenant's own is not.
    Refused,
    Leak(Put),
    /// Policies refuse the tenant's own row too, for this reason.
    Dead(Put, String),
    Unknown(String),
}

/// A row that was put into a relation, and the statement.
#[derive(Clone, PartialEq)]
pub(super) struct Put {
    pub(super) sql: String,
    /// The row as an SQL expression of type jsonb.
    pub(super) json: String,
    /// The tables that it copies from or refers to.
    pub(super) reads: BTreeSet<QualifiedName>,
}

impl Insertions {
    /// # Errors
    /// The server is lost.
    pub(super) async fn read(attack: &mut Attack) -> Result<Insertions> {
        let rows = Rows::read(&mut attack.control).await?;
        Ok(Insertions { rows, plans: BTreeMap::new(), literals: BTreeMap::new(), probes: 0, controls: 0 })
    }

    /// A row of the other tenant, like one that is there, for who may name `columns`.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn plan(
        &mut self,
        attack: &mut Attack,
        relation: &Relation,
        columns: &BTreeSet<String>,
    ) -> Result<Result<Rehearsed, String>> {
        let key = (relation.name.clone(), columns.clone());
        if let Some(plan) = self.plans.get(&key) {
            return Ok(plan.clone());
        }
        let other = attack.tenants.other.clone();
        let plan = match attack.lacks(relation).filter(|_| relation.is_store()) {
            Some(reason) => Err(reason),
            None => {
                let plan = attack.plan(&mut self.rows, relation, Some(columns), &other).await?;
                plan.map_err(|reason| {
                    format!("it took no row of another tenant, not even from a superuser ({reason})")
                })
            }
        };
        self.plans.insert(key, plan.clone());
        Ok(plan)
    }

    /// Puts a row of the other tenant into `relation` as `session`, and where that is refused one of its own: else
    /// nothing is proven. `None` where the role may name no column: the server says so before it looks at any row.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn attempt(
        &mut self,
        attack: &mut Attack,
        session: &mut Session,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        let Some(columns) = relation.writers.get(&session.role) else { return Ok(None) };
        let plan = match self.plan(attack, relation, columns).await? {
            Ok(plan) if plan.is_as_wished => plan,
            // The table itself says whose the row is.
            Ok(_) => return Ok(Some(Tried::Refused)),
            Err(reason) => return Ok(Some(Tried::Unknown(reason))),
        };
        self.probes += 1;
        let Some((put, reach)) = put(attack, session, relation, &plan).await? else {
            return Ok(Some(Tried::Unknown("the row to copy is gone".into())));
        };
        if matches!(&reach, Reach::Refused(refusal) if refusal.why == Why::Policy)
            && let Some(put) = self.put_as_named(attack, session, relation, columns, &plan).await?
        {
            return Ok(Some(Tried::Leak(put)));
        }
        Ok(Some(match reach {
            Reach::Rows(_) => Tried::Leak(put),
            Reach::Unknown(refusal) => Tried::Unknown(format!("the statement failed ({refusal})")),
            Reach::Nothing | Reach::Refused(_) | Reach::Stopped(_) => {
                self.control(attack, session, relation, plan).await?
            }
        }))
    }

    /// Puts the planned row into `relation` with values that its policies name, where these `columns` may be named; the
    /// first that goes in.
    async fn put_as_named(
        &mut self,
        attack: &mut Attack,
        session: &mut Session,
        relation: &Relation,
        columns: &BTreeSet<String>,
        plan: &Rehearsed,
    ) -> Result<Option<Put>> {
        for Literal { column, value } in self.literals(attack, relation).await? {
            if !columns.contains(&column) {
                continue;
            }
            let (name, value) = (quote_literal(&column), quote_literal(&value));
            let mut other = plan.clone();
            other.json = format!("({}) || jsonb_build_object({name}, {value})", plan.json);
            if !other.columns.contains(&column) {
                other.columns.push(column);
            }
            self.probes += 1;
            if let Some((put, Reach::Rows(_))) = put(attack, session, relation, &other).await? {
                return Ok(Some(put));
            }
        }
        Ok(None)
    }

    async fn literals(&mut self, attack: &mut Attack, relation: &Relation) -> Result<Vec<Literal>> {
        if let Some(literals) = self.literals.get(&relation.name) {
            return Ok(literals.clone());
        }
        let tenant = attack.tenancy.column.clone();
        let literals = literal::of_new_rows(&mut attack.control, &relation.name, &tenant).await?;
        self.literals.insert(relation.name.clone(), literals.clone());
        Ok(literals)
    }

    /// Puts a row of the tenant's own into `relation`: one that is there, which gets as far as its key; or else another.
    async fn control(
        &mut self,
        attack: &mut Attack,
        session: &mut Session,
        relation: &Relation,
        plan: Rehearsed,
    ) -> Result<Tried> {
        let own = attack.tenants.own.clone();
        let columns = plan.columns.iter().cloned().collect();
        let there = Rehearsed { json: one_of(relation, &own), reads: BTreeSet::new(), ..plan };
        let mut last = put(attack, session, relation, &there).await?;
        if !last.as_ref().is_some_and(|(_, reach)| is_let_in(reach))
            && let Ok(plan) = attack.plan(&mut self.rows, relation, Some(&columns), &own).await?
        {
            last = put(attack, session, relation, &plan).await?.or(last);
        }
        Ok(match last {
            Some((_, reach)) if is_let_in(&reach) => {
                self.controls += 1;
                Tried::Refused
            }
            Some((put, Reach::Refused(refusal))) if refusal.why == Why::Policy => {
                Tried::Dead(put, refusal.to_string())
            }
            // Nobody's row goes in, whoever's it is.
            Some((_, Reach::Refused(Refusal { why: Why::Privilege, .. }))) => Tried::Refused,
            Some((_, Reach::Refused(refusal) | Reach::Stopped(refusal) | Reach::Unknown(refusal))) => {
                Tried::Unknown(format!("it refuses the tenant's own row too ({refusal})"))
            }
            Some((_, Reach::Nothing | Reach::Rows(_))) | None => {
                Tried::Unknown("no row of the tenant's own goes in either".into())
            }
        })
    }
}

/// A row of `tenant` that is in `relation`, as an SQL expression of type jsonb.
fn one_of(relation: &Relation, tenant: &str) -> String {
    let (table, column) = (relation.name.sql(), &relation.column);
    format!("select to_jsonb(r) from {table} r where r.{column} = {} limit 1", quote_literal(tenant))
}

/// Puts the planned row into `relation`, and tells how far it came; nothing where the row to copy is gone.
async fn put(
    attack: &mut Attack,
    session: &mut Session,
    relation: &Relation,
    plan: &Rehearsed,
) -> Result<Option<(Put, Reach)>> {
    let Some(row) = attack.evaluate(&plan.json).await? else { return Ok(None) };
    let sql = plan.insert(&relation.name, &format!("current_setting({})::jsonb", quote_literal(ROW)));
    let Probed { sql, outcome } = session.write(&sql, Some(&row)).await?;
    Ok(Some((Put { sql, json: plan.json.clone(), reads: plan.reads.clone() }, Reach::of(outcome))))
}

/// Whether policies and triggers let a row pass: keys are looked at last.
fn is_let_in(reach: &Reach) -> bool {
    match reach {
        Reach::Rows(_) => true,
        Reach::Stopped(refusal) => matches!(refusal.code.as_str(), "23505" | "23P01"),
        _ => false,
    }
}
