//! `tenancy.cross-insert`: whether one tenant adds rows to another's.

use super::attack::Attack;
use super::insertion::{Insertions, Put, Tried};
use super::probe::Session;
use super::roles::{done_by, grouped, listed};
use super::tables::Relation;
use super::transcript::transcript;
use super::wording::remedy;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Evidence, Severity};
use crate::ident::quote_literal;
use crate::server::Capability;

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
                     that the table does take: whoever is free of policies inserts it first. The server refuses, also \
                     where the row has a value that a policy names (`actor = 'system'`, a column that is true); a row of \
                     the tenant's own it takes, as far as its key, or nothing is proven. There is no RETURNING, which \
                     would need the row to be visible and so hide the hole.",
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

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.cross-insert").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut insertions = Insertions::read(&mut attack).await?;
    let mut sessions = attack.sessions(true).await?;
    for relation in attack.relations.clone() {
        let mut tried = Vec::new();
        for session in &mut sessions {
            if let Some(outcome) = insertions.attempt(&mut attack, session, &relation).await? {
                tried.push((session.role.clone(), outcome));
            }
        }
        report(&mut attack, &relation, tried, &sessions);
    }
    attack.count_probes(insertions.probes);
    attack.count_controls(insertions.controls);
    Ok(attack.verdict())
}

fn report(attack: &mut Attack, relation: &Relation, tried: Vec<(String, Tried)>, sessions: &[Session]) {
    let name = relation.name.to_string();
    for (roles, tried) in grouped(tried) {
        let Some(session) = sessions.iter().find(|session| Some(&session.role) == roles.first()) else {
            continue;
        };
        match tried {
            Tried::Refused => {}
            Tried::Unknown(reason) => attack.note_uncovered(relation, &roles, &reason),
            Tried::Dead(put, result) => {
                let evidence =
                    evidence(attack, relation, session, put, "a row of the tenant's own".into(), result);
                attack.note_idle(relation, &roles, "insert", evidence);
            }
            Tried::Leak(put) => {
                let whose = format!("a row of tenant {}", quote_literal(&attack.tenants.other));
                let evidence = evidence(attack, relation, session, put, whose, "1 row inserted".into());
                let message = format!(
                    "with a tenant set {} {} rows of another tenant into `{name}`",
                    listed(&roles),
                    done_by(&roles, "inserts")
                );
                let help = remedy(relation, &attack.spelling);
                attack.accuse(Severity::Error, relation, message, help, evidence);
            }
        }
    }
}

/// The transcript of an insert: the row is laid ready, and goes in or does not.
fn evidence(
    attack: &Attack,
    relation: &Relation,
    session: &Session,
    put: Put,
    whose: String,
    result: String,
) -> Vec<Evidence> {
    let mut wanted = put.reads;
    wanted.insert(relation.name.clone());
    wanted.extend(relation.shows.iter().cloned());
    let mut evidence = attack.steps_for(wanted);
    evidence.push(attack.laid(&put.json, whose));
    let step = Evidence::as_role(&session.role, put.sql, result);
    evidence.extend(transcript(session, vec![step]));
    evidence
}
