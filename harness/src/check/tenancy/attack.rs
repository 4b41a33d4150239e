//! The scene of an attack: a database, two tenants with rows, and sessions of the roles.

use super::probe::{Counts, Session};
use super::roles::subject;
use super::scene;
use super::setting::Setting;
use super::tables::Relation;
use super::tenants::{self, Seeds, Tenants};
use crate::check::databases::USER;
use crate::check::{Context, Tenancy, Verdict};
use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity};
use crate::fixture::rows::{Like, Rehearsed, Rows, Wish};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::secret::Secret;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// The scene of an attack, for one check: what it changes is its own.
pub(super) struct Attack {
    pub(super) check: &'static str,
    pub(super) tenancy: Tenancy,
    /// The name of the setting that says whose session it is; see [`context_of`](Attack::context_of).
    pub(super) setting: String,
    pub(super) db: TestDb,
    /// The role that looks after the server, and a session of it.
    pub(super) admin: String,
    pub(super) control: PgConnection,
    pub(super) relations: Vec<Relation>,
    /// Tables of tenants with policies: theirs is no tenant's column, but a key.
    pub(super) tables_of_tenants: Vec<Relation>,
    pub(super) roles: Vec<String>,
    pub(super) tenants: Tenants,
    pub(super) seeds: Seeds,
    /// What there is to see, in the first tenant's context.
    pub(super) truth: BTreeMap<QualifiedName, Counts>,
    pub(super) findings: Vec<Finding>,
    /// The setting with the way into its document.
    pub(super) spelling: Setting,
    /// Of roles that cannot log in the one that does.
    through: BTreeMap<String, String>,
    passwords: BTreeMap<String, Secret>,
    assumed: Option<String>,
    probes: usize,
    controls: Option<usize>,
}

/// The checks that tell of roles that were named and do not attack: once is enough.
const TELL_OF_ROLES: [&str; 2] = ["tenancy.cross-read", "tenancy.reachable-role"];

impl Attack {
    /// Sets the scene, or says why there is none.
    pub(super) async fn prepare(context: &Context, check: &'static str) -> Result<Result<Attack, Verdict>> {
        let scene = match context.scene().await? {
            Ok(scene) => scene,
            Err(reason) => return Ok(Err(Verdict::skipped(reason))),
        };
        let findings = if TELL_OF_ROLES.contains(&check) { scene.roles.findings(check) } else { Vec::new() };
        if scene.roles.attackers.is_empty() && findings.is_empty() {
            let reason = format!("no role can attack: see `{}`", TELL_OF_ROLES.join("` and `"));
            return Ok(Err(Verdict::skipped(reason)));
        }
        let db = context.template()?.copy_of(&scene.db, USER).await?;
        let control = db.connection().await?;
        let (tables_of_tenants, relations) =
            scene.relations.iter().cloned().partition(|relation| relation.is_of_tenants);
        Ok(Ok(Attack {
            check,
            tenancy: scene.tenancy.clone(),
            setting: scene.setting.name.clone(),
            admin: db.server().endpoint().role().to_owned(),
            db,
            control,
            relations,
            tables_of_tenants,
            roles: scene.roles.attackers.clone(),
            tenants: scene.tenants.clone(),
            seeds: scene.seeds.clone(),
            truth: scene.truth.clone(),
            findings,
            spelling: scene.setting.clone(),
            through: scene.roles.through.clone(),
            passwords: scene.passwords.clone(),
            assumed: scene.assumed.clone(),
            probes: 0,
            controls: None,
        }))
    }

    /// The setting and its value in a session of `tenant`.
    pub(super) fn context_of(&self, tenant: &str) -> (String, String) {
        (self.setting.clone(), self.spelling.value(tenant))
    }

    /// A row of `tenant` as there are others, with its [canary](Attack::canary_of).
    pub(super) fn wish_of(&self, tenant: &str) -> Wish {
        tenants::of_tenant(&self.tenancy, &self.spelling, tenant, &self.seeds)
    }

