//! The steps by which somebody else comes to see what an attack saw.

use super::attack::Attack;
use super::probe::{ROW, Session, opening};
use super::tables::Relation;
use crate::finding::Evidence;
use crate::ident::{QualifiedName, quote_literal};
use std::collections::BTreeSet;

impl Attack {
    /// The steps that put rows of the harness's own into `relation` and into what those were copied from or refer to,
    /// for a transcript.
    pub(super) fn seeding(&self, relation: &Relation) -> Vec<Evidence> {
        let shown = relation.shows.iter().cloned();
        self.steps_for(std::iter::once(relation.name.clone()).chain(shown).collect())
    }

    /// The transcript of one statement of `role` in the first tenant's context, with the rows that it is about.
    pub(super) fn shown(
        &self,
        relation: &Relation,
        role: &str,
        sql: String,
        result: impl Into<String>,
    ) -> Vec<Evidence> {
        self.shown_in(Some(&self.context_of(&self.tenants.own)), relation, role, sql, result)
    }

    /// As [`shown`](Attack::shown), in another context or none.
    pub(super) fn shown_in(
        &self,
        context: Option<&(String, String)>,
        relation: &Relation,
        role: &str,
        sql: String,
        result: impl Into<String>,
    ) -> Vec<Evidence> {
        let mut evidence = self.seeding(relation);
        evidence.extend(transcript_in(role, context, vec![Evidence::as_role(role, sql, result)]));
        evidence
    }

    /// The step that lays a row ready, given as an SQL expression of type jsonb, for statements that find it in a setting.
    pub(super) fn laid(&self, json: &str, whose: impl Into<String>) -> Evidence {
        let sql = format!("select set_config({}, ({json})::text, false) is not null", quote_literal(ROW));
        Evidence::as_role(&self.admin, sql, format!("true: {}", whose.into()))
    }

    /// The steps that the rows of these tables go back to.
    pub(super) fn steps_for(&self, mut wanted: BTreeSet<QualifiedName>) -> Vec<Evidence> {
        let lies_within = |below: &QualifiedName, above: &QualifiedName| {
            let mut relations = self.relations.iter();
            below == above
                || relations.any(|relation| relation.name == *below && relation.ancestors.contains(above))
        };
        let mut steps = Vec::new();
        for step in self.seeds.journal.iter().rev() {
            // A row of a partition is its parent's, and the other way round.
            let is_wanted =
                |name: &QualifiedName| lies_within(&step.table, name) || lies_within(name, &step.table);
            if wanted.iter().any(is_wanted) {
                wanted.extend(step.reads.iter().cloned());
                steps.push(Evidence::as_role(&self.admin, step.sql.clone(), "done"));
            }
        }
        steps.reverse();
        steps
    }
}

/// The steps of a transaction of `session`: what it begins with, `steps`, and its end.
pub(super) fn transcript(session: &Session, steps: Vec<Evidence>) -> Vec<Evidence> {
    transcript_in(&session.role, session.context.as_ref(), steps)
}

/// As [`transcript`], of a session of `role` in this context.
pub(super) fn transcript_in(
    role: &str,
    context: Option<&(String, String)>,
    steps: Vec<Evidence>,
) -> Vec<Evidence> {
    let step = |sql: String| Evidence::as_role(role, sql, "");
    opening(context).into_iter().map(step).chain(steps).chain([step("rollback".to_owned())]).collect()
}
