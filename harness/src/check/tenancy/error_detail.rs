//! `tenancy.error-detail`: whether an error tells one tenant what another's rows hold.

use super::argument::{self, Samples};
use super::attack::Attack;
use super::probe::ROW;
use super::roles::{grouped, listed, subject};
use super::routine;
use super::tables::Relation;
use super::transcript::transcript;
use super::trial;
use super::without_others::{self, tells};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// No error tells a tenant what is in another's rows.
pub(in crate::check) struct ErrorDetail;

impl Check for ErrorDetail {
    fn id(&self) -> &'static str {
        "tenancy.error-detail"
    }

    fn summary(&self) -> &'static str {
        "no error tells one tenant what is in another's rows"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` inserts, with a tenant set, copies of its own rows whose unique values are those \
                     of another tenant's row, and calls SECURITY DEFINER functions with keys of such rows. Message, detail, \
                     hint and context of what the server answers hold no value of another tenant that was not sent along. \
                     That the insert is refused at all, and so tells that the row exists, is `tenancy.key-oracle`'s.",
            matters: "With row-level security the server leaves values out of its own messages, but a trigger or a function with \
                      its owner's rights is not bound by it: what it raises, and what its owner may see, reaches the client, \
                      and often the page.",
            remedy: "Raise errors that say which rule was broken and not by whose row; let the function see only the tenant's rows.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "insert into bookings … for a room that B has booked",
            gets: "ERROR: already booked by bob@example.com",
            because: "a trigger with its owner's rights looks for the booking and names its guest",
            fix: "drop trigger say_who on bookings",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::ERROR_DETAIL
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// An error that told something, and how it came about.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    /// What the setting [`ROW`] was given, as SQL.
    row: Option<String>,
    sql: String,
    result: String,
}

async fn run(context: &Context) -> Result<Verdict> {
    let mut attack = match Attack::prepare(context, "tenancy.error-detail").await? {
        Ok(attack) => attack,
        Err(verdict) => return Ok(verdict),
    };
    let secrets = without_others::values(&mut attack).await?;
    let (mut probes, mut refused) = (0, 0);
    let stores: Vec<Relation> = attack
        .relations
        .iter()
        .filter(|relation| {
            matches!(relation.kind, "table" | "partitioned table") && !relation.writers.is_empty()
        })
        .cloned()
        .collect();
    let mut sessions = BTreeMap::new();
    for role in attack.roles.clone() {
        sessions.insert(role.clone(), attack.session(&role, true).await?);
    }
    for relation in stores {
        let mut rows = Vec::new();
        for row in colliding(&mut attack, &relation).await? {
            let json = attack.evaluate(&row.sql).await?;
            rows.extend(json.map(|json| (row, json)));
        }
        let mut told = Vec::new();
        for (role, columns) in relation.writers.clone() {
            let Some(session) = sessions.get_mut(&role) else { continue };
            let mut first = None;
            for (row, json) in &rows {
                let sql = insert(&relation.name, columns.intersection(&row.columns));
                probes += 1;
                let Some(complaint) = session.complaint(&[(ROW, json.as_str())], &sql).await? else {
                    continue;
                };
                refused += 1;
                if first.is_none() && tells(&complaint.text, json, &secrets) {
                    first = Some(Told { row: Some(row.sql.clone()), sql, result: result(&complaint) });
                }
            }
            told.extend(first.map(|first| (role, first)));
        }
        for (roles, told) in grouped(told) {
            report(
                &mut attack,
                subject(relation.kind, &relation.name),
                &[relation.name.clone()].into(),
                &roles,
                told,
            )
            .await?;
        }
    }
    probes += functions(&mut attack, &secrets, &mut refused).await?;
    attack.count_probes(probes);
    attack.count_controls(refused);
    Ok(attack.verdict())
}

/// A row of the tenant's own with some of another tenant's values.
struct Colliding {
    /// As an SQL expression of type jsonb.
    sql: String,
    columns: BTreeSet<String>,
}

/// Rows that meet a row of the other tenant in each unique key, and in none at all but what rows have in common.
async fn colliding(attack: &mut Attack, relation: &Relation) -> Result<Vec<Colliding>> {
    let columns: Vec<(String, String, bool)> = sqlx::query_as(
        "select a.attname::text, t.typname::text,
            exists (select from pg_constraint k
                where k.conrelid = a.attrelid and k.contype = 'f' and a.attnum = any (k.conkey))
         from pg_attribute a join pg_type t on t.oid = a.atttypid
         where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
            and a.attidentity <> 'a' order by a.attnum",
    )
    .bind(relation.name.sql())
    .fetch_all(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to read the columns of `{}`", relation.name))?;
    let uniques: Vec<Vec<String>> = sqlx::query_scalar(
        "select array(select a.attname::text from pg_attribute a
            where a.attrelid = i.indrelid and a.attnum = any (i.indkey) and a.attname <> $2 order by a.attnum)
         from pg_index i where i.indrelid = $1::regclass and (i.indisunique or i.indisexclusion) order by i.indexrelid",
    )
    .bind(relation.name.sql())
    .bind(&attack.tenancy.column)
    .fetch_all(&mut attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to read the keys of `{}`", relation.name))?;
    let keys: BTreeSet<&String> = uniques.iter().flatten().collect();
    let fresh: Vec<String> = columns
        .iter()
        // What refers to another table has to be there.
        .filter(|(column, _, refers)| keys.contains(column) && !refers)
        .filter_map(|(column, base, _)| {
            let value = match base.as_str() {
                "uuid" => "gen_random_uuid()",
                "int4" | "int8" | "numeric" => "2000000000",
                "text" | "varchar" => "md5(gen_random_uuid()::text)",
                _ => return None,
            };
            Some(format!("{}, {value}", quote_literal(column)))
        })
        .collect();
    let of = |tenant: &str| {
        format!(
            "from {} r where r.{} = {} order by r::text limit 1",
            relation.name.sql(),
            relation.column,
            quote_literal(tenant)
        )
    };
    let own = format!("(select to_jsonb(r) {})", of(&attack.tenants.own));
    let mut sets: BTreeSet<Vec<String>> = uniques.iter().filter(|set| !set.is_empty()).cloned().collect();
    // What is no key may be one to a trigger.
    sets.extend(
        columns
            .iter()
            .filter(|(column, ..)| *column != attack.tenancy.column && !keys.contains(column))
            .map(|(column, ..)| vec![column.clone()]),
    );
    let names: BTreeSet<String> = columns.into_iter().map(|(column, ..)| column).collect();
    Ok(sets
        .into_iter()
        .map(|set| {
            let taken: Vec<String> = set
                .iter()
                .map(|column| format!("{}, r.{}", quote_literal(column), quote_ident(column)))
                .collect();
            let other =
                format!("(select jsonb_build_object({}) {})", taken.join(", "), of(&attack.tenants.other));
            let sql = format!("{own} || jsonb_build_object({}) || {other}", fresh.join(", "));
            Colliding { sql, columns: names.clone() }
        })
        .collect())
}

fn insert<'c>(table: &QualifiedName, columns: impl Iterator<Item = &'c String>) -> String {
    let columns: Vec<String> = columns.map(|column| quote_ident(column)).collect();
    let named: Vec<String> = columns.iter().map(|column| format!("new.{column}")).collect();
    format!(
        "insert into {0} ({1}) select {2} from jsonb_populate_record(null::{0}, current_setting({3})::jsonb) new",
        table.sql(),
        columns.join(", "),
        named.join(", "),
        quote_literal(ROW)
    )
}

fn result(complaint: &trial::Complaint) -> String {
    format!("SQLSTATE {}, with a value of another tenant's row that was not sent", complaint.refusal.code)
}

/// The same of functions with their owner's rights; gives how many calls were made.
async fn functions(attack: &mut Attack, secrets: &HashSet<String>, refused: &mut usize) -> Result<usize> {
    let routines = routine::read(&mut attack.control, &attack.roles, &attack.relations).await?;
    if routines.is_empty() {
        return Ok(0);
    }
    let samples: Samples = argument::samples(&mut attack.control, &attack.tenants, &attack.relations).await?;
    let mut probes = 0;
    for routine in &routines {
        let mut told: BTreeMap<String, Told> = BTreeMap::new();
        let mut reads: BTreeSet<QualifiedName> = routine.mentions.iter().cloned().collect();
        for role in &routine.callers {
            let mut session = attack.session(role, true).await?;
            for arguments in argument::ways(attack, routine, &samples) {
                let of_other = arguments.row_in(&samples);
                let settings: Vec<(&str, &str)> = of_other.map(|row| (ROW, row)).into_iter().collect();
                let sql = routine.call(&arguments.values);
                probes += 1;
                let Some(complaint) = session.complaint(&settings, &sql).await? else { continue };
                *refused += 1;
                let sent = arguments.sent(of_other);
                if !told.contains_key(role) && tells(&complaint.text, &sent, secrets) {
                    let relation = arguments
                        .row
                        .as_ref()
                        .and_then(|table| attack.relations.iter().find(|known| known.name == *table));
                    let row = relation
                        .map(|relation| format!("({})", argument::sample_sql(relation, &attack.tenants)));
                    reads.extend(arguments.row.clone());
                    told.insert(role.clone(), Told { row, sql, result: result(&complaint) });
                }
            }
        }
        for (roles, told) in grouped(told.into_iter().collect()) {
            let about = Subject::new(routine.kind(), routine.shown());
            report(attack, about, &reads, &roles, told).await?;
        }
    }
    Ok(probes)
}

async fn report(
    attack: &mut Attack,
    about: Subject,
    reads: &BTreeSet<QualifiedName>,
    roles: &[String],
    told: Told,
) -> Result<()> {
    let Some(role) = roles.first() else { return Ok(()) };
    let mut evidence = attack.steps_for(reads.clone());
    evidence.extend(told.row.map(|row| {
        attack.laid(&row, format!("a row that meets one of tenant {}", quote_literal(&attack.tenants.other)))
    }));
    let session = attack.session(role, true).await?;
    evidence.extend(transcript(&session, vec![Evidence::as_role(role, told.sql, told.result)]));
    attack.findings.push(Finding {
        check: attack.check.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        message: format!("an error of `{}` tells {} what is in another tenant's row", about.name, listed(roles)),
        subject: about,
        help: "let triggers and functions with their owner's rights say which rule was broken, and nothing of the row that \
               broke it"
            .into(),
        evidence,
    });
    Ok(())
}
