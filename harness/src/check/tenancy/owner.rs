//! `tenancy.owner`: whether a service could switch its own policies off.

use super::attack::Attack;
use super::reach::{reached, way_to};
use super::tables::Relation;
use super::wording::{rows, sight};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Finding, Severity, Subject};
use crate::server::Capability;

/// No role that attacks can switch row-level security off.
pub(in crate::check) struct Owner;

impl Check for Owner {
    fn id(&self) -> &'static str {
        "tenancy.owner"
    }

    fn summary(&self) -> &'static str {
        "no service owns the tables of tenants, and so none can switch their policies off"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Each role of `tenancy.roles` that is, inherits from or may become the owner of a table of tenants \
                     logs in, sets a tenant, disables row-level security on that table and counts the rows of others \
                     that it then sees. The transaction is rolled back. Forced policies do not help: what the owner \
                     may force it may unforce.",
            matters: "One injected statement, one careless migration that runs with the service's own connection, and \
                      the isolation of all tenants is gone for good, not for one request.",
            remedy: "Let a role without login own the tables, and a migrator be a member of it; grant services the \
                     privileges that they need and nothing else.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::OWNER
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "alter table orders disable row level security; select note from orders",
            gets: "the notes of A, and those of B",
            because: "`web_app` owns the table: it may do with its policies what it likes, forced or not",
            fix: "alter table orders owner to app_owner; grant select, insert on orders to web_app",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.owner").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let reached = reached(&mut attack.control, &attack.roles).await?;
    let guarded = attack.guarded();
    for mut session in attack.sessions(true).await? {
        let mut shown: Vec<&Relation> = Vec::new();
        let mut first = None;
        for relation in &guarded {
            let Some(way) = way_to(&reached, &session.role, &relation.owner) else { continue };
            let name = relation.name.sql();
            let before = format!("{way}alter table {name} disable row level security; ");
            attack.count_probes(1);
            let probed = session.count_after(&before, relation, &attack.tenants).await?;
            match probed.outcome {
                Ok(counts) if attack.others_in(relation, &counts) > 0 => {
                    shown.push(relation);
                    first.get_or_insert((relation, probed.sql, counts));
                }
                Ok(_) => {
                    attack.note_unshown(relation, std::slice::from_ref(&session.role));
                }
                // An owner may have taken privileges from itself; it can give them back, but did not.
                Err(refusal) => {
                    attack.note_refused(relation, std::slice::from_ref(&session.role), &refusal);
                }
            }
        }
        let Some((relation, sql, counts)) = first else { continue };
        let more = match shown.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let others = attack.others_in(relation, &counts);
        let evidence = attack.shown(relation, &session.role, sql, sight(&counts, others));
        attack.findings.push(Finding {
            check: "tenancy.owner".into(),
            class: Class::Mistake,
            severity: Severity::Error,
            subject: Subject::new("role", &session.role),
            message: format!(
                "`{}` can act as the owner of `{}`{more}: it switches row-level security off and reads {} of other tenants",
                session.role,
                relation.name,
                rows(others)
            ),
            help: "let a role without login own the tables, and grant services what they need".into(),
            evidence,
        });
    }
    Ok(attack.verdict())
}
