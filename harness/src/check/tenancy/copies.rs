//! `tenancy.copies`: whether what one tenant writes turns up where another can read it.

use super::attack::Attack;
use super::canary;
use super::ear::Ear;
use super::roles::{done_by, grouped, listed};
use super::search::{self, Found, Readable};
use super::tables::Relation;
use super::transcript::transcript;
use super::wording::rows;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::fixture::rows::{Rows, Step, Wish};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Executor};
use std::collections::{BTreeMap, BTreeSet};

/// What a tenant writes does not turn up where another tenant reads.
pub(in crate::check) struct Copies;

impl Check for Copies {
    fn id(&self) -> &'static str {
        "tenancy.copies"
    }

    fn summary(&self) -> &'static str {
        "what one tenant writes turns up nowhere that another can read"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "A row with texts and keys that occur nowhere else is written into every table with the tenant's column, \
                     as another tenant and with all triggers, and changed and removed again. Then every role of \
                     `tenancy.roles`, with a tenant set, searches all tables, views and materialized views that it may read \
                     for them, those without a tenant's column too, and large objects; and a session that LISTENs hears \
                     the channels that functions name. What programs copy, and what is kept as bytes, is not seen.",
            matters: "A policy guards a table and not what is made from it: a trigger that writes an audit log, a view \
                      without the tenant's column, a materialized view and a notification hold the same rows, and nobody \
                      thinks of them as the tenant's.",
            remedy: "Give the copy the tenant's column and the same policy, or take away the privilege to read it. Put keys \
                     into notifications and no rows: every role may LISTEN.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "select new_row from changes",
            gets: "what B's people wrote into `orders`",
            because: "a trigger copies every order into a log, which has no policy",
            fix: "revoke select on changes from web_app",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::COPIES
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// How many large objects are looked into.
const LARGE_OBJECTS_MAX: i64 = 100;

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.copies").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let Some(role) = attack.roles.first().cloned() else { return Ok(attack.verdict()) };
    let mut ear = Ear::open(&mut attack, &role).await?;
    let Planted { canaries: planted, unmarked } = plant(&mut attack).await?;
    let mut probes = 0;
    let mut seen: BTreeMap<QualifiedName, (Readable, Vec<(String, Found)>)> = BTreeMap::new();
    for role in attack.roles.clone() {
        let mut session = attack.session(&role, true).await?;
        for readable in search::readable(&mut attack.control, &role).await? {
            let known = attack.relations.iter().find(|relation| relation.name == readable.name).cloned();
            // Whether the tenant's own rows can be read is `tenancy.cross-read`'s: here it is rows that say they are not its.
            let condition = known.as_ref().map_or_else(String::new, |relation| {
                format!(
                    " where {} is distinct from {}",
                    relation.column,
                    quote_literal(&attack.tenants.other)
                )
            });
            probes += 1;
            match search::search(&mut session, &readable, &condition).await? {
                Ok(found) if found.canaries.is_empty() => {}
                Ok(found) => {
                    let entry = seen.entry(readable.name.clone()).or_insert((readable, Vec::new()));
                    entry.1.push((role.clone(), found));
                }
                Err(reason) => note(&mut attack, &readable, &role, &reason),
            }
        }
        probes += large_objects(&mut attack, &role).await?;
    }
    attack.count_probes(probes);
    for (readable, seen) in seen.into_values() {
        for (roles, found) in grouped(seen) {
            report(&mut attack, &planted, &readable, &roles, found).await?;
        }
    }
    let heard = ear.heard(&mut attack, &planted).await?;
    attack.findings.extend(heard);
    attack.count_controls(planted.len());
    let verdict = attack.verdict();
    Ok(match unmarked.as_slice() {
        [] => verdict,
        names => {
            verdict.with_remark(format!("no column of {} can hold what its rows are known by", listed(names)))
        }
    })
}

/// What was written as the other tenant.
struct Planted {
    /// The table of each canary, by its number.
    canaries: BTreeMap<usize, QualifiedName>,
    /// Tables without a column for one.
    unmarked: Vec<String>,
}

