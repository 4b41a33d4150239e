//! Views and materialized views, attacked: what they show of the tables of tenants beneath them.

use super::attack::Attack;
use super::probe::Session;
use super::roles::{done_by, grouped, listed, subject};
use super::transcript::transcript;
use super::wording::rows;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::{BTreeMap, BTreeSet};

/// A tenant is looked for in the text of a row only if nothing else can look like it.
const TELLING_MIN: usize = 16;

/// A view or a materialized view that shows rows of tables of tenants, whether it has their column or not.
pub(super) struct Derived {
    pub(super) name: QualifiedName,
    pub(super) owner: String,
    /// No policy binds the owner, whatever the table.
    pub(super) is_owner_free: bool,
    /// It asks for the rights of its reader.
    pub(super) is_invoker: bool,
    /// The tables and views beneath it.
    shows: BTreeSet<QualifiedName>,
    /// The tenant's column, quoted, if it has it.
    column: Option<String>,
    /// Who may read it, and which columns.
    readers: BTreeMap<String, Vec<String>>,
}

const DERIVED: &str = "
    with recursive shown as (
        select distinct w.ev_class as view, d.refobjid as relation
        from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
        where d.refclassid = 'pg_class'::regclass and d.refobjid <> w.ev_class
    ),
    below as (
        select view, relation from shown
        union
        select below.view, shown.relation from below join shown on shown.view = below.relation
    )
    select n.nspname::text as schema, c.relname::text as name, o.rolname::text as owner,
        o.rolsuper or o.rolbypassrls as is_owner_free,
        exists (
            select from pg_options_to_table(c.reloptions) where option_name = 'security_invoker' and option_value::bool
        ) as is_invoker,
        array(
            select distinct format('%s.%s', bn.nspname, b.relname) from below
            join pg_class b on b.oid = below.relation join pg_namespace bn on bn.oid = b.relnamespace
            where below.view = c.oid order by 1
        ) as shows,
        exists (
            select from pg_attribute a where a.attrelid = c.oid and a.attname = $2 and not a.attisdropped
        ) as has_column,
        r.rolname::text as role,
        array(
            select a.attname::text from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                and has_column_privilege(r.oid, c.oid, a.attnum, 'select')
            order by a.attnum
        ) as columns
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_roles o on o.oid = c.relowner
    join pg_roles r on r.rolname = any ($4) and has_any_column_privilege(r.oid, c.oid, 'select')
        and has_schema_privilege(r.oid, n.oid, 'usage')
    where c.relkind::text = $3
        and exists (
            select from below where below.view = c.oid and below.relation = any ($1::text[]::regclass[]::oid[])
        )
        and not exists (
            select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
        )
    order by c.oid, r.rolname";

/// The views (`v`) or materialized views (`m`) above tables of tenants that a role may read, in the order of names.
pub(super) async fn read(attack: &mut Attack, kind: &str) -> Result<Vec<Derived>> {
    let tables: Vec<String> = attack
        .relations
        .iter()
        .filter(|relation| relation.is_store())
        .map(|relation| relation.name.sql())
        .collect();
    let rows = sqlx::query(DERIVED)
        .bind(&tables)
        .bind(&attack.tenancy.column)
        .bind(kind)
        .bind(&attack.roles)
        .fetch_all(&mut attack.control)
        .await
        .attempt(ErrorKind::Database, || "failed to list the views of tables of tenants".into())?;
    let mut all: BTreeMap<QualifiedName, Derived> = BTreeMap::new();
    for row in &rows {
        let name = QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?);
        let is_exempt = |pattern: &String| crate::check::matches(pattern, &name.to_string());
        if attack.tenancy.exempt.iter().any(is_exempt) {
            continue;
        }
        let derived = match all.entry(name) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let derived = derived(new.key().clone(), row, &attack.tenancy.column)?;
                new.insert(derived)
            }
        };
        derived.readers.insert(row.try_get("role")?, row.try_get("columns")?);
    }
    Ok(all.into_values().collect())
}

fn derived(name: QualifiedName, row: &PgRow, column: &str) -> Result<Derived> {
    let shows: Vec<String> = row.try_get("shows")?;
    let has_column: bool = row.try_get("has_column")?;
    Ok(Derived {
        name,
        owner: row.try_get("owner")?,
        is_owner_free: row.try_get("is_owner_free")?,
        is_invoker: row.try_get("is_invoker")?,
        shows: shows.iter().map(|name| QualifiedName::parse(name)).collect(),
        column: has_column.then(|| quote_ident(column)),
        readers: BTreeMap::new(),
    })
}

/// What one role saw of one of them.
#[derive(Clone, PartialEq)]
enum Seen {
    /// Rows that are another tenant's, by their column or by a text that only those hold.
    Others {
        sql: String,
        count: i64,
    },
    /// The same for one tenant, for another and for none.
    Same {
        sql: String,
    },
    Unknown(String),
}

