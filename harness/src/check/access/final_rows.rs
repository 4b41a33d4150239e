//! The attack on tables whose rows are final: every way to change a row, as every role that logs in.

use super::deed::{Deed, SHOWN_MAX, in_words, judged, outcome, remedy};
use super::roles::{self, Role};
use super::settled::{self, Settled};
use super::verb::{Effect, Verb};
use crate::check::attempt::{Answer, Attempt, attempt, prepare, setting, transcript};
use crate::check::tenancy::{grouped, listed};
use crate::check::{Context, Verdict, matches};
use crate::database::TestDb;
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::fixture::rows::{Rows, Step, Wish};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};

/// What is attacked, in the project's words.
pub(super) struct Promise {
    pub(super) check: &'static str,
    /// The key of `pgharness.toml`.
    pub(super) key: &'static str,
    pub(super) patterns: Vec<String>,
}

impl Promise {
    /// What the tables are, as people say it.
    fn word(&self) -> &'static str {
        if self.key == "append_only" { "append-only" } else { "immutable" }
    }
}

/// The scene.
struct Attack<'a> {
    promise: &'a Promise,
    admin: String,
    /// What added rows where there were none.
    journal: Vec<Step>,
    /// What each session needs to see rows of a table: a setting and its value.
    contexts: BTreeMap<QualifiedName, String>,
    /// Parts without a row.
    empty: BTreeSet<QualifiedName>,
    findings: Vec<Finding>,
    probes: usize,
    controls: usize,
}

/// Attacks, and reports.
///
/// # Errors
/// The server is lost, or the project's database cannot be built.
pub(super) async fn attack(context: &Context, promise: &Promise) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let project = context.project();
    let services = roles::services(project);
    let migrator = project.migrations.migrator_role.as_deref();
    let attackers: Vec<Role> = roles::known(&mut control)
        .await?
        .into_iter()
        .filter(|role| role.can_log_in && !role.is_super)
        .collect();
    let names: Vec<String> = attackers.iter().map(|role| role.name.clone()).collect();
    let tables = settled::read(&mut control, &promise.patterns, &names).await?;
    prepare(&mut control).await?;
    let mut attack = Attack {
        promise,
        admin: db.server().endpoint().role().to_owned(),
        journal: Vec::new(),
        contexts: BTreeMap::new(),
        empty: BTreeSet::new(),
        findings: Vec::new(),
        probes: 0,
        controls: 0,
    };
    for pattern in &promise.patterns {
        if !tables.iter().any(|table| matches(pattern, &table.name.to_string())) {
            attack.note_idle(pattern);
        }
    }
    let mut attacked = Vec::new();
    for table in &tables {
        if attack.set_scene(context, &mut control, table).await? {
            attacked.push(table);
        }
    }
    let mut deeds: BTreeMap<QualifiedName, Vec<(String, Deed)>> = BTreeMap::new();
    for role in &attackers {
        let is_declared = services.contains(role.name.as_str());
        let is_migrator = Some(role.name.as_str()) == migrator;
        let mut owned = Vec::new();
        for (table, done) in attack.attack_as(&db, role, &attacked).await? {
            // Somebody has to own the table, and somebody has to migrate it.
            let is_trusted =
                is_migrator || (table.owners.contains(&role.name) && !services.is_empty() && !is_declared);
            let (of_owner, of_rows): (Vec<_>, Vec<_>) =
                done.into_iter().partition(|(verb, _)| is_trusted && verb.effect == Effect::Table);
            // That who migrates can do that is declared.
            if table.part_of.is_none() && !is_migrator && !of_owner.is_empty() {
                owned.push((table, of_owner));
            }
            let severity = if is_trusted { Severity::Warning } else { Severity::Error };
            for deed in judged(of_rows, severity) {
                deeds.entry(table.name.clone()).or_default().push((role.name.clone(), deed));
            }
        }
        attack.note_owner(role, &owned);
    }
    for table in attacked {
        for (roles, deed) in grouped(deeds.remove(&table.name).unwrap_or_default()) {
            attack.report(table, &roles, &deed);
        }
    }
    let figure = |name: &str, count: usize| Measurement::count(promise.check, name, count);
    Ok(Verdict::of(attack.findings).with_measurements([
        figure("tables", tables.len()),
        figure("roles", attackers.len()),
        figure("probes", attack.probes),
        figure("controls", attack.controls),
    ]))
}

