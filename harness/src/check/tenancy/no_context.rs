//! `tenancy.no-context`: what a session sees that never said whose it is.

use super::attack::Attack;
use super::probe::{Counts, Probed, Session, Why};
use super::roles::{done_by, grouped, listed, subject};
use super::survey::{ByRole, Survey, survey};
use super::tables::Relation;
use super::wording::{remedy, rows, shared_rows};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity};
use crate::server::Capability;

/// Without a tenant in the session no row is to be seen.
pub(in crate::check) struct NoContext;

impl Check for NoContext {
    fn id(&self) -> &'static str {
        "tenancy.no-context"
    }

    fn summary(&self) -> &'static str {
        "a session that set no tenant sees no row"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, never sets the tenant, and reads every table, partition, \
                     child, view and materialized view with the tenant's column. It sees no row, or the server \
                     refuses. In another session with a tenant the same role does see that tenant's rows: else the \
                     silence would prove nothing, and a note says so. Where the data has no rows of two tenants, \
                     some are added first.",
            matters: "Forgetting to set the tenant is the commonest mistake there is: a job, a script, a new \
                      middleware, a connection that was reset. A policy that fails open then hands out everybody's \
                      rows.",
            remedy: "Compare the tenant's column with the setting and with nothing else: \
                     `tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid`. Null equals nothing, and \
                     so nothing is seen. Remove conditions such as `current_setting(…) is null or`, and \
                     `is not distinct from`.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, for a nightly job whose author forgot to set the tenant",
            runs: "select item from orders",
            gets: "A's lamp, and B's chair: the orders of everybody",
            because: "there is a policy, but row-level security was never enabled, so nobody asks it",
            fix: "alter table orders enable row level security",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::NO_CONTEXT
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// What one role saw of one relation.
#[derive(Clone, PartialEq)]
enum Seen {
    /// Nothing, and with a tenant its own rows.
    Nothing,
    Leak {
        counts: Counts,
        sql: String,
        is_shared: bool,
    },
    Dead {
        sql: String,
        outcome: String,
    },
    Unknown(String),
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.no-context").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    for (relation, seen) in survey::<BothWays>(&mut attack).await? {
        report(&mut attack, &relation, seen);
    }
    Ok(attack.verdict())
}

/// A session that never sets a tenant, and one that does.
struct BothWays {
    without: Session,
    with: Session,
}

impl Survey for BothWays {
    type Seen = Seen;
    const PROBES: usize = 2;

    fn is_bound(seen: &Seen) -> bool {
        matches!(seen, Seen::Nothing)
    }

    async fn open(attack: &Attack, role: &str) -> Result<Self> {
        let without = attack.session(role, false).await?;
        Ok(BothWays { without, with: attack.session(role, true).await? })
    }

    async fn look(&mut self, attack: &Attack, relation: &Relation, may_read: bool) -> Result<Seen> {
        let probed = self.without.count(relation, &attack.tenants).await?;
        let control = self.with.count(relation, &attack.tenants).await?;
        Ok(judge(relation, probed, control, may_read))
    }
}

fn judge(relation: &Relation, probed: Probed<Counts>, control: Probed<Counts>, may_read: bool) -> Seen {
    match probed.outcome {
        Ok(counts) if counts.visible > 0 => {
            // Rows of nobody that are seen with a tenant too are everybody's, perhaps on purpose.
            let nobodys = counts.are_told_apart && counts.own == 0 && counts.others == 0;
            let is_shared = nobodys && control.outcome.is_ok_and(|with| with.nobody >= counts.nobody);
            Seen::Leak { counts, sql: probed.sql, is_shared }
        }
        Err(refusal) if refusal.why == Why::Circumstances => {
            Seen::Unknown(format!("the statement failed ({refusal})"))
        }
        // Closed by the lack of a privilege: there is no policy to prove.
        _ if !may_read => Seen::Nothing,
        _ => match control.outcome {
            Ok(with) if with.own > 0 || (!with.are_told_apart && with.visible > 0) => Seen::Nothing,
            Ok(_) => Seen::Dead { sql: control.sql, outcome: format!("no row of `{}`", relation.name) },
            Err(refusal) if refusal.why == Why::Circumstances => {
                Seen::Unknown(format!("the statement failed ({refusal})"))
            }
            Err(refusal) => Seen::Dead { sql: control.sql, outcome: refusal.to_string() },
        },
    }
}

fn report(attack: &mut Attack, relation: &Relation, seen: ByRole<Seen>) {
    // What is seen is a leak whatever else is lacking; of the rest nothing is known without rows.
    let lacks = attack.lacks(relation);
    let mut uncovered: Vec<String> = Vec::new();
    for (roles, seen) in grouped(seen) {
        let Some(first) = roles.first().cloned() else { continue };
        match seen {
            Seen::Leak { counts, sql, is_shared } => {
                let finding = leak(attack, relation, &roles, counts, sql, is_shared);
                attack.findings.push(finding);
            }
            _ if lacks.is_some() => {
                uncovered.extend(roles.into_iter().filter(|role| relation.readers.contains(role)));
            }
            Seen::Nothing => {}
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

fn leak(
    attack: &Attack,
    relation: &Relation,
    roles: &[String],
    counts: Counts,
    sql: String,
    is_shared: bool,
) -> Finding {
    let name = relation.name.to_string();
    let (who, reads) = (listed(roles), done_by(roles, "reads"));
    let whose = if counts.are_told_apart && counts.own == 0 && counts.others == 0 {
        " that belong to no tenant"
    } else {
        ""
    };
    let mut evidence = attack.seeding(relation);
    evidence.push(Evidence::step("a new session", format!("`{}` was never set in it", attack.setting)));
    let role = roles.first().cloned().unwrap_or_default();
    evidence.push(Evidence::as_role(role, sql, format!("{} visible{whose}", rows(counts.visible))));
    Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: if is_shared { Severity::Warning } else { Severity::Error },
        subject: subject(relation.kind, &relation.name),
        message: format!("without a tenant {who} {reads} {} of `{name}`{whose}", rows(counts.visible)),
        help: if is_shared { shared_rows(relation) } else { remedy(relation, &attack.spelling) },
        evidence,
    }
}