/// What is said of what was seen.
pub(super) struct Words<'a> {
    pub(super) kind: &'static str,
    /// Why it shows them.
    pub(super) because: String,
    pub(super) help: String,
    /// What has to be done first, in the transcript.
    pub(super) before: &'a [Evidence],
}

/// Attacks one of them as every role that may read it.
pub(super) async fn attack_one(
    attack: &mut Attack,
    sessions: &mut [Session],
    derived: &Derived,
    words: &Words<'_>,
) -> Result<()> {
    let mut seen = Vec::new();
    for session in sessions.iter_mut() {
        let Some(columns) = derived.readers.get(&session.role) else { continue };
        if let Some(one) = look(attack, session, derived, columns).await? {
            seen.push((session.role.clone(), one));
        }
    }
    for (roles, seen) in grouped(seen) {
        let Some(session) = sessions.iter().find(|session| roles.first() == Some(&session.role)) else {
            continue;
        };
        let (name, who, reads) = (&derived.name, listed(&roles), done_by(&roles, "reads"));
        let (class, severity, message, step) = match seen {
            Seen::Others { sql, count } => (
                Class::Mistake,
                Severity::Error,
                format!(
                    "with a tenant set {who} {reads} {} of another tenant in `{name}`: {}",
                    rows(count),
                    words.because
                ),
                Evidence::as_role(&session.role, sql, format!("{} of another tenant", rows(count))),
            ),
            Seen::Same { sql } => (
                Class::Mistake,
                Severity::Warning,
                format!("`{name}` shows {who} the same for every tenant and for none: {}", words.because),
                Evidence::as_role(&session.role, sql, "1 row, the same with another tenant and with none"),
            ),
            Seen::Unknown(reason) => (
                Class::Uncovered,
                Severity::Note,
                format!("`{name}` was not attacked as {who}: {reason}"),
                Evidence::step(format!("attacking `{name}`"), reason.clone()),
            ),
        };
        let mut wanted = derived.shows.clone();
        wanted.insert(name.clone());
        let mut evidence = attack.steps_for(wanted);
        if class == Class::Uncovered {
            evidence = vec![step];
        } else {
            evidence.extend(words.before.iter().cloned());
            evidence.extend(transcript(session, vec![step]));
        }
        attack.findings.push(Finding {
            check: attack.check.into(),
            class,
            severity,
            subject: subject(words.kind, name),
            message,
            help: words.help.clone(),
            evidence,
        });
    }
    Ok(())
}

async fn look(
    attack: &mut Attack,
    session: &mut Session,
    derived: &Derived,
    columns: &[String],
) -> Result<Option<Seen>> {
    let name = derived.name.sql();
    let quoted: Vec<String> = columns.iter().map(|column| format!("v.{}", quote_ident(column))).collect();
    // A call takes a hundred arguments at most.
    let parts: Vec<String> =
        quoted.chunks(90).map(|some| format!("concat_ws(' ', {})", some.join(", "))).collect();
    let text = parts.join(" || ' ' || ");
    let other = attack.tenants.other.clone();
    let mut marks =
        vec![format!("{text} like {}", quote_literal(&format!("%{}%", attack.canary_of(&other))))];
    if let Some(column) = derived.column.as_ref().filter(|column| quoted.contains(&format!("v.{column}"))) {
        marks.push(format!("v.{column} = {}", quote_literal(&other)));
    } else if other.len() >= TELLING_MIN {
        marks.push(format!("{text} like {}", quote_literal(&format!("%{other}%"))));
    }
    attack.count_probes(4);
    let sql = format!("select count(*) from {name} v where {}", marks.join(" or "));
    let count = |row: &PgRow| row.try_get::<i64, _>(0);
    let marked = session.ask(sql, count).await?;
    match marked.outcome {
        Ok(0) => {}
        Ok(count) => return Ok(Some(Seen::Others { sql: marked.sql, count })),
        Err(refusal) => return Ok(Some(Seen::Unknown(format!("the statement failed ({refusal})")))),
    }
    // Sums and counts hold no mark: what is the same for everybody was not asked for anybody.
    let sql = format!("select count(*), md5(string_agg({text}, chr(10) order by {text})) from {name} v");
    let mut answers = Vec::new();
    let own = session.context.clone();
    for context in [own.clone(), Some(attack.context_of(&other))] {
        session.context = context;
        answers.push(session.ask(sql.clone(), answer).await?.outcome);
    }
    session.context = own;
    let mut without = attack.session(&session.role, false).await?;
    answers.push(without.ask(sql.clone(), answer).await?.outcome);
    let is_same = answers.windows(2).all(|pair| pair[0] == pair[1]);
    Ok(match answers.first() {
        Some(Ok((rows, _))) if *rows > 0 && is_same => Some(Seen::Same { sql }),
        _ => None,
    })
}

fn answer(row: &PgRow) -> Result<(i64, Option<String>), sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}
