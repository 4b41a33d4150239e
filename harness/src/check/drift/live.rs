//! `drift.live`: the migrations against a live database.

use super::committed::{committable, without_history};
use super::evidence::{self, Side};
use super::reader::{Live, major};
use super::restore::{Restored, restored};
use super::snapshot::strangers;
use crate::catalog::{Catalog, Change, Kind, What, diff, schema_of, unquoted};
use crate::check::migrator::Migrator;
use crate::check::{Check, Context, Example, Explanation, Need, Project, Running, Verdict, matches};
use crate::error::{Error, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};

/// A live database is what the migrations bring about.
pub(in crate::check) struct LiveDrift;

impl Check for LiveDrift {
    fn id(&self) -> &'static str {
        "drift.live"
    }

    fn summary(&self) -> &'static str {
        "a live database is what the migrations bring about"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "What the migrations make of an empty database is, object by object and fact by fact, what the \
                     database at `pgharness drift --live URL` is. It is read in one transaction that may only read \
                     and gives up before it keeps anybody waiting; a role with CONNECT is enough, since only the \
                     server's own catalogs are looked at, never a table. Left out are rows, the runner's history, \
                     partitions of `[structure.partitions]`, the schemas of tenants (`tenancy.schemas`), and what \
                     may not be read or holds a password: how subscriptions connect, the options of user mappings, \
                     passwords of roles. Owners are compared where `migrations.migrator_role` says who migrates. The \
                     report says what was not compared. What depends on the place (settings, roles, extensions that \
                     the provider adds, tuning of storage) is a warning, and so is text that servers of different \
                     versions may show differently.",
            matters: "Somebody adds an index by hand at night, revokes a grant, turns a policy off to look at \
                      something. The next migration meets a schema that no test has seen.",
            remedy: "Write a migration that brings about what is there, or undo it there. To be sure of a difference \
                     between versions, set `postgres.version` to that of the live server.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Live]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("drift.live":
            "bad_grant.sql", "bad_index.sql", "bad_policy.sql", "good.sql", "good_restored.sql", "good_tenants.sql",
            "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let Some(url) = &project.live else { return Ok(Verdict::skipped("no live database is named")) };
    let live = Live::read(url).await?;
    let run = context.first_run().await?;
    let migrated = comparable(project, &run.migrator, run.state()?.catalog.clone());
    let there = comparable(project, &run.migrator, live.catalog.clone());
    let role = run.db.server().endpoint().role();
    let own_version = context.postgres().await?.unwrap_or_default();
    let circumstances = Circumstances {
        is_same_version: major(&own_version) == live.major(),
        superuser: project.migrations.migrator_role.is_none().then_some(role),
    };
    let place = format!("live database `{}`", live.database);
    let mut changes = diff(&migrated, &there);
    if changes.iter().any(Change::is_deparsed) {
        // A live database may have been through a dump, which shows some texts in other words.
        let reword = || async {
            Ok::<_, Error>(match restored(context, run, "reworded").await? {
                Restored::Catalog(reworded) => Some(reworded),
                Restored::Lacking(_) | Restored::Refused(_) => None,
            })
        };
        if let Some(reworded) = run.reworded.get_or_try_init(reword).await? {
            changes.retain(|change| !is_reworded(change, reworded));
        }
    }
    let mut findings = Vec::new();
    for change in changes {
        let Some(severity) = circumstances.severity(&change) else { continue };
        let evidence = evidence::of(&change, Side::Own(role), Side::Place(&place));
        findings.push(finding(&change, severity, evidence));
    }
    findings.extend(strangers(&migrated, &there).filter(|found| found.kind != LARGE_OBJECTS).map(|found| {
        Finding {
            check: LiveDrift.id().into(),
            class: Class::Mistake,
            severity: Severity::Warning,
            subject: Subject::new(found.kind.clone(), found.name.clone()),
            message: format!(
                "{} `{}` of the live database is of a kind that is not compared",
                found.kind, found.name
            ),
            help: "look at it by hand, or leave it: what it holds stays unseen".into(),
            evidence: vec![Evidence::step(&place, "there")],
        }
    }));
    let unseen = unseen(project, &circumstances, [&migrated, &live.catalog], [&own_version, &live.version]);
    let verdict = Verdict::of(findings);
    Ok(if unseen.is_empty() {
        verdict
    } else {
        verdict.with_remark(format!("not compared: {}", unseen.join("; ")))
    })
}

