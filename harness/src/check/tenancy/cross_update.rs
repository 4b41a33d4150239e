//! `tenancy.cross-update`: whether one tenant changes another's rows, takes them, or gives its own away.

use super::probe::{ROW, Session};
use super::single::single;
use super::tables::Relation;
use super::tried::{Leak, Reach, Tried};
use super::wording::rows;
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::Severity;
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use std::collections::BTreeSet;

/// With a tenant in the session no row of another can be changed, and none can be moved to another.
pub(in crate::check) struct CrossUpdate;

impl Check for CrossUpdate {
    fn id(&self) -> &'static str {
        "tenancy.cross-update"
    }

    fn summary(&self) -> &'static str {
        "a session of one tenant changes no row of another, and moves none"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets a tenant, and updates every table, partition, child and \
                     view with the tenant's column that it may update: the other tenant's rows by asking for them; all \
                     rows without a WHERE, to make them its own; and its own, to give them to the other tenant. \
                     A WHERE reads a column, and then the policies for SELECT count as well; without one only those for \
                     UPDATE do, and so both are tried. It does change its own rows: else nothing is proven, and a note \
                     says so. Everything is rolled back.",
            matters: "An UPDATE without a good WHERE is the commonest accident there is, and policies are what stands \
                      between it and everybody's rows. `with check (true)` lets a tenant plant rows in another's data, \
                      which are then read as that tenant's own.",
            remedy: "Give the policy for UPDATE the tenant's condition in USING and in WITH CHECK, or leave WITH CHECK \
                     out: USING is then used for both. Enable row-level security on partitions and children that can be \
                     written directly; create views `with (security_invoker = true)`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.cross-update":
            "bad.sql", "bad_check_true.sql", "bad_child.sql", "bad_column_grant.sql", "bad_composite_key.sql",
            "bad_partition.sql", "bad_quoted.sql", "bad_using_true.sql", "bad_view.sql",
            "good.sql", "good_partitioned.sql", "good_per_verb.sql", "good_view.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "update orders set tenant_id = 'A'",
            gets: "all of B's orders, as its own",
            because: "reading is bound to the tenant, but the policy for UPDATE says `using (true)`, and an UPDATE that \
                      reads no column is bound by that one alone",
            fix: "alter policy changes on orders using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.cross-update", Update))
    }
}

/// How many of the youngest rows are tried for the one to which nothing refers.
const YOUNGEST_MAX: usize = 64;

struct Update;

impl Assault for Update {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        let columns = writing.rights.of(relation, &actor.role).updates;
        let tenant = writing.attack.tenancy.column.clone();
        let may_move = columns.contains(&tenant);
        let any = if may_move { Some(tenant) } else { columns.iter().next().cloned() };
        let Some(any) = any else {
            return Ok(None);
        };
        if let Some(reason) = writing.attack.lacks(relation) {
            return Ok(Some(Tried::Unknown(reason)));
        }
        let any = quote_ident(&any);
        if let Some(leak) = asking(writing, &mut actor.own, relation, &any).await? {
            return Ok(Some(Tried::Leak(leak)));
        }
        let leak = if may_move {
            match taking(writing, &mut actor.own, relation).await? {
                Some(leak) => Some(leak),
                None => giving(writing, &mut actor.own, relation, &columns).await?,
            }
        } else {
            overwriting(writing, &mut actor.stranger, relation, &any).await?
        };
        match leak {
            Some(leak) => Ok(Some(Tried::Leak(leak))),
            None => control(writing, &mut actor.own, relation, &any, may_move).await.map(Some),
        }
    }
}

/// Changes the other tenant's rows by asking for them. Their values stay what they are.
async fn asking(
    writing: &mut Writing,
    session: &mut Session,
    relation: &Relation,
    any: &str,
) -> Result<Option<Leak>> {
    let (_, other) = writing.tenants();
    let (table, column) = (relation.name.sql(), &relation.column);
    let sql = format!("update {table} set {any} = {any} where {column} = {other}");
    let (sql, reach) = writing.probe_each(session, &sql, None).await?;
    let does = format!("changes rows of another tenant in `{}`", relation.name);
    Ok(leak(writing, relation, session, None, sql, reach, does))
}

/// Makes all rows the attacker's own. Its own rows stay what they are: what a constraint objects to is another's.
async fn taking(writing: &mut Writing, session: &mut Session, relation: &Relation) -> Result<Option<Leak>> {
    let (own, _) = writing.tenants();
    let sql = format!("update {} set {} = {own}", relation.name.sql(), relation.column);
    let reach = writing.probe(session, &sql, None).await?;
    let truth = writing.attack.truth(relation);
    let surplus = match reach {
        Reach::Rows(changed) => i64::try_from(changed).unwrap_or(i64::MAX) - truth.own,
        Reach::Stopped(_) => 1,
        _ => 0,
    };
    if surplus <= 0 {
        return Ok(None);
    }
    let is_nobodys = matches!(reach, Reach::Rows(_)) && surplus <= truth.nobody;
    let whose = if is_nobodys { "no tenant" } else { "another tenant" };
    let does = format!("takes rows of {whose} in `{}`, by an UPDATE that reads no column", relation.name);
    let leak = leak(writing, relation, session, None, sql, reach, does);
    Ok(leak.map(|leak| if is_nobodys { Leak { severity: Severity::Warning, ..leak } } else { leak }))
}

