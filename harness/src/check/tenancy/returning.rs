//! `tenancy.returning`: whether a statement that changes rows shows another tenant's.

use super::probe::{ROW, Refusal, Session, Why};
use super::single::{ROWS_MAX, single, singles};
use super::tables::Relation;
use super::transcript::transcript;
use super::tried::{Leak, Tried};
use super::wording::rows;
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::{Class, Evidence, Severity};
use crate::fixture::rows::Rehearsed;
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;

/// RETURNING shows the tenant's own rows only.
pub(in crate::check) struct Returning;

impl Check for Returning {
    fn id(&self) -> &'static str {
        "tenancy.returning"
    }

    fn summary(&self) -> &'static str {
        "RETURNING shows no row of another tenant"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets a tenant, and runs UPDATE and DELETE of all rows with \
                     RETURNING on every table, partition, child and view with the tenant's column for which it has the \
                     privileges, and an INSERT of another tenant's row with RETURNING. What comes back are its own rows; \
                     where not even those do, nothing is proven and a note says so. Everything is rolled back.",
            matters: "RETURNING reads. Where a view has its owner's rights, or a partition no policy, a harmless UPDATE \
                      hands out the rows of all tenants, and nobody looks for a leak in a statement that writes.",
            remedy: "Enable row-level security on each table that can be reached directly; create views \
                     `with (security_invoker = true)`; let policies for SELECT, UPDATE and DELETE have the same condition.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.returning":
            "bad.sql", "bad_delete.sql", "bad_insert.sql", "good.sql", "good_write_only_policy.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "update order_items set item = item returning item",
            gets: "A's lamp, and B's chair",
            because: "the view runs with the rights of its owner, who is bound by no policy",
            fix: "alter view order_items set (security_invoker = true);
grant select, update on orders to web_app",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.returning", Return))
    }
}

struct Return;

impl Assault for Return {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        let rights = writing.rights.of(relation, &actor.role);
        let tenant = writing.attack.tenancy.column.clone();
        if !rights.reads.contains(&tenant) {
            return Ok(None);
        }
        let (own, _) = writing.tenants();
        let table = relation.name.sql();
        let mut verbs = Vec::new();
        if let Some(any) = rights.any(&tenant) {
            let any = quote_ident(&any);
            verbs.push(format!("update {table} set {any} = {any}"));
        }
        if rights.deletes {
            verbs.push(format!("delete from {table}"));
        }
        let may_insert = relation.writers.contains_key(&actor.role);
        if verbs.is_empty() && !may_insert {
            return Ok(None);
        }
        if let Some(reason) = writing.attack.lacks(relation) {
            return Ok(Some(Tried::Unknown(reason)));
        }
        for verb in &verbs {
            // As somebody who has no row: no foreign key of the tenant's own rows stands in the way.
            let session = if verb.starts_with("delete") { &mut actor.stranger } else { &mut actor.own };
            for one in std::iter::once(String::new())
                .chain((1..=ROWS_MAX).map(|row| format!(" where {}", single(row))))
            {
                let sql = counting_others(relation, &format!("{verb}{one}"), &own);
                let (leak, refusal) = show(writing, session, relation, sql, None).await?;
                if let Some(leak) = leak {
                    return Ok(Some(Tried::Leak(leak)));
                }
                // Another row may pass.
                if refusal.is_none_or(|refusal| refusal.why != Why::Other) {
                    break;
                }
            }
        }
        if may_insert && let Some(leak) = insert(writing, actor, relation).await? {
            return Ok(Some(Tried::Leak(leak)));
        }
        control(writing, actor, relation, verbs.first(), &own).await.map(Some)
    }
}

/// The statement that counts the rows of others that `verb` gives back.
fn counting_others(relation: &Relation, verb: &str, own: &str) -> String {
    let column = &relation.column;
    format!(
        "with w as ({verb} returning {column} as tenant) select count(*) from w where tenant is distinct from {own}"
    )
}

