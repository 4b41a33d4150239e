//! What the checks of writes have in common: who writes in whose name, and what came of it.

use super::attack::Attack;
use super::probe::{Played, Session, Why};
use super::rights::{self, AllRights};
use super::roles::{done_by, grouped, listed, subject};
use super::single::{ROWS_MAX, single, singles};
use super::tables::Relation;
use super::transcript::transcript;
use super::tried::{Dead, Leak, Reach, Tried};
use super::wording::remedy;
use crate::check::{Context, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity};
use crate::fixture::rows::{Rehearsed, Rows};
use crate::ident::{QualifiedName, quote_literal};
use std::collections::BTreeSet;

/// The scene of attacks by writing.
pub(super) struct Writing {
    pub(super) attack: Attack,
    pub(super) rows: Rows,
    pub(super) rights: AllRights,
    /// The server's version, as a number: 150004 is 15.4.
    pub(super) version: i32,
    probes: usize,
    controls: usize,
}

/// A role that writes.
pub(super) struct Actor {
    pub(super) role: String,
    /// It works for the tenant that attacks.
    pub(super) own: Session,
    /// It works for a tenant who has no row: whatever it reaches is somebody else's.
    pub(super) stranger: Session,
}

/// What is tried on every relation as every role.
pub(super) trait Assault: Send {
    /// Attacks `relation` as `actor`; `None` where the role has no privilege to do so.
    fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> impl Future<Output = Result<Option<Tried>>> + Send;
}

/// Attacks every relation as every role.
///
/// # Errors
/// A role cannot log in, or the server is lost.
pub(super) async fn assault<A: Assault>(
    context: &Context,
    check: &'static str,
    mut tactics: A,
) -> Result<Verdict> {
    let (mut writing, mut actors) = match Writing::prepare(context, check).await? {
        Ok(scene) => scene,
        Err(verdict) => return Ok(verdict),
    };
    for relation in writing.attack.relations.clone() {
        let mut tried = Vec::new();
        for actor in &mut actors {
            if let Some(outcome) = tactics.attempt(&mut writing, actor, &relation).await? {
                tried.push((actor.role.clone(), outcome));
            }
        }
        writing.report(&relation, tried);
    }
    Ok(writing.verdict())
}

impl Writing {
    /// Sets the scene, with a session of each role; or says why there is none.
    pub(super) async fn prepare(
        context: &Context,
        check: &'static str,
    ) -> Result<Result<(Writing, Vec<Actor>), Verdict>> {
        let mut attack = match Attack::prepare(context, check).await? {
            Ok(attack) => attack,
            Err(verdict) => return Ok(Err(verdict)),
        };
        let rows = Rows::read(&mut attack.control).await?;
        let rights = rights::read(&mut attack.control, &attack.tenancy.column, &attack.roles).await?;
        let version = sqlx::query_scalar("select current_setting('server_version_num')::int")
            .fetch_one(&mut attack.control)
            .await?;
        let mut actors = Vec::new();
        for role in attack.roles.clone() {
            let own = attack.session(&role, true).await?;
            let mut stranger = attack.session(&role, false).await?;
            stranger.context = Some(attack.context_of(&stranger_to(&attack.tenants.own)));
            actors.push(Actor { role, own, stranger });
        }
        let writing = Writing { attack, rows, rights, version, probes: 0, controls: 0 };
        Ok(Ok((writing, actors)))
    }

    /// Whether `role` may read whose the rows of `relation` are.
    pub(super) fn may_tell_apart(&self, relation: &Relation, role: &str) -> bool {
        self.rights.of(relation, role).reads.contains(&self.attack.tenancy.column)
    }

    /// Runs a statement as `session`, and counts it.
    pub(super) async fn probe(
        &mut self,
        session: &mut Session,
        sql: &str,
        json: Option<&str>,
    ) -> Result<Reach> {
        self.probes += 1;
        Ok(Reach::of(session.write(sql, json).await?.outcome))
    }

