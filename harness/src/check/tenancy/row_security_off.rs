//! `tenancy.row-security-off`: whether a role can opt out of policies.

use super::attack::Attack;
use super::roles::{done_by, grouped, listed};
use super::wording::{rows, sight};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::server::Capability;

/// With `row_security = off` the server refuses rather than show what policies hide.
pub(in crate::check) struct RowSecurityOff;

impl Check for RowSecurityOff {
    fn id(&self) -> &'static str {
        "tenancy.row-security-off"
    }

    fn summary(&self) -> &'static str {
        "`row_security = off` gets a refusal, not rows"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, says `set row_security = off`, and reads each table with \
                     row-level security. The server refuses. Where it answers, policies do not bind the role at all: \
                     it is the server's own way to say so. Where a role comes in with the setting off, as ALTER ROLE \
                     can make it, every query that a policy would touch fails, and that is told too.",
            matters: "It is a control of all other checks: as long as the server refuses, what the role does not see \
                      is hidden by policies, and not by chance. Programs such as pg_dump turn the setting off.",
            remedy: "Take ownership, SUPERUSER and BYPASSRLS from the role, or force row-level security; leave \
                     `row_security` on.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::ROW_SECURITY_OFF
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "set row_security = off; select note from orders",
            gets: "the notes of A, and those of B, where it should get an error",
            because: "`web_app` owns the table, and policies that are not forced do not bind the owner",
            fix: "alter table orders force row level security",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.row-security-off").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut sessions = attack.sessions(true).await?;
    for session in &mut sessions {
        let setting: String = sqlx::query_scalar("show row_security")
            .fetch_one(&mut session.connection)
            .await
            .attempt(ErrorKind::Database, || format!("failed to read a setting of `{}`", session.role))?;
        if setting == "off" {
            attack.findings.push(switched_off(&session.role));
        }
    }
    let guarded = attack.guarded();
    for relation in &guarded {
        let mut seen = Vec::new();
        for session in sessions.iter_mut().filter(|session| relation.readers.contains(&session.role)) {
            attack.count_probes(2);
            let off =
                session.count_after("set local row_security = off; ", relation, &attack.tenants).await?;
            let on = session.count_after("set local row_security = on; ", relation, &attack.tenants).await?;
            let sees_own = on.outcome.as_ref().is_ok_and(|counts| counts.own > 0);
            attack.count_controls(usize::from(sees_own));
            if let (Ok(counts), Ok(bound)) = (&off.outcome, &on.outcome) {
                let (others, filtered) =
                    (attack.others_in(relation, counts), attack.others_in(relation, bound));
                seen.push((session.role.clone(), (off.sql, *counts, others, others > filtered)));
            }
        }
        for (roles, (sql, counts, others, is_bypassed)) in grouped(seen) {
            let first = roles.first().cloned().unwrap_or_default();
            if others == 0 {
                attack.note_unshown(relation, &roles);
                continue;
            }
            let result = sight(&counts, others);
            let evidence = attack.shown(relation, &first, sql, result);
            let message = format!(
                "`row_security = off` raises no error for {}, who then {} {} of other tenants in `{}`",
                listed(&roles),
                done_by(&roles, "reads"),
                rows(others),
                relation.name
            );
            let help =
                "no policy binds the role: take ownership and BYPASSRLS from it, or force row-level security";
            // That it is free is shown by others, too; that a setting frees it would be the server's own fault.
            let (class, severity) = match is_bypassed {
                true => (Class::ServerBug, Severity::Error),
                false => (Class::Mistake, Severity::Warning),
            };
            attack.accuse(severity, relation, message, help.into(), evidence);
            if let Some(last) = attack.findings.last_mut() {
                last.class = class;
            }
        }
    }
    Ok(attack.verdict())
}

fn switched_off(role: &str) -> Finding {
    Finding {
        check: "tenancy.row-security-off".into(),
        class: Class::DeadPolicy,
        severity: Severity::Warning,
        subject: Subject::new("role", role),
        message: format!(
            "sessions of `{role}` begin with `row_security = off`: what a policy would touch fails"
        ),
        help: format!(
            "`alter role {} reset row_security`, or `alter database … reset row_security`",
            crate::ident::quote_ident(role)
        ),
        evidence: vec![Evidence::as_role(role, "show row_security", "off")],
    }
}