/// Whether what is live is what our own dump, restored, shows.
fn is_reworded(change: &Change, restored: &Catalog) -> bool {
    let What::Changed { fact, to, .. } = &change.what else { return false };
    let shown = restored.get(change.kind, &change.name).and_then(|facts| facts.get(fact));
    change.is_deparsed() && shown == to.as_ref()
}

/// What is not modelled of them is data.
const LARGE_OBJECTS: &str = "large objects";

/// What of a catalog both sides should have: no history, no moving partitions, no schemas of tenants.
fn comparable(project: &Project, migrator: &Migrator, catalog: Catalog) -> Catalog {
    let tenants = project.tenancy.as_ref().and_then(|tenancy| tenancy.schemas.as_deref());
    without_history(migrator, committable(project, catalog)).without(|kind, name| {
        let schema = schema_of(kind, name).map(unquoted);
        tenants.zip(schema).is_some_and(|(pattern, schema)| matches(pattern, &schema))
    })
}

/// What else than a change by hand may make the two differ.
#[derive(Clone, Copy, Debug)]
struct Circumstances<'a> {
    /// Both servers have one major version.
    is_same_version: bool,
    /// Who owns everything here because the project does not say who migrates.
    superuser: Option<&'a str>,
}

impl Circumstances<'_> {
    /// How bad a difference is, `from` what was migrated `to` what is live; `None` for what cannot be compared.
    fn severity(&self, change: &Change) -> Option<Severity> {
        let severity = change.severity();
        let is_of_place = match &change.what {
            What::Changed { fact, from, .. } => {
                if fact == "owner" && self.superuser.is_some() && from.as_deref() == self.superuser {
                    return None;
                }
                is_tuning(change.kind, fact)
                    || (change.is_deparsed() && !self.is_same_version)
                    || is_environment(change)
                    || (change.kind == Kind::Extension)
            }
            // Whose it is there is not known here.
            What::Removed if change.kind == Kind::DefaultPrivilege && self.is_superusers(&change.name) => {
                return None;
            }
            What::Added if change.kind == Kind::DefaultPrivilege && self.superuser.is_some() => true,
            What::Added => is_environment(change) || change.kind == Kind::Extension,
            What::Removed => matches!(change.kind, Kind::UserMapping | Kind::Subscription),
        };
        Some(if is_of_place { severity.max(Severity::Warning) } else { severity })
    }
}

impl Circumstances<'_> {
    /// Whether a default privilege is one of the superuser's.
    fn is_superusers(&self, name: &str) -> bool {
        let rest = self.superuser.and_then(|superuser| name.strip_prefix("of ")?.strip_prefix(superuser));
        rest.is_some_and(|rest| rest.starts_with(' '))
    }
}

/// Whether such an object is made for a place, not by a migration alone.
fn is_environment(change: &Change) -> bool {
    match change.kind {
        Kind::Setting
        | Kind::Role
        | Kind::Server
        | Kind::UserMapping
        | Kind::Publication
        | Kind::Subscription => true,
        Kind::Grant => change.name.starts_with("database to "),
        _ => false,
    }
}

/// Whether a fact is about how rows are kept, not about what holds of them.
fn is_tuning(kind: Kind, fact: &str) -> bool {
    match fact {
        "tablespace" | "index tablespace" | "index options" | "statistics target" | "statistics targets"
        | "storage" | "compression" | "clustered on" | "comment" | "index comment" => true,
        // Those of a view say as whom it reads.
        "options" => kind != Kind::View,
        _ => false,
    }
}

fn finding(change: &Change, severity: Severity, evidence: Vec<Evidence>) -> Finding {
    let object = evidence::object(change);
    let message = match &change.what {
        What::Added => format!("{object} is in the live database, and the migrations do not bring it about"),
        What::Removed => format!("{object} is not in the live database"),
        What::Changed { fact, .. } if change.is_deparsed() && severity == Severity::Warning => {
            format!("{object} has another `{fact}` in the live database, whose server has another version")
        }
        What::Changed { fact, .. } => format!("{object} has another `{fact}` in the live database"),
    };
    let help = match severity {
        Severity::Error => "write a migration that brings it about, or undo it there; some may be pending",
        _ => "if it belongs to the place and not to the schema, allow it",
    };
    evidence::finding(LiveDrift.id(), change, severity, message, help, evidence)
}

