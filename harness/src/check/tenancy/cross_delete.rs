//! `tenancy.cross-delete`: whether one tenant removes another's rows.

use super::tables::Relation;
use super::tried::{Leak, Reach, Tried};
use super::wording::rows;
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::Result;
use crate::finding::Severity;
use crate::server::Capability;

/// With a tenant in the session no row of another can be removed.
pub(in crate::check) struct CrossDelete;

impl Check for CrossDelete {
    fn id(&self) -> &'static str {
        "tenancy.cross-delete"
    }

    fn summary(&self) -> &'static str {
        "a session of one tenant removes no row of another"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` logs in and deletes from every table, partition, child and view with \
                     the tenant's column that it may delete from: with a tenant set, another tenant's rows by asking for \
                     them; and in the name of a tenant who has no row, without a WHERE, so that only the policies for \
                     DELETE are asked. No row goes. It does delete its own rows: else nothing is proven, and a note says \
                     so. Everything is rolled back.",
            matters: "A clean-up job that forgets its WHERE, or asks for the wrong one, empties the table for every \
                      customer where policies do not bound it.",
            remedy: "Give the policy for DELETE the tenant's condition in USING; a DELETE that reads no column is bound \
                     by no policy for SELECT. Enable row-level security on partitions and children that can be written \
                     directly; create views `with (security_invoker = true)`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.cross-delete":
            "bad.sql", "bad_child.sql", "bad_parent.sql", "bad_partition.sql", "bad_view.sql", "bad_write_only.sql",
            "good.sql", "good_no_privilege.sql", "good_parent.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "delete from orders",
            gets: "rid of A's orders, and of B's",
            because: "the policy for DELETE says `using (true)`, and a DELETE that reads no column is bound by that one \
                      alone",
            fix: "alter policy removes on orders using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.cross-delete", Delete))
    }
}

struct Delete;

impl Assault for Delete {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        if !writing.rights.of(relation, &actor.role).deletes {
            return Ok(None);
        }
        if let Some(reason) = writing.attack.lacks(relation) {
            return Ok(Some(Tried::Unknown(reason)));
        }
        let (own, other) = writing.tenants();
        let (table, column) = (relation.name.sql(), &relation.column);
        let name = &relation.name;
        let attempts = [
            (
                &mut actor.own,
                format!("delete from {table} where {column} = {other}"),
                format!("removes rows of another tenant from `{name}`"),
                0,
            ),
            (
                &mut actor.stranger,
                format!("delete from {table}"),
                format!("removes rows of another tenant from `{name}`, by a DELETE that reads no column"),
                writing.attack.truth(relation).nobody,
            ),
        ];
        for (session, sql, does, of_nobody) in attempts {
            let (sql, reach) = writing.probe_each(session, &sql, None).await?;
            let leak = match reach {
                Reach::Rows(removed) => {
                    let removed = i64::try_from(removed).unwrap_or(i64::MAX);
                    let leak = writing.leak(
                        relation,
                        session,
                        None,
                        (sql, format!("{} deleted", rows(removed))),
                        does,
                    );
                    if removed > of_nobody {
                        leak
                    } else {
                        let does = format!("removes rows of no tenant from `{name}`");
                        Leak { severity: Severity::Warning, does, ..leak }
                    }
                }
                Reach::Stopped(refusal) => {
                    let constraint = refusal.constraint.clone().unwrap_or_default();
                    let does = format!("{does}, but for the constraint `{constraint}`: no policy stops it");
                    let leak = writing.leak(relation, session, None, (sql, refusal.to_string()), does);
                    Leak { severity: Severity::Warning, ..leak }
                }
                _ => continue,
            };
            return Ok(Some(Tried::Leak(leak)));
        }
        let mut sql = format!("delete from {table} where {column} = {own}");
        let mut reach;
        (sql, reach) = writing.control_each(&mut actor.own, relation, &sql).await?;
        if !reach.is_reached() {
            // Who may not read may still delete.
            sql = format!("delete from {table}");
            (sql, reach) = writing.control_each(&mut actor.own, relation, &sql).await?;
        }
        if reach.is_reached() {
            return Ok(Some(Tried::Refused));
        }
        Ok(Some(writing.unproven(relation, &actor.own, "delete", sql, reach)))
    }
}
