//! The scene of an attack: a database, two tenants with rows, and sessions of the roles.

use super::probe::{Counts, Session};
use super::roles::{self, Roles, subject};
use super::tables::{self, Relation};
use super::tenants::{self, Seeds, Tenants};
use crate::check::{Context, Tenancy, Verdict};
use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity};
use crate::ident::{QualifiedName, quote_literal};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// The scene of an attack.
pub(super) struct Attack {
    pub(super) check: &'static str,
    pub(super) tenancy: Tenancy,
    pub(super) setting: String,
    pub(super) db: TestDb,
    /// The role that looks after the server, and a session of it.
    pub(super) admin: String,
    pub(super) control: PgConnection,
    pub(super) relations: Vec<Relation>,
    pub(super) roles: Vec<String>,
    pub(super) tenants: Tenants,
    pub(super) seeds: Seeds,
    /// What there is to see, in the first tenant's context.
    pub(super) truth: BTreeMap<QualifiedName, Counts>,
    pub(super) findings: Vec<Finding>,
    probes: u32,
}

impl Attack {
    /// Sets the scene, or says why there is none.
    pub(super) async fn prepare(context: &Context, check: &'static str) -> Result<Result<Attack, Verdict>> {
        let Some(tenancy) = context.project().tenancy.clone() else {
            return Ok(Err(Verdict::skipped("needs `[tenancy]`")));
        };
        let Some(setting) = tenancy.setting.clone() else {
            return Ok(Err(Verdict::skipped("needs `tenancy.setting`")));
        };
        let db = context.database().await?;
        let mut control = db.connection().await?;
        let mut relations = tables::read(&mut control, &tenancy).await?;
        if relations.is_empty() {
            let reason = format!("there is no table with a column `{}`", tenancy.column);
            return Ok(Err(Verdict::skipped(reason)));
        }
        let Roles { attackers, findings } = roles::read(&mut control, check, &tenancy, &relations).await?;
        if attackers.is_empty() && findings.is_empty() {
            return Ok(Err(Verdict::skipped("there is no role to attack as: name some in `tenancy.roles`")));
        }
        tables::read_privileges(&mut control, &tenancy, &attackers, &mut relations).await?;
        let Some(tenants) = tenants::choose(&mut control, &tenancy, &relations).await? else {
            return Ok(Err(Verdict::skipped("no table keeps rows of tenants")));
        };
        let seeds = tenants::seed(&mut control, &tenancy, &tenants, &relations).await?;
        let mut attack = Attack {
            check,
            tenancy,
            setting,
            admin: db.server().endpoint().role().to_owned(),
            db,
            control,
            relations,
            roles: attackers,
            tenants,
            seeds,
            truth: BTreeMap::new(),
            findings,
            probes: 0,
        };
        attack.look().await?;
        Ok(Ok(attack))
    }

    /// A fresh session of `role`. With a context it is set in every transaction; without, never.
    pub(super) async fn session(&self, role: &str, has_context: bool) -> Result<Session> {
        let context = has_context.then(|| (self.setting.clone(), self.tenants.own.clone()));
        Ok(Session { role: role.to_owned(), connection: self.db.connect_as(role).await?, context })
    }

    /// Counts what there is, as who sees everything.
    async fn look(&mut self) -> Result<()> {
        let mut session = Session {
            role: self.admin.clone(),
            connection: self.db.connection().await?,
            context: Some((self.setting.clone(), self.tenants.own.clone())),
        };
        for relation in &self.relations {
            if relation.readers.is_empty() && relation.writers.is_empty() {
                continue;
            }
            let counts = session.count(relation, &self.tenants).await?.outcome.unwrap_or_default();
            self.truth.insert(relation.name.clone(), counts);
        }
        Ok(())
    }

    pub(super) fn truth(&self, relation: &Relation) -> Counts {
        self.truth.get(&relation.name).copied().unwrap_or_default()
    }

    /// Counts probes.
    pub(super) fn count_probes(&mut self, more: usize) {
        self.probes += u32::try_from(more).unwrap_or(u32::MAX);
    }

    /// Why nothing can be said of reads of `relation`, if so.
    pub(super) fn lacks(&self, relation: &Relation) -> Option<String> {
        if let Some(reason) = self.seeds.lacking.get(&relation.name).cloned() {
            return Some(reason);
        }
        let truth = self.truth(relation);
        if truth.own == 0 {
            return Some("it has no row of the tenant that asks".into());
        }
        (relation.is_store() && truth.others == 0).then(|| "it has no row of another tenant".into())
    }

