//! `tenancy.forced`: whether the owner of a table is bound by its policies.

use super::attack::Attack;
use super::reach::{logins, reached, way_to};
use super::roles::{done_by, grouped, listed};
use super::tables::Relation;
use super::wording::{rows, sight};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::server::Capability;

/// No role that attacks is free of policies because it owns the table.
pub(in crate::check) struct Forced;

impl Check for Forced {
    fn id(&self) -> &'static str {
        "tenancy.forced"
    }

    fn summary(&self) -> &'static str {
        "policies bind the owner of a table too, where a service can be the owner"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For each table of tenants with row-level security that is not forced it is asked who can act as \
                     its owner: the owner itself, who inherits from it, and who may SET ROLE to it. A role of \
                     `tenancy.roles` among them logs in, sets a tenant, and counts the rows of others that it sees. \
                     Of other roles that log in, such as a migrator, a note says that no policy binds them.",
            matters: "Policies do not bind the owner of a table unless they are forced. A service that connects as \
                      who created the tables, which is how most frameworks begin, reads everybody's rows, and no \
                      error says so.",
            remedy: "`alter table … force row level security`; better still, have services connect as roles that own \
                     nothing.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::FORCED
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, who owns the tables it created, and sets tenant A",
            runs: "select note from orders",
            gets: "the notes of A, and those of B",
            because: "row-level security is enabled, but it does not bind the owner unless it is forced",
            fix: "alter table orders force row level security",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.forced").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let logins = logins(&mut attack.control).await?;
    let mut known = attack.roles.clone();
    known.extend(logins.iter().cloned());
    let reached = reached(&mut attack.control, &known).await?;
    let mut sessions = attack.sessions(true).await?;
    let is_unforced =
        |relation: &&Relation| relation.is_store() && relation.is_enabled && !relation.is_forced;
    let unforced: Vec<Relation> = attack.relations.iter().filter(is_unforced).cloned().collect();
    for relation in &unforced {
        let mut seen = Vec::new();
        for session in &mut sessions {
            let Some(before) = way_to(&reached, &session.role, &relation.owner) else { continue };
            attack.count_probes(1);
            let probed = session.count_after(&before, relation, &attack.tenants).await?;
            seen.push((session.role.clone(), probed));
        }
        for (roles, probed) in grouped(seen) {
            let first = roles.first().cloned().unwrap_or_default();
            let who = listed(&roles);
            let counts = match probed.outcome {
                Ok(counts) => counts,
                Err(refusal) => {
                    attack.note_refused(relation, &roles, &refusal);
                    continue;
                }
            };
            let others = attack.others_in(relation, &counts);
            if others == 0 {
                attack.note_unshown(relation, &roles);
                continue;
            }
            let result = sight(&counts, others);
            let evidence = attack.shown(relation, &first, probed.sql, result);
            let owner = &relation.owner;
            let how = if roles.contains(owner) {
                done_by(&roles, "owns it")
            } else {
                format!("can act as its owner `{owner}`")
            };
            let message = format!(
                "no policy of `{}` binds {who}, who {how}: with a tenant set {} {} of other tenants",
                relation.name,
                if roles.len() == 1 { "it reads" } else { "they read" },
                rows(others)
            );
            let help = format!(
                "`alter table {} force row level security`, or have services connect as roles that own nothing",
                relation.name.sql()
            );
            attack.accuse(Severity::Error, relation, message, help, evidence);
        }
    }
    for login in logins.iter().filter(|login| !attack.roles.contains(login)) {
        let is_owned = |relation: &&Relation| way_to(&reached, login, &relation.owner).is_some();
        let owned: Vec<&Relation> = unforced.iter().filter(is_owned).collect();
        if let Some(first) = owned.first() {
            attack.findings.push(beyond(login, first, owned.len()));
        }
    }
    Ok(attack.verdict())
}

/// A role that is no service's, and that policies do not bind: by design, as a migrator's are.
fn beyond(login: &str, first: &Relation, count: usize) -> Finding {
    let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    Finding {
        check: "tenancy.forced".into(),
        class: Class::TrustBoundary,
        severity: Severity::Note,
        subject: Subject::new("role", login),
        message: format!(
            "no policy of `{}`{more} binds `{login}`, who can act as the owner `{}`",
            first.name, first.owner
        ),
        help: format!(
            "fine for a role that only migrates; if a service connects as `{login}`, name it in `tenancy.roles`, and \
             force row-level security"
        ),
        evidence: vec![Evidence::as_role(
            login,
            format!(
                "select relforcerowsecurity, pg_has_role(relowner, 'member') from pg_class where oid = {}::regclass",
                crate::ident::quote_literal(&first.name.sql())
            ),
            "false, true: not forced, and the owner",
        )],
    }
}
