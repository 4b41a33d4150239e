//! Several migrators at once, driven through the orders of their statements.

use super::concurrent::Concurrent;
use crate::check::migrator::Migrator;
use crate::check::{Check as _, Context};
use crate::database::{SharedObjects, Template, TestDb};
use crate::error::Result;
use crate::explore::{Access, Exploration, Explorer, ensure};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::postgres::command_path;
use crate::script::mask;
use crate::server::Capability;
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

/// How many migrators are driven, and for how long at most.
const CROWDS: [(usize, Duration); 2] = [(2, Duration::from_secs(4)), (3, Duration::from_secs(2))];

/// So many migrations are applied in all the orders of one crowd, so that as a rule it is not the clock that decides
/// how many orders are tried; and so many orders are tried however long the history.
const MIGRATIONS_MAX: usize = 400;
const ORDERS_MIN: usize = 4;

/// So much of a statement and so many steps are shown as evidence.
const SQL_MAX: usize = 120;
const STEPS_MAX: usize = 40;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Driven {
    pub(super) findings: Vec<Finding>,
    pub(super) measurements: Vec<Measurement>,
}

/// Drives two and then three migrators, each time from an empty database: all must succeed, and each file must be in the
/// history once. What was tried, and what at least was not, is measured; nothing was where it cannot be: the server
/// cannot be stopped and driven on, or the migrations change what all its databases share.
pub(super) async fn drive(
    context: &Context,
    severity: Severity,
    db: &TestDb,
    before: &SharedObjects,
) -> Result<Driven> {
    let mut driven = Driven::default();
    let capabilities = context.capabilities().await?;
    let can_be = capabilities.has(Capability::PrivateCluster)
        && capabilities.has(Capability::Signals)
        && shared(db).await? == *before;
    let path = command_path(db.server().installation()).await;
    let (mut orders, mut not_tried) = (0, 0);
    for (crowd, time) in CROWDS {
        if can_be {
            let migrator = Arc::new(Migrator::of(context.project())?);
            let template = context.bare()?;
            let found = explorer(&template, &migrator, crowd, path.clone())
                .with_schedules_max(orders_max(&migrator, crowd))
                .with_time_max(time)
                .run()
                .await?;
            orders += found.coverage().schedules;
            not_tried += found.coverage().not_tried;
            let shown = migrator.shown(context.project());
            driven.findings.extend(finding(shown, &migrator, crowd, severity, &found));
        }
    }
    for (what, count) in [("orders", orders), ("not_tried", not_tried)] {
        driven.measurements.push(Measurement::count("migration.concurrent", what, count));
    }
    Ok(driven)
}

/// How many orders of a crowd are tried at most.
fn orders_max(migrator: &Migrator, crowd: usize) -> usize {
    (MIGRATIONS_MAX / (migrator.migrations().len().max(1) * crowd)).max(ORDERS_MIN)
}

/// What all databases of a server share.
pub(super) async fn shared(db: &TestDb) -> Result<SharedObjects> {
    let mut connection = db.connection().await?;
    let shared = SharedObjects::read(&mut connection).await?;
    let _ = connection.close().await;
    Ok(shared)
}

fn explorer<'a>(
    template: &'a Template,
    migrator: &Arc<Migrator>,
    crowd: usize,
    path: Option<OsString>,
) -> Explorer<'a> {
    let mut explorer = Explorer::of(template).preemptions(1);
    for number in 1..=crowd {
        let (name, migrator, path) = (format!("migrator {number}"), migrator.clone(), path.clone());
        explorer = match migrator.migrations().command_line() {
            Some(line) => {
                let line = line.to_owned();
                explorer.program(name, move |db| {
                    migrator.command_at(&line, &options(&migrator, db), path.clone())
                })
            }
            None => explorer.client(name, async move |db: Access| {
                migrator.apply_files(&options(&migrator, &db)).await?;
                Ok(())
            }),
        };
    }
    let migrator = migrator.clone();
    explorer.every_client_succeeds().invariant(async move |db, _| {
        let applied = migrator.applied_otherwise(&options(&migrator, &db)).await?;
        ensure(
            applied.is_none(),
            format!("the history is another than one leaves: {}", applied.unwrap_or_default()),
        )
    })
}

fn options(migrator: &Migrator, db: &Access) -> PgConnectOptions {
    match migrator.declared_role() {
        Some(role) => db.options_as(role),
        None => db.options(),
    }
}

fn finding(
    shown: String,
    migrator: &Migrator,
    crowd: usize,
    severity: Severity,
    found: &Exploration,
) -> Option<Finding> {
    let violation = found.violation()?;
    let step =
        |step: &Evidence| Evidence { sql: mask(&step.sql).chars().take(SQL_MAX).collect(), ..step.clone() };
    let kind = if migrator.migrations().command_line().is_some() { "command" } else { "migrations" };
    Some(Finding {
        check: Concurrent.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new(kind, shown),
        message: format!(
            "{crowd} migrators at once go wrong in the order `{}` of their statements: {}",
            violation.schedule, violation.message
        ),
        help: "take a lock before looking what is applied, and give it back behind the last file; \
               `pgharness explain migration.concurrent` says how"
            .into(),
        evidence: violation.evidence.iter().take(STEPS_MAX).map(step).collect(),
    })
}