    /// Runs statements in one transaction, and counts them as one attempt.
    pub(super) async fn play(
        &mut self,
        session: &mut Session,
        statements: &[String],
        json: Option<&str>,
    ) -> Result<Played> {
        self.probes += 1;
        session.play(statements, json).await
    }

    /// Runs a statement that must do something, or nothing is proven.
    pub(super) async fn control(
        &mut self,
        session: &mut Session,
        sql: &str,
        json: Option<&str>,
    ) -> Result<Reach> {
        let reach = Reach::of(session.write(sql, json).await?.outcome);
        self.controls += usize::from(reach.is_reached());
        Ok(reach)
    }

    /// Runs a statement; where a constraint or a trigger stops it, on one row after the other: others may pass. Gives the
    /// statement that came farthest.
    pub(super) async fn probe_each(
        &mut self,
        session: &mut Session,
        sql: &str,
        json: Option<&str>,
    ) -> Result<(String, Reach)> {
        let joint = if sql.contains(" where ") { "and" } else { "where" };
        let (mut all, mut stopped) = (None, None);
        for one in std::iter::once(None).chain((1..=ROWS_MAX).map(|row| Some(single(row)))) {
            let narrowed = one.map_or_else(|| sql.to_owned(), |one| format!("{sql} {joint} {one}"));
            match self.probe(session, &narrowed, json).await? {
                Reach::Rows(rows) => return Ok((narrowed, Reach::Rows(rows))),
                reach if !reach.is_about_a_row() => {
                    all = all.or(Some(reach));
                    break;
                }
                reach @ Reach::Stopped(_) => stopped = stopped.or(Some(reach)),
                reach => all = all.or(Some(reach)),
            }
        }
        Ok((sql.to_owned(), stopped.or(all).unwrap_or(Reach::Nothing)))
    }

    /// Runs a statement that must do something to the attacker's own rows: to all of them, or else to one.
    pub(super) async fn control_each(
        &mut self,
        session: &mut Session,
        relation: &Relation,
        sql: &str,
    ) -> Result<(String, Reach)> {
        let all = self.control(session, sql, None).await?;
        if all.is_reached() || !all.is_about_a_row() {
            return Ok((sql.to_owned(), all));
        }
        let joint = if sql.contains(" where ") { "and" } else { "where" };
        for one in singles(relation, &self.tenants().0) {
            let narrowed = format!("{sql} {joint} {one}");
            let reach = self.control(session, &narrowed, None).await?;
            if reach.is_reached() {
                return Ok((narrowed, reach));
            }
        }
        Ok((sql.to_owned(), all))
    }

    /// Counts a control that was part of an attempt.
    pub(super) fn proved(&mut self, is_so: bool) {
        self.controls += usize::from(is_so);
    }

    /// The tenant that attacks and the one that is attacked, as literals.
    pub(super) fn tenants(&self) -> (String, String) {
        (quote_literal(&self.attack.tenants.own), quote_literal(&self.attack.tenants.other))
    }

    /// A row of `tenant` that `relation` takes, like one that is there.
    pub(super) async fn plan(
        &mut self,
        relation: &Relation,
        columns: Option<&BTreeSet<String>>,
        tenant: &str,
    ) -> Result<Result<Rehearsed, String>> {
        self.attack.plan(&mut self.rows, relation, columns, tenant).await
    }

    /// Adds one more row of the attacker's to `relation`, to which nothing refers yet; whether it took one.
    pub(super) async fn add_own(&mut self, relation: &Relation) -> Result<bool> {
        self.attack.add_own(&mut self.rows, relation).await
    }

    /// What a row is, given as an SQL expression of type jsonb.
    pub(super) async fn evaluate(&mut self, json: &str) -> Result<Option<String>> {
        self.attack.evaluate(json).await
    }

