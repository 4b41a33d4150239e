//! What an attack could not show, or could have shown of anything: noted, never passed over in silence.

use super::attack::Attack;
use super::probe::Refusal;
use super::roles::{done_by, listed, subject};
use super::tables::Relation;
use crate::finding::{Class, Evidence, Finding, Severity};

impl Attack {
    /// A relation that could not be attacked: never passed over in silence.
    pub(super) fn note_uncovered(&mut self, relation: &Relation, roles: &[String], reason: &str) {
        let name = relation.name.to_string();
        let who = if roles.is_empty() { String::new() } else { format!(" as {}", listed(roles)) };
        self.findings.push(Finding {
            check: self.check.into(),
            class: Class::Uncovered,
            severity: Severity::Note,
            subject: subject(relation.kind, &relation.name),
            message: format!("`{name}` was not attacked{who}: {reason}"),
            help: format!(
                "add a fixture with rows of two tenants in `{name}`, or exempt it in `tenancy.exempt`"
            ),
            evidence: vec![Evidence::step(format!("attacking `{name}`"), reason.to_owned())],
        });
    }

    /// As [`note_uncovered`](Attack::note_uncovered), of an attack that should have shown rows of others and did not.
    pub(super) fn note_unshown(&mut self, relation: &Relation, roles: &[String]) {
        let reason = self.lacks(relation).unwrap_or_else(|| "it shows no row of others".into());
        self.note_uncovered(relation, roles, &reason);
    }

    /// As [`note_uncovered`](Attack::note_uncovered), of an attack that the server refused.
    pub(super) fn note_refused(&mut self, relation: &Relation, roles: &[String], refusal: &Refusal) {
        self.note_uncovered(relation, roles, &format!("the statement failed ({refusal})"));
    }

    /// A relation in which not even the tenant's own rows are seen: closed, but for everybody.
    pub(super) fn note_dead(&mut self, relation: &Relation, roles: &[String], evidence: Vec<Evidence>) {
        let name = relation.name.to_string();
        let who = listed(roles);
        self.findings.push(Finding {
            check: self.check.into(),
            class: Class::DeadPolicy,
            severity: Severity::Note,
            subject: subject(relation.kind, &relation.name),
            message: format!(
                "{who} may read `{name}` but {} of it, not even the tenant's own",
                done_by(roles, "sees no row")
            ),
            help: "a dead policy proves nothing: write one for the role, or revoke the privilege".into(),
            evidence,
        });
    }

    /// A verb that does nothing, not even to the tenant's own rows.
    pub(super) fn note_idle(
        &mut self,
        relation: &Relation,
        roles: &[String],
        verb: &'static str,
        evidence: Vec<Evidence>,
    ) {
        let name = relation.name.to_string();
        self.findings.push(Finding {
            check: self.check.into(),
            class: Class::DeadPolicy,
            severity: Severity::Note,
            subject: subject(relation.kind, &relation.name),
            message: format!(
                "{} may {verb} rows of `{name}`, but not one, not even of the tenant's own",
                listed(roles)
            ),
            help:
                "a dead policy proves nothing: write one for the verb and the role, or revoke the privilege"
                    .into(),
            evidence,
        });
    }
}