    /// Adds one more row of the first tenant to `relation`, to which nothing refers yet; whether it took one.
    pub(super) async fn add_own(&mut self, rows: &mut Rows, relation: &Relation) -> Result<bool> {
        let own = self.tenants.own.clone();
        let wish = self.wish_of(&own);
        let added = tenants::add(&mut self.control, rows, relation, wish, true).await?;
        let Ok(steps) = added else { return Ok(false) };
        self.seeds.journal.extend(steps);
        let context = self.context_of(&own);
        self.truth = scene::truth(&self.db, &context, &self.tenants, &self.relations).await?;
        Ok(true)
    }

    /// Sees to it that `relations`, which are new, have rows of both tenants.
    pub(super) async fn seed(&mut self, relations: &[Relation]) -> Result<Seeds> {
        let apart = self.seeds.apart.clone();
        tenants::seed(&mut self.control, &self.tenancy, &self.spelling, &self.tenants, relations, apart).await
    }

    /// A text that rows of `tenant` hold which were made up, in every table that takes one, and no other rows.
    pub(super) fn canary_of(&self, tenant: &str) -> String {
        tenants::canary(tenant)
    }

    /// A fresh session of `role`. With a context it is set in every transaction; without, never.
    pub(super) async fn session(&self, role: &str, has_context: bool) -> Result<Session> {
        let context = has_context.then(|| self.context_of(&self.tenants.own));
        self.session_in(role, context).await
    }

    /// A fresh session of `role`, in every transaction of which this setting has this value.
    pub(super) async fn session_in(&self, role: &str, context: Option<(String, String)>) -> Result<Session> {
        let login = self.login_of(role);
        let mut connection = self.db.log_in(login, self.passwords.get(login)).await?;
        if login != role {
            let sql = format!("set role {}", quote_ident(role));
            connection
                .execute(AssertSqlSafe(sql))
                .await
                .attempt(ErrorKind::Database, || format!("failed to become `{role}` as `{login}`"))?;
        }
        Ok(Session { role: role.to_owned(), connection, context })
    }

    /// The way in of `role`, for clients of other kinds: as who logs in for it.
    pub(super) fn options_of(&self, role: &str) -> PgConnectOptions {
        let login = self.login_of(role);
        let options = self.db.options_as(login);
        match self.passwords.get(login) {
            Some(password) => options.password(password.expose()),
            None => options,
        }
    }

    /// The role that logs in to attack as `role`: mostly itself.
    pub(super) fn login_of<'a>(&'a self, role: &'a str) -> &'a str {
        self.through.get(role).map_or(role, String::as_str)
    }