    /// A leak through `relation`: rows are added that it needs, `row` is laid ready, and `session` runs `sql`.
    pub(super) fn leak(
        &self,
        relation: &Relation,
        session: &Session,
        row: Option<(&str, &BTreeSet<QualifiedName>)>,
        (sql, result): (String, String),
        does: String,
    ) -> Leak {
        let mut evidence = self.setting_up(relation, row);
        evidence.extend(transcript(session, vec![Evidence::as_role(&session.role, sql, result)]));
        Leak {
            class: Class::Mistake,
            severity: Severity::Error,
            does,
            help: remedy(relation, &self.attack.spelling),
            evidence,
        }
    }

    /// The steps before a transcript: rows are added, and the one that travels in a setting is laid ready.
    pub(super) fn setting_up(
        &self,
        relation: &Relation,
        row: Option<(&str, &BTreeSet<QualifiedName>)>,
    ) -> Vec<Evidence> {
        let Some((json, reads)) = row else { return self.attack.seeding(relation) };
        let mut wanted = reads.clone();
        wanted.insert(relation.name.clone());
        wanted.extend(relation.shows.iter().cloned());
        let mut steps = self.attack.steps_for(wanted);
        steps.push(self.attack.laid(json, "a row"));
        steps
    }

    /// What a control says that did not do what it should.
    pub(super) fn unproven(
        &self,
        relation: &Relation,
        session: &Session,
        verb: &'static str,
        sql: String,
        reach: Reach,
    ) -> Tried {
        let is_closed =
            matches!(&reach, Reach::Nothing) || matches!(&reach, Reach::Refused(no) if no.why == Why::Policy);
        match reach {
            reach if is_closed => {
                let result = match reach {
                    Reach::Refused(refusal) => refusal.to_string(),
                    _ => "0 rows".into(),
                };
                let step = Evidence::as_role(&session.role, sql, result);
                let mut evidence = self.attack.seeding(relation);
                evidence.extend(transcript(session, vec![step]));
                Tried::Dead(Dead { verb, evidence })
            }
            Reach::Refused(refusal) | Reach::Unknown(refusal) | Reach::Stopped(refusal) => {
                Tried::Unknown(format!("it refuses the tenant's own rows too ({refusal})"))
            }
            Reach::Rows(_) | Reach::Nothing => Tried::Refused,
        }
    }

    /// Reports what came of the attempts on `relation`.
    pub(super) fn report(&mut self, relation: &Relation, tried: Vec<(String, Tried)>) {
        for (roles, tried) in grouped(tried) {
            match tried {
                Tried::Refused => {}
                Tried::Unknown(reason) => self.attack.note_uncovered(relation, &roles, &reason),
                Tried::Dead(Dead { verb, evidence }) => {
                    self.attack.note_idle(relation, &roles, verb, evidence);
                }
                Tried::Leak(Leak { class, severity, does, help, evidence }) => {
                    self.attack.findings.push(Finding {
                        check: self.attack.check.into(),
                        class,
                        severity,
                        subject: subject(relation.kind, &relation.name),
                        message: format!("with a tenant set {} {}", listed(&roles), done_by(&roles, &does)),
                        help,
                        evidence,
                    });
                }
            }
        }
    }

    /// Ends the attack.
    pub(super) fn verdict(mut self) -> Verdict {
        self.attack.count_probes(self.probes);
        self.attack.count_controls(self.controls);
        self.attack.verdict()
    }
}

/// A tenant like `known` of whom there is no row.
fn stranger_to(known: &str) -> String {
    let is_uuid = known.len() == 36 && known.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_uuid {
        "5eed5eed-5eed-4eed-8eed-5eed5eed5eed".into()
    } else if known.parse::<i64>().is_ok() {
        // It fits the smallest type of numbers.
        "32749".into()
    } else {
        "pgharness-stranger".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a0000000-0000-4000-8000-000000000001", "5eed5eed-5eed-4eed-8eed-5eed5eed5eed")]
    #[case("1001", "32749")]
    #[case("acme", "pgharness-stranger")]
    fn a_stranger_has_an_id_of_the_same_type(#[case] known: &str, #[case] expected: &str) {
        assert_eq!(stranger_to(known), expected);
    }
}