/// What of the live database was not compared, and why.
fn unseen(
    project: &Project,
    circumstances: &Circumstances<'_>,
    [here, there]: [&Catalog; 2],
    versions: [&str; 2],
) -> Vec<String> {
    let is_any = |kind: Kind| [here, there].iter().any(|catalog| catalog.of_kind(kind).next().is_some());
    let mut unseen = Vec::new();
    if circumstances.superuser.is_some() {
        unseen.push(
            "owners, and default privileges of who migrates (`migrations.migrator_role` names nobody)"
                .to_owned(),
        );
    }
    if is_any(Kind::UserMapping) {
        unseen.push("the options of user mappings".into());
    }
    if is_any(Kind::Subscription) {
        unseen.push("how subscriptions connect".into());
    }
    if there.unmodelled().iter().any(|found| found.kind == LARGE_OBJECTS) {
        unseen.push(LARGE_OBJECTS.into());
    }
    if let Some(pattern) = project.tenancy.as_ref().and_then(|tenancy| tenancy.schemas.as_ref()) {
        unseen.push(format!("schemas of tenants (`{pattern}`)"));
    }
    if !circumstances.is_same_version {
        let [own, live] = versions;
        unseen.push(format!("text that {own} and {live} may show differently, beyond a warning"));
    }
    unseen
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn changed(kind: Kind, fact: &str, from: &str, to: &str) -> Change {
        let what = What::Changed { fact: fact.into(), from: Some(from.into()), to: Some(to.into()) };
        Change { kind, name: "crm.x".into(), what }
    }

    #[rstest]
    #[case(changed(Kind::Column, "type", "integer", "bigint"), Some(Severity::Error))]
    #[case(changed(Kind::Policy, "using", "true", "false"), Some(Severity::Error))]
    #[case(changed(Kind::View, "options", "security_invoker=true", "x"), Some(Severity::Error))]
    #[case(changed(Kind::Table, "columns", "a, b", "b, a"), Some(Severity::Note))]
    #[case(changed(Kind::Table, "options", "fillfactor=50", "fillfactor=70"), Some(Severity::Warning))]
    #[case(changed(Kind::Extension, "version", "1.1", "1.2"), Some(Severity::Warning))]
    #[case(changed(Kind::Table, "owner", "postgres", "admin"), None)]
    #[case(changed(Kind::Table, "owner", "app", "admin"), Some(Severity::Error))]
    #[case(Change { kind: Kind::Extension, name: "x".into(), what: What::Added }, Some(Severity::Warning))]
    #[case(Change { kind: Kind::Extension, name: "x".into(), what: What::Removed }, Some(Severity::Error))]
    #[case(Change { kind: Kind::Setting, name: "x".into(), what: What::Added }, Some(Severity::Warning))]
    #[case(Change { kind: Kind::Setting, name: "x".into(), what: What::Removed }, Some(Severity::Error))]
    #[case(Change { kind: Kind::DefaultPrivilege, name: "of postgres on tables to x".into(), what: What::Removed },
        None)]
    #[case(Change { kind: Kind::DefaultPrivilege, name: "of app on tables to x".into(), what: What::Removed },
        Some(Severity::Error))]
    #[case(Change { kind: Kind::DefaultPrivilege, name: "of admin on tables to x".into(), what: What::Added },
        Some(Severity::Warning))]
    #[case(Change { kind: Kind::Grant, name: "database to x".into(), what: What::Added }, Some(Severity::Warning))]
    #[case(Change { kind: Kind::Grant, name: "table a.x to x".into(), what: What::Added }, Some(Severity::Error))]
    #[case(Change { kind: Kind::Index, name: "a.x".into(), what: What::Added }, Some(Severity::Error))]
    fn what_belongs_to_the_place_is_no_error(#[case] change: Change, #[case] expect: Option<Severity>) {
        let circumstances = Circumstances { is_same_version: true, superuser: Some("postgres") };
        assert_eq!(circumstances.severity(&change), expect);
    }

    #[rstest]
    #[case(changed(Kind::Policy, "using", "true", "(true)"), Severity::Warning)]
    #[case(changed(Kind::Function, "body", "BEGIN ATOMIC one", "BEGIN ATOMIC two"), Severity::Warning)]
    #[case(changed(Kind::Function, "body", "select 1", "select 2"), Severity::Error)]
    #[case(changed(Kind::Column, "type", "integer", "bigint"), Severity::Error)]
    fn between_versions_text_that_the_server_made_is_no_error(
        #[case] change: Change,
        #[case] expect: Severity,
    ) {
        let circumstances = Circumstances { is_same_version: false, superuser: None };
        assert_eq!(circumstances.severity(&change), Some(expect));
    }
}
