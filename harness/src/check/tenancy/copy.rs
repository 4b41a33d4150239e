//! `tenancy.copy`: whether COPY goes past the policies.

use super::attack::Attack;
use super::direct::joined;
use super::insertion::Insertions;
use super::probe::{Refusal, Session, Why};
use super::roles::{done_by, grouped, listed, subject};
use super::tables::Relation;
use super::transcript::transcript;
use super::wording::rows;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use futures_util::StreamExt;
use std::collections::BTreeSet;

/// COPY gives a tenant its own rows and takes none for another.
pub(in crate::check) struct Copy;

impl Check for Copy {
    fn id(&self) -> &'static str {
        "tenancy.copy"
    }

    fn summary(&self) -> &'static str {
        "COPY gives a tenant its own rows, takes none for another, and reaches no file of the server"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles`, with a tenant set, copies the tenant's column of each table out and gets its own \
                     rows only; copies a row of another tenant in and is refused: with row-level security the server takes \
                     no COPY FROM at all. COPY to a program or a file of the server is refused too.",
            matters: "Exports and bulk loads use COPY. Where row-level security is on it is as safe as SELECT; a role that may \
                      run programs on the server, or read its files, needs no table to read everything.",
            remedy: "Enable row-level security on the table; revoke `pg_execute_server_program`, `pg_write_server_files` and \
                     `pg_read_server_files` from roles that services connect as.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "copy orders from stdin",
            gets: "an order in B's name",
            because: "row-level security was never enabled on `orders`: the server would refuse COPY FROM",
            fix: "alter table orders enable row level security",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::COPY
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// What one role's COPY did and should not have: the statements with their results.
#[derive(Clone, Debug, Default, PartialEq)]
struct Copied {
    steps: Vec<(String, String)>,
    verbs: Vec<&'static str>,
    /// What writes the row that goes in to a file, and the tables that it reads.
    laid: Option<(String, BTreeSet<QualifiedName>)>,
}

/// The file in which a row goes from one session of psql's to another, as COPY writes it.
const FILE: &str = "pgharness.copied";

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.copy").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let mut insertions = Insertions::read(&mut attack).await?;
    let (mut probes, mut controls) = (0, 0);
    let mut sessions = Vec::new();
    for role in attack.roles.clone() {
        sessions.push(attack.session(&role, true).await?);
    }
    for relation in attack.relations.clone() {
        let mut copied = Vec::new();
        for session in &mut sessions {
            let mut of_role = Copied::default();
            let role = session.role.clone();
            if relation.readers.contains(&role) {
                probes += 1;
                controls += usize::from(out(&attack, session, &relation, &mut of_role).await?);
            }
            if relation.is_store() && relation.writers.contains_key(&role) {
                probes += 1;
                controls +=
                    usize::from(into(&mut attack, &mut insertions, session, &relation, &mut of_role).await?);
            }
            if !of_role.steps.is_empty() {
                copied.push((role, of_role));
            }
        }
        for (roles, copied) in grouped(copied) {
            report(&mut attack, &relation, &roles, copied).await?;
        }
    }
    for session in &mut sessions {
        probes += 2;
        server_files(&mut attack, session).await?;
    }
    attack.count_probes(probes);
    attack.count_controls(controls);
    Ok(attack.verdict())
}

/// Copies out; whether the control ran: the tenant's own rows came.
async fn out(
    attack: &Attack,
    session: &mut Session,
    relation: &Relation,
    copied: &mut Copied,
) -> Result<bool> {
    let (column, name) = (&relation.column, relation.name.sql());
    let own = quote_literal(&attack.tenants.own);
    let all = format!("copy (select {column} from {name}) to stdout");
    // Rows of nobody are `tenancy.cross-read`'s.
    let others =
        format!("copy (select {column} from {name} where {column}::text not in ({own}, '')) to stdout");
    session.open(&[]).await?;
    let Ok(all) = lines(session, &all).await? else {
        *session = attack.session(&session.role, true).await?;
        return Ok(false);
    };
    session.rollback().await?;
    let are_own = all.contains(&attack.tenants.own);
    // As COPY writes what is null or empty.
    let is_of_others = |line: &String| *line != attack.tenants.own && !matches!(line.as_str(), "" | "\\N");
    if !all.iter().any(is_of_others) {
        return Ok(are_own);
    }
    session.open(&[]).await?;
    let leaked = match lines(session, &others).await? {
        Ok(lines) => {
            session.rollback().await?;
            i64::try_from(lines.len()).unwrap_or(i64::MAX)
        }
        Err(_) => {
            *session = attack.session(&session.role, true).await?;
            0
        }
    };
    if leaked > 0 {
        copied.steps.push((others, format!("{} of other tenants", rows(leaked))));
        copied.verbs.push("out of");
    }
    Ok(are_own)
}

/// The lines that COPY TO gives. Refused, it leaves the session of no use: the driver does not read to the end of the answer.
async fn lines(session: &mut Session, sql: &str) -> Result<Result<Vec<String>, Refusal>> {
    let mut data = Vec::new();
    let copying = session.connection.copy_out_raw(sql).await;
    let refused = match copying {
        Err(error) => Some(error),
        Ok(mut stream) => {
            let mut refused = None;
            while let Some(part) = stream.next().await {
                match part {
                    Ok(part) => data.extend_from_slice(&part),
                    Err(error) => refused = Some(error),
                }
            }
            refused
        }
    };
    match refused {
        Some(error) => Ok(Err(Refusal::of(error)?)),
        None => Ok(Ok(String::from_utf8_lossy(&data).lines().map(str::to_owned).collect())),
    }
}

/// Copies a row of the other tenant in; whether it was tried.
async fn into(
    attack: &mut Attack,
    insertions: &mut Insertions,
    session: &mut Session,
    relation: &Relation,
    copied: &mut Copied,
) -> Result<bool> {
    let Some(columns) = relation.writers.get(&session.role) else { return Ok(false) };
    let Ok(plan) = insertions.plan(attack, relation, columns).await? else { return Ok(false) };
    if !plan.is_as_wished {
        return Ok(false);
    }
    let Some(json) = attack.evaluate(&plan.json).await? else { return Ok(false) };
    let names: Vec<String> = plan.columns.iter().map(|column| quote_ident(column)).collect();
    let names = names.join(", ");
    let row = format!(
        "select {names} from jsonb_populate_record(null::{}, {}::jsonb)",
        relation.name.sql(),
        quote_literal(&json)
    );
    let mut data = Vec::new();
    {
        let mut stream = attack.control.copy_out_raw(&format!("copy ({row}) to stdout")).await?;
        while let Some(part) = stream.next().await {
            data.extend_from_slice(&part?);
        }
    }
    let sql = format!("copy {} ({names}) from stdin", relation.name.sql());
    session.open(&[]).await?;
    let done = match session.connection.copy_in_raw(&sql).await {
        Ok(mut copy) => match copy.send(data).await {
            Ok(_) => copy.finish().await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    session.rollback().await?;
    match done {
        Ok(count) if count > 0 => {
            // psql would take what follows FROM STDIN for rows; what it copies itself, it sends the same way.
            let json = plan.json.replace('\n', " ");
            let row = format!(
                "select {names} from jsonb_populate_record(null::{}, ({json})::jsonb)",
                relation.name.sql()
            );
            copied.laid = Some((format!("\\copy ({row}) to '{FILE}'"), plan.reads));
            copied.steps.push((
                format!("\\copy {} ({names}) from '{FILE}'", relation.name.sql()),
                format!("1 row of tenant {} went in", quote_literal(&attack.tenants.other)),
            ));
            copied.verbs.push("into");
        }
        Ok(_) => {}
        Err(error) => {
            let refusal = Refusal::of(error)?;
            return Ok(refusal.why != Why::Circumstances);
        }
    }
    Ok(true)
}

async fn report(attack: &mut Attack, relation: &Relation, roles: &[String], copied: Copied) -> Result<()> {
    let Some(role) = roles.first() else { return Ok(()) };
    let session = attack.session(role, true).await?;
    let mut wanted: BTreeSet<QualifiedName> = [relation.name.clone()].into();
    wanted.extend(relation.shows.iter().cloned());
    wanted.extend(copied.laid.iter().flat_map(|(_, reads)| reads.iter().cloned()));
    let mut evidence = attack.steps_for(wanted);
    evidence.extend(copied.laid.map(|(sql, _)| Evidence::as_role(&attack.admin, sql, "done")));
    let steps = copied.steps.into_iter().map(|(sql, result)| Evidence::as_role(role, sql, result)).collect();
    evidence.extend(transcript(&session, steps));
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: subject(relation.kind, &relation.name),
        message: format!(
            "with a tenant set {} {} rows of other tenants {} `{}`",
            listed(roles),
            done_by(roles, "copies"),
            joined(&copied.verbs),
            relation.name
        ),
        help: super::wording::remedy(relation, &attack.spelling),
        evidence,
    });
    Ok(())
}

/// COPY to where no policy reaches.
async fn server_files(attack: &mut Attack, session: &mut Session) -> Result<()> {
    let role = session.role.clone();
    let ways = [
        ("runs programs on the server", "copy (select 1) to program 'true'", "pg_execute_server_program"),
        ("writes files on the server", "copy (select 1) to '/dev/null'", "pg_write_server_files"),
    ];
    for (what, sql, privilege) in ways {
        let probed = session.try_out(&[], sql).await?;
        if probed.outcome.is_err() {
            continue;
        }
        attack.findings.push(Finding {
            check: attack.check.into(),
            class: Class::Mistake,
            severity: Severity::Error,
            subject: Subject::new("role", &role),
            message: format!("`{role}` {what}, past all policies"),
            help: format!("`revoke {privilege} from {}`", quote_ident(&role)),
            evidence: transcript(session, vec![Evidence::as_role(&role, probed.sql, "done")]),
        });
    }
    Ok(())
}