/// Writes canaries as the other tenant.
async fn plant(attack: &mut Attack) -> Result<Planted> {
    let mut rows = Rows::read(&mut attack.control).await?;
    let mut planted = BTreeMap::new();
    let mut unmarked = Vec::new();
    let base = Wish { canary: None, ..attack.wish_of(&attack.tenants.other) };
    let wanted: Vec<Relation> = attack
        .relations
        .iter()
        .filter(|relation| {
            relation.is_store() && relation.kind != "partition" && attack.truth.contains_key(&relation.name)
        })
        .filter(|relation| relation.kind == "table" || relation.ancestors.is_empty())
        .cloned()
        .collect();
    for relation in wanted {
        let number = planted.len() * 2 + 1;
        let column = attack.tenancy.column.clone();
        let which = format!("r.{} is not null", relation.column);
        let places = canary::places(&mut attack.control, &relation.name, &column, number).await?;
        if places.is_empty() {
            unmarked.push(relation.name.to_string());
            continue;
        }
        match canary::plant(&mut attack.control, &mut rows, &relation.name, &which, &places, &base).await? {
            Ok(steps) => keep(attack, &relation, steps),
            Err(reason) => {
                attack.note_uncovered(&relation, &[], &format!("it took no row to be recognised ({reason})"));
                continue;
            }
        }
        planted.insert(number, relation.name.clone());
        if change(attack, &relation).await? {
            let places = canary::places(&mut attack.control, &relation.name, &column, number + 1).await?;
            if let Ok(steps) =
                canary::plant(&mut attack.control, &mut rows, &relation.name, &which, &places, &base).await?
            {
                keep(attack, &relation, steps);
            }
            planted.insert(number + 1, relation.name.clone());
        }
    }
    let views: Vec<(String, String)> =
        sqlx::query_as("select schemaname::text, matviewname::text from pg_matviews order by 1, 2")
            .fetch_all(&mut attack.control)
            .await
            .attempt(ErrorKind::Database, || "failed to list the materialized views".into())?;
    for (schema, name) in views {
        let table = QualifiedName::new(schema, name);
        let sql = format!("refresh materialized view {}", table.sql());
        // One that cannot be refreshed holds nothing new.
        if attack.control.execute(AssertSqlSafe(sql.as_str())).await.is_ok() {
            attack.seeds.journal.push(Step { table, sql, reads: BTreeSet::new() });
        }
    }
    Ok(Planted { canaries: planted, unmarked })
}

/// Notes how a row came to be, for transcripts: the tenant is set for the session that writes it.
fn keep(attack: &mut Attack, relation: &Relation, steps: Vec<Step>) {
    let sql = format!(
        "select set_config({}, {}, false) is not null",
        quote_literal(&attack.setting),
        quote_literal(&attack.tenants.other)
    );
    attack.seeds.journal.push(Step { table: relation.name.clone(), sql, reads: BTreeSet::new() });
    attack.seeds.journal.extend(steps);
}

