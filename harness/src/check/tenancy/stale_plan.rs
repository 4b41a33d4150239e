//! `tenancy.stale-plan`: whether a plan that was made for one tenant, or for another role, is used for the next.

use super::probe::Session;
use super::tables::Relation;
use super::transcript::transcript;
use super::tried::{Leak, Reach, Tried};
use super::wording::rows;
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::{Class, Evidence, Severity};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;

/// A prepared statement shows what the same statement shows that is not prepared.
pub(in crate::check) struct StalePlan;

impl Check for StalePlan {
    fn id(&self) -> &'static str {
        "tenancy.stale-plan"
    }

    fn summary(&self) -> &'static str {
        "a prepared statement does not remember for whom it was planned"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in, sets a tenant, prepares a query of every relation with the \
                     tenant's column that it may read, and executes it; then it sets another tenant, and executes it \
                     again. It sees no row of the first tenant, as the same query does not that is not prepared. Also, \
                     whoever is free of policies prepares a query, and one of a function that is put in its place, becomes that \
                     role, and executes them: they show no more than the role sees. That is up to the server: before \
                     15.9, 16.5 and 17.1 it forgot the second (CVE-2024-10976).",
            matters: "Drivers prepare statements, and poolers hand them on. A function in a policy that is declared \
                      IMMUTABLE is computed once, when the statement is planned; from then on every tenant is shown the \
                      rows of the one that came first. No test sees it that opens a new connection.",
            remedy: "Declare functions that read the setting STABLE: they are computed once per statement, not once per \
                     plan. Keep the server at its latest minor version.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.stale-plan":
            "bad.sql", "bad_view.sql", "good.sql", "good_view.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, with a driver that prepares its statements, for tenant A and then for tenant B",
            runs: "select item from orders",
            gets: "A's lamp, in B's name",
            because: "`current_tenant()` is declared IMMUTABLE, and so was computed when the statement was planned",
            fix: "alter function current_tenant() stable",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.stale-plan", Prepare))
    }
}

/// What the prepared statement is called.
const PLAN: &str = "pgharness_plan";

struct Prepare;

impl Assault for Prepare {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        if !writing.may_tell_apart(relation, &actor.role) {
            return Ok(None);
        }
        if let Some(reason) = writing.attack.lacks(relation) {
            return Ok(Some(Tried::Unknown(reason)));
        }
        match by_tenant(writing, &mut actor.own, relation).await? {
            Tried::Refused => {}
            other => return Ok(Some(other)),
        }
        let leak = by_role(writing, &actor.role, relation).await?;
        Ok(Some(leak.map_or(Tried::Refused, Tried::Leak)))
    }
}

/// Prepares as one tenant, and executes as the other.
async fn by_tenant(writing: &mut Writing, session: &mut Session, relation: &Relation) -> Result<Tried> {
    let (own, _) = writing.tenants();
    let (setting, other) = writing.attack.context_of(&writing.attack.tenants.other);
    let query = format!("select count(*) from {} where {} = {own}", relation.name.sql(), relation.column);
    let statements = [
        // Prepared statements outlive a ROLLBACK.
        "deallocate all".to_owned(),
        format!("prepare {PLAN} as {query}"),
        format!("execute {PLAN}"),
        format!("select set_config({}, {}, true)", quote_literal(&setting), quote_literal(&other)),
        query.clone(),
        format!("execute {PLAN}"),
    ];
    let played = writing.play(session, &statements, None).await?;
    if let Some(refusal) = played.refusal {
        return Ok(Tried::Unknown(format!("the statement failed ({refusal})")));
    }
    let [_, _, first, _, plain, stale] = played.figures[..] else { return Ok(Tried::Refused) };
    writing.proved(first > 0);
    if first == 0 {
        return Ok(writing.unproven(relation, session, "read", query, Reach::Nothing));
    }
    if stale <= plain {
        return Ok(Tried::Refused);
    }
    let results = ["", "", "", "", &rows(plain), &format!("{} of tenant {own}", rows(stale))];
    let steps = statements.iter().zip(results);
    let steps = steps.map(|(sql, result)| Evidence::as_role(&session.role, sql, result)).collect();
    let mut evidence = writing.attack.seeding(relation);
    evidence.extend(transcript(session, steps));
    Ok(Tried::Leak(Leak {
        class: Class::Mistake,
        severity: Severity::Error,
        does: format!(
            "sees rows of the tenant in `{}` for which a prepared statement was planned, and not of the one that is set",
            relation.name
        ),
        help: "declare the functions that the policies use STABLE: what is IMMUTABLE is computed when a statement is planned"
            .into(),
        evidence,
    }))
}

/// Prepares as who is free of policies, and executes as the role.
async fn by_role(writing: &mut Writing, role: &str, relation: &Relation) -> Result<Option<Leak>> {
    let (own, _) = writing.tenants();
    let (table, column) = (relation.name.sql(), &relation.column);
    let admin = writing.attack.admin.clone();
    let mut session = writing.attack.admin_session().await?;
    let inlined = format!("select count(*) from pg_temp.pgharness_rows() t where t is distinct from {own}");
    let create = format!(
        "create function pg_temp.pgharness_rows() returns setof text stable language sql as \
         $$ with w as (select {column}::text as t from {table}) select t from w $$"
    );
    for (set_up, query) in [
        (
            "deallocate all".to_owned(),
            format!("select count(*) from {table} where {column} is distinct from {own}"),
        ),
        (create, inlined),
    ] {
        let statements = [
            set_up,
            format!("prepare {PLAN} as {query}"),
            format!("execute {PLAN}"),
            format!("set local role {}", quote_ident(role)),
            query,
            format!("execute {PLAN}"),
            // It outlives the transaction.
            "deallocate all".to_owned(),
        ];
        let played = writing.play(&mut session, &statements, None).await?;
        let [_, _, _, _, plain, stale, _] = played.figures[..] else { continue };
        if stale <= plain {
            continue;
        }
        let results = ["", "", "", "", &rows(plain), &format!("{} of other tenants", rows(stale)), ""];
        let steps = statements.iter().zip(results);
        let steps = steps.map(|(sql, result)| Evidence::as_role(&admin, sql, result)).collect();
        let mut evidence = writing.attack.seeding(relation);
        evidence.extend(transcript(&session, steps));
        return Ok(Some(Leak {
            class: Class::ServerBug,
            severity: Severity::Error,
            does: format!(
                "sees rows of other tenants in `{}` by a statement that was prepared before it became this role",
                relation.name
            ),
            help: "update the server: CVE-2024-10976 is mended in 15.9, 16.5 and 17.1".into(),
            evidence,
        }));
    }
    Ok(None)
}
