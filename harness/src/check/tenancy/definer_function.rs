//! `tenancy.definer-function`: whether functions with their owner's rights show another tenant's rows.

use super::argument::{self, Arguments, Knows, Samples};
use super::attack::Attack;
use super::probe::{Probed, ROW, Refusal, Session, Why};
use super::roles::{grouped, listed};
use super::routine::{self, Routine};
use super::transcript::transcript;
use super::trial::Gave;
use super::without_others::{self, tells};
use super::wording::rows;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::server::Capability;
use std::collections::{BTreeSet, HashSet};

/// What a function with its owner's rights gives does not depend on other tenants' rows.
pub(in crate::check) struct DefinerFunction;

impl Check for DefinerFunction {
    fn id(&self) -> &'static str {
        "tenancy.definer-function"
    }

    fn summary(&self) -> &'static str {
        "what a SECURITY DEFINER function gives does not depend on other tenants' rows"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` calls every SECURITY DEFINER function and procedure that it may execute, \
                     also by what PUBLIC may, with a tenant in the session and without: with arguments that let \
                     everything through, with nulls, with the other tenant's id and with keys of its rows. Then the rows \
                     of all other tenants are taken away, and the same calls are made again: what is different came from \
                     them. Functions that return a trigger are not called, nor are those of extensions, cursors are not read, and arguments \
                     that nobody thought of may show more.",
            matters: "A SECURITY DEFINER function runs with its owner's rights, whom policies often do not bind: it is a \
                      door beside them. Everybody may execute a new function until that is taken away, and one that takes \
                      a tenant or a key as an argument gives whichever is asked for.",
            remedy: "Take the tenant from the setting and not from an argument, and write the condition into the \
                     function; `alter table … force row level security`, so that it binds the owner too; revoke execution \
                     from PUBLIC. Where the caller's rights do, make the function SECURITY INVOKER.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select * from order_by_id(2)",
            gets: "B's chair",
            because: "the function runs as the owner of the table, whom no policy binds, and looks for the key alone",
            fix: "alter function order_by_id(bigint) security invoker",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::DEFINER_FUNCTION
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// A call of a routine as one role, and what it gave.
struct Called {
    routine: usize,
    role: String,
    has_context: bool,
    arguments: Arguments,
    sql: String,
    row: Option<String>,
    /// Twice: what differs by itself says nothing.
    gave: [Result<Gave, Refusal>; 2],
}

/// What is learnt of other tenants.
#[derive(Clone, Debug, PartialEq)]
struct Learnt {
    severity: Severity,
    knows: Knows,
    has_context: bool,
    sql: String,
    arguments: Arguments,
    before: String,
    after: String,
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.definer-function").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let routines = routine::read(&mut attack.control, &attack.roles, &attack.relations).await?;
    let mut ran = 0;
    if !routines.is_empty() {
        ran = attack_all(&mut attack, &routines).await?;
    }
    attack.count_controls(ran);
    Ok(attack.verdict())
}

/// Gives how many routines answered at least one call.
async fn attack_all(attack: &mut Attack, routines: &[Routine]) -> Result<usize> {
    let samples = argument::samples(&mut attack.control, &attack.tenants, &attack.relations).await?;
    let secrets = without_others::values(attack).await?;
    let mut calls = Vec::new();
    for role in attack.roles.clone() {
        for has_context in [true, false] {
            let mut session = attack.session(&role, has_context).await?;
            for (place, routine) in routines.iter().enumerate() {
                if routine.callers.contains(&role) {
                    calls.extend(
                        first_calls(attack, &mut session, routine, place, &samples, has_context).await?,
                    );
                }
            }
        }
    }
    attack.count_probes(calls.len());
    without_others::remove(attack).await?;
    let mut learnt: Vec<Vec<(String, Option<Learnt>)>> = routines.iter().map(|_| Vec::new()).collect();
    for role in attack.roles.clone() {
        let mut sessions = [attack.session(&role, false).await?, attack.session(&role, true).await?];
        for (place, routine) in routines.iter().enumerate() {
            let own = calls.iter().filter(|call| call.routine == place && call.role == role);
            let mut worst: Option<Learnt> = None;
            for call in own {
                let session = &mut sessions[usize::from(call.has_context)];
                let after = session.try_out(&row_of(call.row.as_deref()), call.sql.clone()).await?;
                let more = judge(call, &after, &secrets);
                let rank = |learnt: &Learnt| (learnt.severity, learnt.knows, !learnt.has_context);
                if more
                    .as_ref()
                    .is_some_and(|more| worst.as_ref().is_none_or(|worst| rank(more) < rank(worst)))
                {
                    worst = more;
                }
            }
            if routine.callers.contains(&role) {
                learnt[place].push((role.clone(), worst));
            }
        }
    }
    let mut ran = 0;
    for (place, (routine, learnt)) in routines.iter().zip(learnt).enumerate() {
        let of_routine: Vec<&Called> = calls.iter().filter(|call| call.routine == place).collect();
        let has_run = of_routine.iter().any(|call| call.gave.iter().any(Result::is_ok));
        ran += usize::from(has_run);
        for (roles, learnt) in grouped(learnt) {
            match learnt {
                Some(learnt) => report(attack, routine, &roles, learnt).await?,
                None if !has_run => note_silent(attack, routine, &roles, &of_routine),
                None => {}
            }
        }
    }
    Ok(ran)
}

fn row_of(row: Option<&str>) -> Vec<(&'static str, &str)> {
    row.map(|row| (ROW, row)).into_iter().collect()
}

/// The calls while the other tenants have rows.
async fn first_calls(
    attack: &Attack,
    session: &mut Session,
    routine: &Routine,
    place: usize,
    samples: &Samples,
    has_context: bool,
) -> Result<Vec<Called>> {
    let mut calls = Vec::new();
    for arguments in argument::ways(attack, routine, samples) {
        // Without a tenant it is the policies that may fail open: what the arguments say adds little.
        if !has_context && arguments.knows != Knows::Nothing {
            continue;
        }
        let row = arguments.row_in(samples);
        let sql = routine.call(&arguments.values);
        let settings = row_of(row);
        let first = session.try_out(&settings, sql.clone()).await?.outcome;
        let second = session.try_out(&settings, sql.clone()).await?.outcome;
        calls.push(Called {
            routine: place,
            role: session.role.clone(),
            has_context,
            arguments,
            sql,
            row: row.map(str::to_owned),
            gave: [first, second],
        });
    }
    Ok(calls)
}

/// What a call gave that it does not give once the other tenants have no rows.
fn judge(call: &Called, after: &Probed<Gave>, secrets: &HashSet<String>) -> Option<Learnt> {
    let [first, second] = &call.gave;
    let learnt = |severity, before, after| {
        let (knows, has_context) = (call.arguments.knows, call.has_context);
        let (sql, arguments) = (call.sql.clone(), call.arguments.clone());
        Some(Learnt { severity, knows, has_context, sql, arguments, before, after })
    };
    let is_unknown = |refusal: &Refusal| refusal.why == Why::Circumstances || refusal.why == Why::Privilege;
    match (first, second, &after.outcome) {
        (Ok(first), Ok(second), Ok(after)) => {
            let gone: Vec<&String> = first.lines.iter().filter(|line| !after.lines.contains(line)).collect();
            let sent = call.arguments.sent(call.row.as_deref());
            let shown = gone.iter().any(|line| tells(line, &sent, secrets));
            let is_stable = first == second;
            if gone.is_empty() || !(is_stable || shown) {
                return None;
            }
            let severity =
                match (is_stable && first.lines.len() > after.lines.len(), shown, call.arguments.knows) {
                    // Who has the text may be meant to find its row: so people sign in.
                    (true, _, Knows::Text) | (_, true, Knows::Text) => Severity::Warning,
                    (true, ..) | (_, true, _) => Severity::Error,
                    _ => Severity::Warning,
                };
            learnt(severity, counted(first), counted(after))
        }
        (Err(first), Err(second), Ok(after)) if first == second && !is_unknown(first) => {
            learnt(Severity::Warning, first.to_string(), counted(after))
        }
        (Ok(first), Ok(second), Err(after)) if first == second && !is_unknown(after) => {
            learnt(Severity::Warning, counted(first), after.to_string())
        }
        _ => None,
    }
}

fn counted(gave: &Gave) -> String {
    rows(i64::try_from(gave.lines.len()).unwrap_or(i64::MAX))
}

async fn report(attack: &mut Attack, routine: &Routine, roles: &[String], learnt: Learnt) -> Result<()> {
    let Some(role) = roles.first() else { return Ok(()) };
    let Learnt { severity, knows, has_context, sql, arguments, before, after } = learnt;
    let with = knows.told();
    let context = if has_context { "with a tenant set" } else { "without a tenant" };
    let who = listed(roles);
    let (class, what) = match (severity, knows) {
        (Severity::Error, _) => (Class::Mistake, format!("gives {who} rows of other tenants")),
        (_, Knows::Text) => (Class::TrustBoundary, format!("finds rows of other tenants for {who}")),
        _ => (Class::Mistake, format!("answers {who} by what rows other tenants have")),
    };
    let mut wanted: BTreeSet<_> = routine.mentions.iter().cloned().collect();
    wanted.extend(arguments.row.clone());
    let mut evidence = attack.steps_for(wanted);
    evidence.extend(argument::laid(attack, &arguments));
    let result = format!("{before}; once the rows of other tenants are gone: {after}");
    let session = attack.session(role, has_context).await?;
    evidence.extend(transcript(&session, vec![Evidence::as_role(role, sql, result)]));
    attack.findings.push(Finding {
        check: attack.check.into(),
        class,
        severity,
        subject: Subject::new(routine.kind(), routine.shown()),
        message: format!("`{}` {what}, {context}{with}", routine.shown()),
        help: help(routine, knows),
        evidence,
    });
    Ok(())
}

fn help(routine: &Routine, knows: Knows) -> String {
    let name = routine.name.sql();
    match knows {
        Knows::Text => format!(
            "if whoever has the text may find the row, allow it; else let {name} compare the tenant with the setting"
        ),
        Knows::Tenant => format!("let {name} take the tenant from the setting and not from an argument"),
        _ => format!(
            "let {name} compare the tenant with the setting, or force row-level security on the tables that it reads, or \
             revoke execution on it (also from PUBLIC)"
        ),
    }
}

/// A routine that refused every call: nothing is known of it.
fn note_silent(attack: &mut Attack, routine: &Routine, roles: &[String], calls: &[&Called]) {
    let reasons: BTreeSet<String> = calls
        .iter()
        .flat_map(|call| &call.gave)
        .filter_map(|gave| gave.as_ref().err().map(ToString::to_string))
        .collect();
    let reasons = reasons.into_iter().collect::<Vec<_>>().join(", ");
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Uncovered,
        severity: Severity::Note,
        subject: Subject::new(routine.kind(), routine.shown()),
        message: format!(
            "`{}` was not attacked as {}: it refused whatever it was given ({reasons})",
            routine.shown(),
            listed(roles)
        ),
        help: "revoke execution on it from roles that do not call it, or look at it by hand".into(),
        evidence: vec![Evidence::step(format!("calling `{}`", routine.shown()), reasons)],
    });
}
