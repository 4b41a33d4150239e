//! `tenancy.cross-read`: whether one tenant reads another's rows.

use super::attack::Attack;
use super::probe::{Counts, Probed, Session, Why};
use super::roles::{done_by, grouped, listed};
use super::survey::{ByRole, Survey, survey};
use super::tables::Relation;
use super::transcript::transcript_in;
use super::wording::{remedy, rows, shared_rows};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Evidence, Severity};
use crate::ident::quote_literal;
use crate::server::Capability;

/// With a tenant in the session only that tenant's rows are to be seen.
pub(in crate::check) struct CrossRead;

impl Check for CrossRead {
    fn id(&self) -> &'static str {
        "tenancy.cross-read"
    }

    fn summary(&self) -> &'static str {
        "a session of one tenant sees no row of another"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets a tenant, and reads every table, partition, child, view \
                     and materialized view with the tenant's column: all of it, and by asking for another tenant's \
                     rows. It sees its own rows and no others. Where it does not even see its own, nothing is proven, \
                     and a note says so. Where the data has no rows of two tenants, some are added first.",
            matters: "This is the promise itself: one customer does not read another's data. One permissive policy too \
                      many, a partition that row-level security was never enabled on, a view with its owner's rights \
                      break it without any error.",
            remedy: "Enable row-level security on each table that can be reached directly, partitions and children \
                     included, or revoke the privilege; have one policy that compares the tenant with the setting, \
                     since permissive policies are joined with OR; create views `with (security_invoker = true)`.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select item from orders",
            gets: "A's lamp, and B's chair",
            because: "there is a policy, but row-level security was never enabled, so nobody asks it",
            fix: "alter table orders enable row level security",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::CROSS_READ
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// What one role saw of one relation.
#[derive(Clone, PartialEq)]
enum Seen {
    /// Its own rows only, or it may not read at all.
    Own,
    Leak {
        steps: Vec<(String, String)>,
        others: i64,
    },
    /// Rows that belong to no tenant.
    Shared {
        sql: String,
        visible: i64,
        nobody: i64,
    },
    Dead {
        sql: String,
        outcome: String,
    },
    Unknown(String),
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.cross-read").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    for (relation, seen) in survey::<OwnTenant>(&mut attack).await? {
        report(&mut attack, &relation, seen);
    }
    Ok(attack.verdict())
}

/// A session with a tenant.
struct OwnTenant(Session);

impl Survey for OwnTenant {
    type Seen = Seen;
    const PROBES: usize = 2;

    fn is_bound(seen: &Seen) -> bool {
        matches!(seen, Seen::Own)
    }

    async fn open(attack: &Attack, role: &str) -> Result<Self> {
        Ok(OwnTenant(attack.session(role, true).await?))
    }

    async fn look(&mut self, attack: &Attack, relation: &Relation, may_read: bool) -> Result<Seen> {
        let all = self.0.count(relation, &attack.tenants).await?;
        let asked = self.0.count_others(relation, &attack.tenants).await?;
        Ok(judge(attack, relation, all, asked, may_read))
    }
}

fn judge(
    attack: &Attack,
    relation: &Relation,
    all: Probed<Counts>,
    asked: Probed<i64>,
    may_read: bool,
) -> Seen {
    let other = quote_literal(&attack.tenants.other);
    let asked_for = asked.outcome.as_ref().copied().unwrap_or_default();
    let in_all = all.outcome.as_ref().map_or(0, |counts| attack.others_in(relation, counts));
    if in_all > 0 || asked_for > 0 {
        let mut steps = Vec::new();
        if let Ok(counts) = &all.outcome {
            let result = format!("{} visible, {} of them of other tenants", rows(counts.visible), in_all);
            steps.push((all.sql, result));
        }
        if asked_for > 0 {
            steps.push((asked.sql, format!("{} of tenant {other}", rows(asked_for))));
        }
        return Seen::Leak { steps, others: in_all.max(asked_for) };
    }
    match all.outcome {
        Err(refusal) if refusal.why == Why::Circumstances => {
            Seen::Unknown(format!("the statement failed ({refusal})"))
        }
        Ok(Counts { visible, nobody, .. }) if nobody > 0 => Seen::Shared { sql: all.sql, visible, nobody },
        _ if !may_read => Seen::Own,
        Ok(counts) if counts.own > 0 || (!counts.are_told_apart && counts.visible > 0) => Seen::Own,
        Ok(_) => Seen::Dead { sql: all.sql, outcome: format!("no row of `{}`", relation.name) },
        Err(refusal) => Seen::Dead { sql: all.sql, outcome: refusal.to_string() },
    }
}

fn report(attack: &mut Attack, relation: &Relation, seen: ByRole<Seen>) {
    let lacks = attack.lacks(relation);
    let mut uncovered: Vec<String> = Vec::new();
    let name = relation.name.to_string();
    for (roles, seen) in grouped(seen) {
        let Some(first) = roles.first().cloned() else { continue };
        let (who, reads) = (listed(&roles), done_by(&roles, "reads"));
        match seen {
            Seen::Leak { steps, others } => {
                let mut evidence = attack.seeding(relation);
                let steps = steps.into_iter().map(|(sql, result)| Evidence::as_role(&first, sql, result));
                let context = attack.context_of(&attack.tenants.own);
                evidence.extend(transcript_in(&first, Some(&context), steps.collect()));
                let message =
                    format!("with a tenant set {who} {reads} {} of other tenants in `{name}`", rows(others));
                let help = remedy(relation, &attack.spelling);
                attack.accuse(Severity::Error, relation, message, help, evidence);
            }
            Seen::Shared { sql, visible, nobody } => {
                let result = format!("{} visible, {nobody} of them of no tenant", rows(visible));
                let evidence = attack.shown(relation, &first, sql, result);
                let message =
                    format!("with a tenant set {who} {reads} {} of no tenant in `{name}`", rows(nobody));
                attack.accuse(Severity::Warning, relation, message, shared_rows(relation), evidence);
            }
            _ if lacks.is_some() => {
                uncovered.extend(roles.into_iter().filter(|role| relation.readers.contains(role)));
            }
            Seen::Own => {}
            Seen::Dead { sql, outcome } => {
                let evidence = attack.shown(relation, &first, sql, outcome);
                attack.note_dead(relation, &roles, evidence);
            }
            Seen::Unknown(reason) => attack.note_uncovered(relation, &roles, &reason),
        }
    }
    if let (Some(reason), false) = (lacks, uncovered.is_empty()) {
        attack.note_uncovered(relation, &uncovered, &reason);
    }
}