/// Counts the rows of others that come back; or what refuses.
async fn show(
    writing: &mut Writing,
    session: &mut Session,
    relation: &Relation,
    sql: String,
    row: Option<(&Rehearsed, &str)>,
) -> Result<(Option<Leak>, Option<Refusal>)> {
    let json = row.map(|(_, json)| json);
    let played = writing.play(session, std::slice::from_ref(&sql), json).await?;
    let shown = played.figures.first().copied().unwrap_or_default();
    // Rows of nobody are everybody's: what reads them says so.
    if shown <= writing.attack.truth(relation).nobody {
        return Ok((None, played.refusal));
    }
    let does = format!("is shown rows of other tenants in `{}` by RETURNING", relation.name);
    let result = (sql, format!("{} of other tenants returned", rows(shown)));
    let set_up = row.map(|(plan, _)| (plan.json.as_str(), &plan.reads));
    Ok((Some(writing.leak(relation, session, set_up, result, does)), None))
}

/// Inserts a row of the other tenant, and asks for it.
async fn insert(writing: &mut Writing, actor: &mut Actor, relation: &Relation) -> Result<Option<Leak>> {
    let Some(columns) = relation.writers.get(&actor.role) else { return Ok(None) };
    let other = writing.attack.tenants.other.clone();
    let Ok(plan) = writing.plan(relation, Some(columns), &other).await? else { return Ok(None) };
    let Some(row) = writing.evaluate(&plan.json).await? else { return Ok(None) };
    if !plan.is_as_wished {
        return Ok(None);
    }
    let verb = plan.insert(&relation.name, &format!("current_setting({})::jsonb", quote_literal(ROW)));
    let sql = counting_others(relation, &verb, &writing.tenants().0);
    Ok(show(writing, &mut actor.own, relation, sql, Some((&plan, &row))).await?.0)
}

/// Whether the tenant's own rows come back.
async fn control(
    writing: &mut Writing,
    actor: &mut Actor,
    relation: &Relation,
    verb: Option<&String>,
    own: &str,
) -> Result<Tried> {
    // Who may only insert has `tenancy.cross-insert`'s control.
    let Some(verb) = verb else { return Ok(Tried::Refused) };
    let counting = |one: &str| {
        let column = &relation.column;
        format!(
            "with w as ({verb} where {column} = {own}{one} returning {column} as tenant) select count(*) from w"
        )
    };
    let mut sql = counting("");
    let mut played = writing.play(&mut actor.own, std::slice::from_ref(&sql), None).await?;
    for one in singles(relation, own) {
        if played.refusal.as_ref().is_none_or(|refusal| refusal.why != Why::Other) {
            break;
        }
        sql = counting(&format!(" and {one}"));
        played = writing.play(&mut actor.own, std::slice::from_ref(&sql), None).await?;
    }
    let is_shown = played.figures.first().is_some_and(|shown| *shown > 0);
    writing.proved(is_shown);
    Ok(match played.refusal {
        // A constraint stops what has been reached.
        Some(refusal) if refusal.is_of_a_constraint() => Tried::Refused,
        Some(refusal) if refusal.why == Why::Circumstances => {
            Tried::Unknown(format!("the statement failed ({refusal})"))
        }
        Some(refusal) => Tried::Unknown(format!("it refuses the tenant's own rows too ({refusal})")),
        None if is_shown => Tried::Refused,
        None => {
            let step = Evidence::as_role(&actor.role, sql, "no row");
            let mut evidence = writing.attack.seeding(relation);
            evidence.extend(transcript(&actor.own, vec![step]));
            Tried::Leak(Leak {
                class: Class::DeadPolicy,
                severity: Severity::Note,
                does: format!("is shown no row of `{}` by RETURNING, not even its own", relation.name),
                help: "a dead policy proves nothing: write one for the verb and the role, or revoke the privilege".into(),
                evidence,
            })
        }
    })
}