/// Updates and deletes the canary's row where something may watch; whether it did.
async fn change(attack: &mut Attack, relation: &Relation) -> Result<bool> {
    let table = relation.name.sql();
    let is_watched: bool = sqlx::query_scalar(
        "select exists (select from pg_trigger where tgrelid = $1::regclass and not tgisinternal)
            or exists (select from pg_rewrite where ev_class = $1::regclass)",
    )
    .bind(&table)
    .fetch_one(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list the triggers of `{}`", relation.name))?;
    if !is_watched {
        return Ok(false);
    }
    let column = &relation.column;
    let which = format!(
        "where {column} = {} and {}::text ~ {}",
        quote_literal(&attack.tenants.other),
        quote_ident(&relation.name.name),
        quote_literal(canary::PATTERN)
    );
    let context = format!(
        "set_config({}, {}, false)",
        quote_literal(&attack.setting),
        quote_literal(&attack.tenants.other)
    );
    for verb in
        [format!("update {table} set {column} = {column} {which}"), format!("delete from {table} {which}")]
    {
        sqlx::raw_sql(AssertSqlSafe(format!("select {context}"))).execute(&mut attack.control).await?;
        match attack.control.execute(AssertSqlSafe(verb.as_str())).await {
            Ok(_) => {
                let table = relation.name.clone();
                attack.seeds.journal.push(Step { table, sql: verb, reads: BTreeSet::new() });
            }
            // A table whose rows are final.
            Err(sqlx::Error::Database(_)) => {}
            Err(lost) => return Err(lost.into()),
        }
    }
    Ok(true)
}

/// The tables that canaries come from, as people write several.
fn origins(planted: &BTreeMap<usize, QualifiedName>, canaries: &[(usize, i64)]) -> BTreeSet<QualifiedName> {
    canaries.iter().filter_map(|(number, _)| planted.get(number).cloned()).collect()
}

async fn report(
    attack: &mut Attack,
    planted: &BTreeMap<usize, QualifiedName>,
    readable: &Readable,
    roles: &[String],
    found: Found,
) -> Result<()> {
    let Some(role) = roles.first() else { return Ok(()) };
    let from = origins(planted, &found.canaries);
    let count: i64 = found.canaries.iter().map(|(_, count)| count).sum();
    let names: Vec<String> = from.iter().map(ToString::to_string).collect();
    let mut wanted = from.clone();
    wanted.insert(readable.name.clone());
    let mut evidence = attack.steps_for(wanted);
    let session = attack.session(role, true).await?;
    let result =
        format!("{} that hold what tenant {} wrote", rows(count), quote_literal(&attack.tenants.other));
    evidence.extend(transcript(&session, vec![Evidence::as_role(role, found.sql, result)]));
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new(readable.kind, readable.name.to_string()),
        message: format!(
            "with a tenant set {} {} in `{}` what another tenant wrote into {}",
            listed(roles),
            done_by(roles, "reads"),
            readable.name,
            listed(&names)
        ),
        help: match readable.kind {
            "view" => format!(
                "`alter view {} set (security_invoker = true)`: it then shows what its reader may see",
                readable.name.sql()
            ),
            "materialized view" => {
                "no policy can bind a materialized view: revoke the privilege, and grant a view with a condition".into()
            }
            _ => format!(
                "give `{}` the column {} and the policy of what it is made from, or revoke the privilege",
                readable.name,
                quote_ident(&attack.tenancy.column)
            ),
        },
        evidence,
    });
    Ok(())
}

fn note(attack: &mut Attack, readable: &Readable, role: &str, reason: &str) {
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Uncovered,
        severity: Severity::Note,
        subject: Subject::new(readable.kind, readable.name.to_string()),
        message: format!("`{}` was not searched as `{role}`: {reason}", readable.name),
        help: "see whether it holds what tenants write".into(),
        evidence: vec![Evidence::step(format!("searching `{}`", readable.name), reason.to_owned())],
    });
}

/// Looks into large objects; gives how many statements it tried.
async fn large_objects(attack: &mut Attack, role: &str) -> Result<usize> {
    let objects: Vec<i64> =
        sqlx::query_scalar("select oid::int8 from pg_largeobject_metadata order by oid desc limit $1")
            .bind(LARGE_OBJECTS_MAX)
            .fetch_all(&mut attack.control)
            .await
            .attempt(ErrorKind::Database, || "failed to list the large objects".into())?;
    let mut session = attack.session(role, true).await?;
    let tried = objects.len();
    for object in objects {
        let sql =
            format!("select 1 where encode(lo_get({object}), 'escape') ~ {}", quote_literal(canary::PATTERN));
        let probed = session.try_out(&[], sql).await?;
        if probed.outcome.is_ok_and(|gave| !gave.lines.is_empty()) {
            let step = Evidence::as_role(role, probed.sql, "1 row: what another tenant wrote");
            attack.findings.push(Finding {
                check: attack.check.into(),
                class: Class::Mistake,
                severity: Severity::Error,
                subject: Subject::new("large object", "copies"),
                message: format!(
                    "with a tenant set `{role}` reads large objects that hold what another tenant wrote"
                ),
                help: "large objects know no policies: keep what belongs to a tenant in a table".into(),
                evidence: transcript(&session, vec![step]),
            });
            break;
        }
    }
    Ok(tried)
}