    /// The steps that put rows of the harness's own into `relation` and into what those were copied from or refer to,
    /// for a transcript.
    pub(super) fn seeding(&self, relation: &Relation) -> Vec<Evidence> {
        let shown = relation.shows.iter().cloned();
        self.steps_for(std::iter::once(relation.name.clone()).chain(shown).collect())
    }

    /// The steps that the rows of these tables go back to.
    pub(super) fn steps_for(&self, mut wanted: BTreeSet<QualifiedName>) -> Vec<Evidence> {
        let lies_within = |below: &QualifiedName, above: &QualifiedName| {
            let relation = self.relations.iter().find(|relation| relation.name == *below);
            below == above || relation.is_some_and(|relation| relation.ancestors.contains(above))
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

    /// A relation that could not be attacked: never passed over in silence.
    pub(super) fn note_uncovered(&mut self, relation: &Relation, roles: &[String], reason: &str) {
        let name = relation.name.to_string();
        let who = if roles.is_empty() { String::new() } else { format!(" as {}", roles::listed(roles)) };
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

    /// A relation in which not even the tenant's own rows are seen: closed, but for everybody.
    pub(super) fn note_dead(&mut self, relation: &Relation, roles: &[String], evidence: Vec<Evidence>) {
        let name = relation.name.to_string();
        let who = roles::listed(roles);
        self.findings.push(Finding {
            check: self.check.into(),
            class: Class::DeadPolicy,
            severity: Severity::Note,
            subject: subject(relation.kind, &relation.name),
            message: format!("{who} may read `{name}` but sees no row of it, not even the tenant's own"),
            help: "a dead policy proves nothing: write one for the role, or revoke the privilege".into(),
            evidence,
        });
    }

    /// Ends the attack.
    pub(super) fn verdict(self) -> Verdict {
        let figure = |name: &str, value: f64| Measurement {
            name: format!("{}.{name}", self.check),
            value,
            unit: String::new(),
        };
        let reached =
            self.relations.iter().filter(|relation| self.truth.contains_key(&relation.name)).count();
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let measurements = [
            figure("relations", number(self.relations.len())),
            figure("relations_reached", number(reached)),
            figure("relations_seeded", number(self.seeds.relations)),
            figure("roles", number(self.roles.len())),
            figure("probes", f64::from(self.probes)),
        ];
        Verdict::of(self.findings).with_measurements(measurements)
    }
}

/// The steps of a transaction of `session`: what it begins with, `steps`, and its end.
pub(super) fn transcript(session: &Session, steps: Vec<Evidence>) -> Vec<Evidence> {
    let step = |sql: String| Evidence::as_role(&session.role, sql, "");
    session.opening().into_iter().map(step).chain(steps).chain([step("rollback".to_owned())]).collect()
}

/// A number of rows, as people write it.
pub(super) fn rows(count: i64) -> String {
    if count == 1 { "1 row".into() } else { format!("{count} rows") }
}

/// How to close a relation that shows too much.
pub(super) fn remedy(relation: &Relation, setting: &str) -> String {
    let name = relation.name.sql();
    let column = &relation.column;
    match relation.kind {
        "view" => format!(
            "`alter view {name} set (security_invoker = true)`: it then shows what its reader may see"
        ),
        "materialized view" | "foreign table" => {
            format!(
                "no policy can bind a {}: revoke the privilege, and grant a view with a condition",
                relation.kind
            )
        }
        kind if !relation.is_enabled => {
            let direct = if kind == "partition" || !relation.ancestors.is_empty() {
                ": the policy of its parent does not bind who reads it directly; or revoke the privilege"
            } else {
                ", with a policy that compares the tenant with the setting"
            };
            format!("`alter table {name} enable row level security`{direct}")
        }
        _ => format!(
            "let every policy demand `{column} = nullif(current_setting({}, true), '')`, cast to the column's type: \
             permissive policies widen one another",
            quote_literal(setting)
        ),
    }
}

/// The value of an SQL expression, as who looks after the server.
pub(super) async fn evaluate(control: &mut PgConnection, expression: &str) -> Result<Option<String>> {
    let row = control
        .fetch_one(AssertSqlSafe(format!("select ({expression})::text")))
        .await
        .attempt(ErrorKind::Database, || "failed to put together a row".into())?;
    Ok(row.try_get(0)?)
}