    /// A session of every role that attacks.
    pub(super) async fn sessions(&self, has_context: bool) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        for role in &self.roles {
            sessions.push(self.session(role, has_context).await?);
        }
        Ok(sessions)
    }

    /// A session of the role that looks after the server, with the tenant set.
    pub(super) async fn admin_session(&self) -> Result<Session> {
        Ok(Session {
            role: self.admin.clone(),
            connection: self.db.connection().await?,
            context: Some(self.context_of(&self.tenants.own)),
        })
    }

    /// How many rows of other tenants are among those that a session of the first tenant saw.
    pub(super) fn others_in(&self, relation: &Relation, counts: &Counts) -> i64 {
        if counts.are_told_apart {
            counts.others
        } else {
            // Whose they are is hidden, but there are more than the tenant has.
            (counts.visible - self.truth(relation).own).max(0)
        }
    }

    /// Finds fault with `relation`.
    pub(super) fn accuse(
        &mut self,
        severity: Severity,
        relation: &Relation,
        message: String,
        help: String,
        evidence: Vec<Evidence>,
    ) {
        self.findings.push(Finding {
            check: self.check.into(),
            class: Class::Mistake,
            severity,
            subject: subject(relation.kind, &relation.name),
            message,
            help,
            evidence,
        });
    }

    /// The tables with row-level security.
    pub(super) fn guarded(&self) -> Vec<Relation> {
        self.relations.iter().filter(|relation| relation.is_guarded()).cloned().collect()
    }

    /// As [`guarded`](Attack::guarded), with the tables of the tenants themselves.
    pub(super) fn guarded_and_tenants(&self) -> Vec<Relation> {
        let all = self.relations.iter().chain(&self.tables_of_tenants);
        all.filter(|relation| relation.is_guarded()).cloned().collect()
    }

    pub(super) fn truth(&self, relation: &Relation) -> Counts {
        self.truth.get(&relation.name).copied().unwrap_or_default()
    }

    /// Counts probes.
    pub(super) fn count_probes(&mut self, more: usize) {
        self.probes += more;
    }

    /// Counts controls that ran: without them the probes prove nothing.
    pub(super) fn count_controls(&mut self, more: usize) {
        *self.controls.get_or_insert_default() += more;
    }

    /// Why nothing can be said of reads of `relation`, if so.
    pub(super) fn lacks(&self, relation: &Relation) -> Option<String> {
        if let Some(reason) = self.seeds.lacking.get(&relation.name).cloned() {
            return Some(reason);
        }
        let has_no_others = || relation.is_store() && self.truth(relation).others == 0;
        self.lacks_own(relation).or_else(|| has_no_others().then(|| "it has no row of another tenant".into()))
    }

    /// Why nothing can be said of reads of its own rows, if so.
    pub(super) fn lacks_own(&self, relation: &Relation) -> Option<String> {
        (self.truth(relation).own == 0).then(|| "it has no row of the tenant that asks".into())
    }

    /// A row of `tenant` that `relation` takes, like one that is there or else made up, for who may name `columns`. The
    /// parents that it needs are added.
    pub(super) async fn plan(
        &mut self,
        rows: &mut Rows,
        relation: &Relation,
        columns: Option<&BTreeSet<String>>,
        tenant: &str,
    ) -> Result<Result<Rehearsed, String>> {
        let which = format!("r.{} = {}", relation.column, quote_literal(tenant));
        let mut reasons = Vec::new();
        for like in [Some(Like::of(&relation.name, which)), None] {
            let wish = Wish {
                like,
                everywhere: Some((self.tenancy.column.clone(), tenant.to_owned())),
                only: columns.cloned(),
                settings: vec![self.context_of(&self.tenants.own)],
                ..Wish::default()
            };
            match rows.rehearse(&mut self.control, &relation.name, &wish).await? {
                Ok(plan) => {
                    self.seeds.journal.extend(plan.steps.iter().cloned());
                    return Ok(Ok(plan));
                }
                Err(reason) => reasons.push(reason),
            }
        }
        Ok(Err(reasons.into_iter().next().unwrap_or_default()))
    }

    /// The value of an SQL expression, as who looks after the server.
    pub(super) async fn evaluate(&mut self, expression: &str) -> Result<Option<String>> {
        let row = self
            .control
            .fetch_one(AssertSqlSafe(format!("select ({expression})::text")))
            .await
            .attempt(ErrorKind::Database, || "failed to put together a row".into())?;
        Ok(row.try_get(0)?)
    }

    /// Ends the attack.
    pub(super) fn verdict(mut self) -> Verdict {
        let figure = |what: &str, count: usize| Measurement::count(self.check, what, count);
        let reached =
            self.relations.iter().filter(|relation| self.truth.contains_key(&relation.name)).count();
        let mut measurements = vec![
            figure("relations", self.relations.len()),
            figure("relations_reached", reached),
            figure("relations_seeded", self.seeds.relations),
            figure("roles", self.roles.len()),
            figure("probes", self.probes),
        ];
        measurements.extend(self.controls.map(|controls| figure("controls", controls)));
        // What rests on an assumption is shown, but nobody said that it may not be.
        if self.assumed.is_some() {
            for finding in self.findings.iter_mut().filter(|finding| finding.severity == Severity::Error) {
                finding.severity = Severity::Warning;
            }
        }
        let verdict = Verdict::of(self.findings).with_measurements(measurements);
        match self.assumed {
            Some(note) => verdict.with_remark(note),
            None => verdict,
        }
    }
}