impl Attack<'_> {
    /// Sees to it that there is a row to change, and that a superuser can change it when nothing keeps it from that.
    async fn set_scene(
        &mut self,
        context: &Context,
        control: &mut PgConnection,
        table: &Settled,
    ) -> Result<bool> {
        if !has_row(control, table).await? {
            if table.part_of.is_some() {
                // Its neighbour has the rows; that it can be detached or truncated shows without one.
                self.empty.insert(table.name.clone());
                return Ok(true);
            }
            let wish = Wish { is_whole: true, ..Wish::default() };
            let mut reasons = Vec::new();
            for wish in [wish, Wish::default()] {
                match Rows::read(control).await?.add(control, &table.name, &wish).await? {
                    Ok(steps) => {
                        self.journal.extend(steps);
                        break;
                    }
                    Err(reason) => reasons.push(reason),
                }
            }
            if !has_row(control, table).await? {
                self.note_uncovered(table, &format!("it took no row ({})", reasons.join("; ")));
                return Ok(false);
            }
        }
        if let Some(tenancy) = &context.project().tenancy
            && let Some(name) = &tenancy.setting
            && table.columns.iter().any(|column| column.name == tenancy.column)
        {
            let sql = format!(
                "select {column}::text from {} where {column} is not null order by 1 limit 1",
                table.name.sql(),
                column = quote_ident(&tenancy.column)
            );
            let tenant: Option<String> =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(&mut *control).await?;
            if let Some(tenant) = tenant {
                self.contexts.insert(table.name.clone(), setting(name, &tenant));
            }
        }
        // The rule is what is looked at.
        if table.has_rules {
            return Ok(true);
        }
        let unlocked = |sql: String| Attempt {
            sql: format!("{}; {sql}", table.unlocking()),
            watched: Some(table.name.clone()),
        };
        let mut controls = vec![unlocked(format!("delete from {}", table.name.sql()))];
        for column in table.settable() {
            let (name, value) = (quote_ident(&column.name), column.other(Some("t")));
            controls.push(unlocked(format!("update {} t set {name} = {value}", table.name.sql())));
        }
        let answers = attempt(control, &controls).await?;
        self.controls += answers.len();
        let is_changed = |answer: &Answer| answer.went_through() && answer.has_changed;
        let (gone, changed) =
            (answers.first().is_some_and(is_changed), answers.iter().skip(1).any(is_changed));
        if !gone && !changed {
            let said: Vec<String> = answers.iter().take(2).map(ToString::to_string).collect();
            self.note_uncovered(
                table,
                &format!("not even a superuser changes its rows without its triggers ({})", said.join(", ")),
            );
        }
        Ok(gone || changed)
    }

    /// What went through, table by table.
    async fn attack_as<'t>(
        &mut self,
        db: &TestDb,
        role: &Role,
        tables: &[&'t Settled],
    ) -> Result<Vec<(&'t Settled, Vec<(Verb, String)>)>> {
        let mut session = roles::session(db, role).await?;
        let tried: Vec<(&Settled, Verb)> = tables
            .iter()
            .flat_map(|table| table.verbs(&role.name).into_iter().map(move |verb| (*table, verb)))
            .filter(|(table, verb)| verb.shows_without_rows() || !self.empty.contains(&table.name))
            .collect();
        let attempts: Vec<Attempt> = tried
            .iter()
            .map(|(table, verb)| {
                let context =
                    self.contexts.get(&table.name).map(|sql| format!("{sql}; ")).unwrap_or_default();
                let watched = (!verb.shows_without_rows()).then(|| table.name.clone());
                Attempt { sql: format!("{context}{}", verb.sql), watched }
            })
            .collect();
        let answers = attempt(&mut session, &attempts).await?;
        self.probes += answers.len();
        let mut done: Vec<(&Settled, Vec<(Verb, String)>)> = Vec::new();
        for ((table, verb), answer) in tried.into_iter().zip(answers) {
            let Some(result) = outcome(table, &verb, &answer) else { continue };
            match done.iter_mut().find(|(known, _)| known.name == table.name) {
                Some((_, verbs)) => verbs.push((verb, result)),
                None => done.push((table, vec![(verb, result)])),
            }
        }
        Ok(done)
    }

    fn report(&mut self, table: &Settled, roles: &[String], deed: &Deed) {
        let (name, who) = (table.name.to_string(), listed(roles));
        let first = roles.first().cloned().unwrap_or_default();
        let labels: Vec<&str> = deed.verbs.iter().map(|(verb, _)| verb.label.as_str()).collect();
        let (message, help) = if deed.is_silent {
            (
                format!("a change of `{name}` by {who} is swallowed: nothing happens, and nothing fails"),
                "raise an error in a trigger instead: a caller takes silence for success, and a rule stops no TRUNCATE"
                    .into(),
            )
        } else {
            (
                format!(
                    "{who} can change `{name}`, which is {}, by {}",
                    self.promise.word(),
                    in_words(&labels)
                ),
                remedy(table, &deed.verbs),
            )
        };
        self.findings.push(Finding {
            check: self.promise.check.into(),
            class: Class::Mistake,
            severity: deed.severity,
            subject: Subject::new(table.kind, name),
            message,
            help,
            evidence: self.evidence(&first, table, &deed.verbs),
        });
    }

    /// Who owns tables is trusted with them: worth knowing.
    fn note_owner(&mut self, role: &Role, owned: &[(&Settled, Vec<(Verb, String)>)]) {
        let Some((first, verbs)) = owned.first() else { return };
        let what = match owned.len() {
            1 => format!("`{}`, which is {}", first.name, self.promise.word()),
            count => format!("{count} tables that are {}, such as `{}`", self.promise.word(), first.name),
        };
        self.findings.push(Finding {
            check: self.promise.check.into(),
            class: Class::TrustBoundary,
            severity: Severity::Note,
            subject: Subject::new("role", role.name.clone()),
            message: format!("`{}` may undo what protects {what}", role.name),
            help: "an owner is trusted with its tables: let nobody become it but who migrates".into(),
            evidence: self.evidence(&role.name, first, verbs),
        });
    }

    fn evidence(&self, role: &str, table: &Settled, verbs: &[(Verb, String)]) -> Vec<Evidence> {
        let mut evidence = self.seeding(table);
        // One of each way, the first of several columns.
        let way = |verb: &Verb| verb.label.split(" of ").next().map(str::to_owned);
        let mut shown: Vec<Option<String>> = Vec::new();
        for (verb, result) in verbs {
            if shown.contains(&way(verb)) || shown.len() == SHOWN_MAX {
                continue;
            }
            shown.push(way(verb));
            let before = self.contexts.get(&table.name).cloned().into_iter().collect();
            evidence.extend(transcript(role, before, &verb.sql, result.clone()));
        }
        evidence
    }

    /// The steps that put a row into the table.
    fn seeding(&self, table: &Settled) -> Vec<Evidence> {
        let whole = table.part_of.as_ref().unwrap_or(&table.name);
        let Some(last) = self.journal.iter().rposition(|step| step.table == *whole) else {
            return Vec::new();
        };
        let steps = self.journal.iter().take(last + 1);
        steps.map(|step| Evidence::as_role(&self.admin, step.sql.clone(), "done")).collect()
    }

    fn note_idle(&mut self, pattern: &str) {
        self.findings.push(Finding {
            check: self.promise.check.into(),
            class: Class::Mistake,
            severity: Severity::Warning,
            subject: Subject::new("table", pattern),
            message: format!("`{pattern}` of `access.{}` is no table's name", self.promise.key),
            help: "mend the name, or remove it: a promise about nothing is kept by nobody".into(),
            evidence: vec![Evidence::step(format!("looking for `{pattern}`"), "no table")],
        });
    }

    fn note_uncovered(&mut self, table: &Settled, reason: &str) {
        let name = table.name.to_string();
        self.findings.push(Finding {
            check: self.promise.check.into(),
            class: Class::Uncovered,
            severity: Severity::Note,
            subject: Subject::new(table.kind, name.clone()),
            message: format!("`{name}` was not attacked: {reason}"),
            help: format!("add a fixture with a row of `{name}`"),
            evidence: vec![Evidence::step(format!("attacking `{name}`"), reason.to_owned())],
        });
    }
}

async fn has_row(control: &mut PgConnection, table: &Settled) -> Result<bool> {
    let sql = format!("select exists (select from {})", table.name.sql());
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(control).await?)
}
