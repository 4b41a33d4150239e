//! `tenancy.cross-insert`: whether one tenant adds rows to another's.

use super::attack::{Attack, evaluate, remedy, transcript};
use super::probe::{Probed, ROW, Session, Why};
use super::roles::{grouped, listed, subject};
use super::tables::Relation;
use super::writing;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity};
use crate::fixture::rows::{Rehearsed, Rows};
use crate::ident::{QualifiedName, quote_literal};
use crate::server::Capability;
use std::collections::{BTreeMap, BTreeSet};

/// With a tenant in the session no row can be added for another.
pub(in crate::check) struct CrossInsert;

impl Check for CrossInsert {
    fn id(&self) -> &'static str {
        "tenancy.cross-insert"
    }

    fn summary(&self) -> &'static str {
        "a session of one tenant adds no row to another's"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets a tenant, and inserts a row of another tenant into every \
                     table, partition, child and view with the tenant's column that it may insert into. The row is one \
                     that the table does take: whoever is free of policies inserts it first. The server refuses. There \
                     is no RETURNING, which would need the row to be visible and so hide the hole.",
            matters: "A row in another tenant's name is read as that tenant's own: an order, an operator, an audit \
                      record. `with check (true)` and a partition without a policy let it in, though the writer cannot \
                      read it back and so no test notices.",
            remedy: "Give the policy the same condition in WITH CHECK as in USING, or leave WITH CHECK out: USING is then \
                     used for both. Enable row-level security on partitions and children that can be written directly, \
                     or revoke the privilege.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "insert into orders (tenant_id, item) values ('…B…', 'a bill')",
            gets: "INSERT 0 1: B finds a bill among its orders that nobody there wrote",
            because: "there is a policy, but row-level security was never enabled, so nobody asks it",
            fix: "alter table orders enable row level security",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::CROSS_INSERT
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// What came of one role's attempt on one relation.
#[derive(Clone, PartialEq)]
pub(super) enum Tried {
    Refused,
    Leak { sql: String, json: String, reads: BTreeSet<QualifiedName> },
    Unknown(String),
}

/// A row that a relation takes, for those who may name these columns.
type Plans = BTreeMap<BTreeSet<String>, Result<Rehearsed, String>>;

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.cross-insert").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut rows = Rows::read(&mut attack.control).await?;
    let mut sessions = attack.sessions(true).await?;
    let mut probes = 0;
    for relation in attack.relations.clone() {
        let mut plans = Plans::new();
        let mut tried = Vec::new();
        for session in &mut sessions {
            // Who may name no column at all inserts nothing: the server says so before it looks at any row.
            let Some(columns) = relation.writers.get(&session.role) else { continue };
            let plan = match plans.get(columns) {
                Some(plan) => plan,
                None => {
                    let plan = plan(&mut attack, &mut rows, &relation, columns).await?;
                    plans.entry(columns.clone()).or_insert(plan)
                }
            };
            let outcome = match plan {
                Ok(plan) if plan.is_as_wished => {
                    probes += 1;
                    attempt(&mut attack, session, &relation, plan).await?
                }
                // The table itself says whose the row is.
                Ok(_) => Tried::Refused,
                Err(reason) => Tried::Unknown(reason.clone()),
            };
            tried.push((session.role.clone(), outcome));
        }
        report(&mut attack, &relation, tried, &sessions);
    }
    attack.count_probes(probes);
    Ok(attack.verdict())
}

/// A row of the other tenant, like one that is there.
pub(super) async fn plan(
    attack: &mut Attack,
    rows: &mut Rows,
    relation: &Relation,
    columns: &BTreeSet<String>,
) -> Result<Result<Rehearsed, String>> {
    if let Some(reason) = attack.lacks(relation).filter(|_| relation.is_store()) {
        return Ok(Err(reason));
    }
    let other = attack.tenants.other.clone();
    let planned = writing::plan(attack, rows, relation, Some(columns), &other).await?;
    Ok(planned
        .map_err(|reason| format!("it took no row of another tenant, not even from a superuser ({reason})")))
}

pub(super) async fn attempt(
    attack: &mut Attack,
    session: &mut Session,
    relation: &Relation,
    plan: &Rehearsed,
) -> Result<Tried> {
    let sql = plan.insert(&relation.name, &format!("current_setting({})::jsonb", quote_literal(ROW)));
    let Some(json) = evaluate(&mut attack.control, &plan.json).await? else {
        return Ok(Tried::Unknown("the row to copy is gone".into()));
    };
    let Probed { sql, outcome } = session.write(&sql, Some(&json)).await?;
    Ok(match outcome {
        // A trigger or a rule may swallow it.
        Ok(0) => Tried::Refused,
        Ok(_) => Tried::Leak { sql, json: plan.json.clone(), reads: plan.reads.clone() },
        Err(refusal) => match refusal.why {
            Why::Policy | Why::Privilege => Tried::Refused,
            Why::Circumstances => Tried::Unknown(format!("the statement failed ({refusal})")),
            Why::Other if own_row_goes_in(attack, session, relation, plan).await? => Tried::Refused,
            Why::Other => Tried::Unknown(format!("it refuses any row ({refusal})")),
        },
    })
}

/// Whether the same role may add a row of its own tenant, so that a refusal has to do with the tenant.
async fn own_row_goes_in(
    attack: &mut Attack,
    session: &mut Session,
    relation: &Relation,
    plan: &Rehearsed,
) -> Result<bool> {
    let mut rows = Rows::read(&mut attack.control).await?;
    let (tenant, columns) = (attack.tenants.own.clone(), plan.columns.iter().cloned().collect());
    let planned = writing::plan(attack, &mut rows, relation, Some(&columns), &tenant).await?;
    let Ok(own) = planned else { return Ok(false) };
    let Some(json) = evaluate(&mut attack.control, &own.json).await? else { return Ok(false) };
    let sql = own.insert(&relation.name, &format!("current_setting({})::jsonb", quote_literal(ROW)));
    Ok(session.write(&sql, Some(&json)).await?.outcome.is_ok_and(|count| count > 0))
}

fn report(attack: &mut Attack, relation: &Relation, tried: Vec<(String, Tried)>, sessions: &[Session]) {
    let name = relation.name.to_string();
    for (roles, tried) in grouped(tried) {
        match tried {
            Tried::Refused => {}
            Tried::Unknown(reason) => attack.note_uncovered(relation, &roles, &reason),
            Tried::Leak { sql, json, mut reads } => {
                let Some(session) = sessions.iter().find(|session| Some(&session.role) == roles.first())
                else {
                    continue;
                };
                reads.insert(relation.name.clone());
                reads.extend(relation.shows.iter().cloned());
                let mut evidence = attack.steps_for(reads);
                evidence.push(Evidence::as_role(
                    &attack.admin,
                    format!("select set_config({}, ({json})::text, false) is not null", quote_literal(ROW)),
                    format!("a row of tenant {}", quote_literal(&attack.tenants.other)),
                ));
                let step = Evidence::as_role(&session.role, sql, "1 row inserted");
                evidence.extend(transcript(session, vec![step]));
                attack.findings.push(Finding {
                    check: attack.check.into(),
                    class: Class::Mistake,
                    severity: Severity::Error,
                    subject: subject(relation.kind, &relation.name),
                    message: format!(
                        "with a tenant set {} inserts rows of another tenant into `{name}`",
                        listed(&roles)
                    ),
                    help: remedy(relation, &attack.setting),
                    evidence,
                });
            }
        }
    }
}