/// Writes into all rows as somebody who has none, without reading a column.
async fn overwriting(
    writing: &mut Writing,
    session: &mut Session,
    relation: &Relation,
    any: &str,
) -> Result<Option<Leak>> {
    let (_, other) = writing.tenants();
    let table = relation.name.sql();
    let json = format!("(select to_jsonb(r) from {table} r where r.{} = {other} limit 1)", relation.column);
    let Some(row) = writing.evaluate(&json).await? else { return Ok(None) };
    let sql = format!(
        "update {table} set {any} = (jsonb_populate_record(null::{table}, current_setting({})::jsonb)).{any}",
        quote_literal(ROW)
    );
    let (sql, reach) = writing.probe_each(session, &sql, Some(&row)).await?;
    let does =
        format!("changes rows of another tenant in `{}`, by an UPDATE that reads no column", relation.name);
    let reads = BTreeSet::from([relation.name.clone()]);
    Ok(leak(writing, relation, session, Some((&json, &reads)), sql, reach, does))
}

/// Gives the attacker's rows to the other tenant: all of them; or else one, with everything that such a row needs there;
/// or else one to which nothing refers.
async fn giving(
    writing: &mut Writing,
    session: &mut Session,
    relation: &Relation,
    columns: &BTreeSet<String>,
) -> Result<Option<Leak>> {
    let (_, other) = writing.tenants();
    let does = format!("moves its rows to another tenant in `{}`", relation.name);
    let moved =
        Move { sql: format!("update {} set {} = {other}", relation.name.sql(), relation.column), row: None };
    let (sql, reach) = writing.probe_each(session, &moved.sql, None).await?;
    let Reach::Stopped(_) = reach else {
        return Ok(leak(writing, relation, session, None, sql, reach, does));
    };
    let stopped = leak(writing, relation, session, None, sql, reach, does.clone());
    let mut moves = vec![moved];
    if let Some(whole) = whole(writing, relation, columns).await? {
        let (sql, reach) = writing.probe_each(session, &whole.sql, whole.json()).await?;
        if let Reach::Rows(_) = reach {
            return Ok(leak(writing, relation, session, whole.laid(), sql, reach, does));
        }
        moves.push(whole);
    }
    if !writing.add_own(relation).await? {
        return Ok(stopped);
    }
    let rows = usize::try_from(writing.attack.truth(relation).visible).unwrap_or_default();
    for row in (1..=rows).rev().take(YOUNGEST_MAX) {
        for moved in &moves {
            let sql = format!("{} where {}", moved.sql, single(row));
            let reach = writing.probe(session, &sql, moved.json()).await?;
            if let Reach::Rows(_) = reach {
                return Ok(leak(writing, relation, session, moved.laid(), sql, reach, does));
            }
        }
    }
    Ok(stopped)
}

/// A statement that gives rows away, and the row that it needs: what it is, the expression for it, and what that reads.
struct Move {
    sql: String,
    row: Option<(String, String, BTreeSet<QualifiedName>)>,
}

impl Move {
    fn json(&self) -> Option<&str> {
        self.row.as_ref().map(|(json, ..)| json.as_str())
    }

    fn laid(&self) -> Option<(&str, &BTreeSet<QualifiedName>)> {
        self.row.as_ref().map(|(_, expression, reads)| (expression.as_str(), reads))
    }
}

/// Makes a row one of the other tenant's, with everything that such a row needs there.
async fn whole(
    writing: &mut Writing,
    relation: &Relation,
    columns: &BTreeSet<String>,
) -> Result<Option<Move>> {
    let other = writing.attack.tenants.other.clone();
    let Ok(plan) = writing.plan(relation, None, &other).await? else { return Ok(None) };
    let Some(row) = writing.evaluate(&plan.json).await? else { return Ok(None) };
    let table = relation.name.sql();
    let named: Vec<String> = plan
        .columns
        .iter()
        .filter(|column| columns.contains(*column))
        .map(|name| quote_ident(name))
        .collect();
    let new: Vec<String> = named.iter().map(|column| format!("new.{column}")).collect();
    let sql = format!(
        "update {table} set ({}) = (select {} from jsonb_populate_record(null::{table}, current_setting({})::jsonb) new)",
        named.join(", "),
        new.join(", "),
        quote_literal(ROW)
    );
    Ok(Some(Move { sql, row: Some((row, plan.json, plan.reads)) }))
}

/// The leak that a statement is which came this far, if it is one.
fn leak(
    writing: &Writing,
    relation: &Relation,
    session: &Session,
    row: Option<(&str, &BTreeSet<QualifiedName>)>,
    sql: String,
    reach: Reach,
    does: String,
) -> Option<Leak> {
    match reach {
        Reach::Rows(changed) => {
            let result = format!("{} updated", rows(i64::try_from(changed).unwrap_or(i64::MAX)));
            Some(writing.leak(relation, session, row, (sql, result), does))
        }
        Reach::Stopped(refusal) => {
            let constraint = refusal.constraint.clone().unwrap_or_default();
            let does = format!("{does}, but for the constraint `{constraint}`: no policy stops it");
            let leak = writing.leak(relation, session, row, (sql, refusal.to_string()), does);
            Some(Leak { severity: Severity::Warning, ..leak })
        }
        _ => None,
    }
}

/// Whether the attacker's own rows can be changed at all.
async fn control(
    writing: &mut Writing,
    session: &mut Session,
    relation: &Relation,
    any: &str,
    may_move: bool,
) -> Result<Tried> {
    let (own, _) = writing.tenants();
    let (table, column) = (relation.name.sql(), &relation.column);
    let mut sql = format!("update {table} set {any} = {any} where {column} = {own}");
    let mut reach;
    (sql, reach) = writing.control_each(session, relation, &sql).await?;
    if !reach.is_reached() && may_move {
        // Who may not read may still write.
        sql = format!("update {table} set {column} = {own}");
        (sql, reach) = writing.control_each(session, relation, &sql).await?;
    }
    if reach.is_reached() {
        return Ok(Tried::Refused);
    }
    Ok(writing.unproven(relation, session, "update", sql, reach))
}
