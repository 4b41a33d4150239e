//! `tenancy.definer-write`: whether functions with their owner's rights change another tenant's rows.

use super::argument::{self, Arguments, Knows, Samples};
use super::attack::Attack;
use super::deed::{Deed, Witness};
use super::roles::{grouped, listed};
use super::routine::{self, Routine};
use super::transcript::transcript;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::server::Capability;
use std::collections::BTreeSet;

/// What a function with its owner's rights does to rows, it does to those of the tenant who calls it.
pub(in crate::check) struct DefinerWrite;

impl Check for DefinerWrite {
    fn id(&self) -> &'static str {
        "tenancy.definer-write"
    }

    fn summary(&self) -> &'static str {
        "a SECURITY DEFINER function changes no other tenant's rows"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every SECURITY DEFINER function and procedure that may write is called as every role of \
                     `tenancy.roles` that may execute it, with a tenant in the session: with arguments that let everything \
                     through, with nulls, with the other tenant's id and with keys of its rows. Before the transaction is \
                     undone, whoever looks after the server looks which tables it wrote to, and whether rows of other \
                     tenants are among what was written, or are gone. What it would do with arguments that nobody \
                     thought of is not seen, nor are procedures that commit; those that refuse every call are noted by \
                     `tenancy.definer-function`.",
            matters: "Such a function runs with its owner's rights, whom policies often do not bind. One that takes a tenant \
                      or a key as an argument lets each tenant write, and delete, as any other: an order that was \
                      cancelled by somebody else, an entry forged in their log.",
            remedy: "Take the tenant from the setting and not from an argument, and write it into the condition of every \
                     UPDATE and DELETE; `alter table … force row level security`, so that it binds the owner too; revoke \
                     execution from PUBLIC.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select cancel_order(2)",
            gets: "B's order is gone, though A sees no row of it",
            because: "the function runs as the owner of the table, whom no policy binds, and deletes by the key alone",
            fix: "alter function cancel_order(bigint) security invoker",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.definer-write":
            "bad.sql", "bad_procedure.sql", "bad_sign_in.sql", "bad_tenant_argument.sql", "bad_update.sql",
            "good.sql", "good_forced.sql", "good_own_tenant.sql", "good_revoked.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// A call that changed rows of others.
#[derive(Clone, Debug, PartialEq)]
struct Abuse {
    arguments: Arguments,
    sql: String,
    deeds: Vec<Deed>,
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.definer-write").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut routines = routine::read(&mut attack.control, &attack.roles, &attack.relations).await?;
    routines.retain(|routine| routine.may_write);
    let samples = match routines.is_empty() {
        true => Samples::new(),
        false => argument::samples(&mut attack.control, &attack.tenants, &attack.relations).await?,
    };
    let (mut probes, mut ran) = (0, 0);
    for routine in &routines {
        let mut witness = Witness::of(&attack).await?;
        let mut abuses = Vec::new();
        let mut has_run = false;
        for role in &routine.callers {
            let mut worst: Option<Abuse> = None;
            for arguments in argument::ways(&attack, routine, &samples) {
                if worst.as_ref().is_some_and(|worst| worst.arguments.knows <= arguments.knows) {
                    continue;
                }
                let sql = routine.call(&arguments.values);
                let row = arguments.row_in(&samples);
                probes += 1;
                let called = witness.call(&attack, role, row, &sql).await?;
                has_run |= called.is_ok();
                if let Ok(deeds) = called
                    && !deeds.is_empty()
                {
                    worst = Some(Abuse { arguments, sql, deeds });
                }
            }
            abuses.extend(worst.map(|worst| (role.clone(), worst)));
        }
        ran += usize::from(has_run);
        for (roles, abuse) in grouped(abuses) {
            report(&mut attack, routine, &roles, abuse).await?;
        }
    }
    attack.count_probes(probes);
    attack.count_controls(ran);
    Ok(attack.verdict())
}

async fn report(attack: &mut Attack, routine: &Routine, roles: &[String], abuse: Abuse) -> Result<()> {
    let Some(role) = roles.first() else { return Ok(()) };
    let Abuse { arguments, sql, deeds } = abuse;
    let (class, severity) = match arguments.knows {
        // Who has the text may be meant to reach its row: so people confirm a mail address.
        Knows::Text => (Class::TrustBoundary, Severity::Warning),
        _ => (Class::Mistake, Severity::Error),
    };
    let mut wanted: BTreeSet<_> = routine.mentions.iter().cloned().collect();
    wanted.extend(arguments.row.clone());
    wanted.extend(deeds.iter().map(|deed| deed.table.clone()));
    let mut evidence = attack.steps_for(wanted);
    evidence.extend(argument::laid(attack, &arguments));
    let session = attack.session(role, true).await?;
    let mut steps: Vec<Evidence> = deeds.iter().filter_map(|deed| deed.before(&attack.admin)).collect();
    steps.push(Evidence::as_role(role, sql, ""));
    steps.extend(deeds.iter().map(|deed| deed.after(&attack.admin)));
    evidence.extend(transcript(&session, steps));
    let done: Vec<String> = deeds.iter().map(Deed::told).collect();
    let name = routine.name.sql();
    attack.findings.push(Finding {
        check: attack.check.into(),
        class,
        severity,
        subject: Subject::new(routine.kind(), routine.shown()),
        message: format!(
            "`{}` {} for {}, with a tenant set{}",
            routine.shown(),
            done.join(" and "),
            listed(roles),
            arguments.knows.told()
        ),
        help: match arguments.knows {
            Knows::Text => format!(
                "if whoever has the text may change the row, allow it; else let {name} compare the tenant with the setting"
            ),
            Knows::Tenant => format!("let {name} take the tenant from the setting and not from an argument"),
            _ => format!(
                "let {name} compare the tenant with the setting, or force row-level security on the tables that it writes \
                 to, or revoke execution on it (also from PUBLIC)"
            ),
        },
        evidence,
    });
    Ok(())
}
