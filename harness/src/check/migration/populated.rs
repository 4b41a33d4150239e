//! `migration.populated`: the migrations apply to tables that hold rows.

use super::crop::Crop;
use super::transcript::{applied_before, transcript};
use crate::catalog::{Change, Facts, Kind, What, diff};
use crate::check::first_run::State;
use crate::check::migrator::Migrator;
use crate::check::walk::{NO_STEPS, Step, Walk};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::database::TestDb;
use crate::error::{Error, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::collections::BTreeSet;

/// The migrations apply to tables that hold rows.
pub(in crate::check) struct Populated;

impl Check for Populated {
    fn id(&self) -> &'static str {
        "migration.populated"
    }

    fn summary(&self) -> &'static str {
        "each migration applies to tables that hold rows, not only to empty ones"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Before each migration every table gets rows, made up from its columns, keys and conditions: one with \
                     as little in it as can be, one that is full, and copies of both. Then the migration is applied. \
                     It is an error where it fails on whatever rows there are (a required column without a default), and \
                     a warning where it fails on rows that the schema allowed so far: with nulls, with duplicates, \
                     with text that is no number. In the end the schema is the one that empty tables got. Tables that \
                     no row could be made for are noted, with the reason. A command applies all in one go: it is run a second time \
                     over the rows, and has nothing to do then.",
            matters: "Migrations are written and reviewed on empty databases. `add column … not null`, a unique index, a \
                      cast or a new condition succeeds there, and fails in production, in the middle of a deployment.",
            remedy: "Add the column with a default, or nullable and backfilled; clean up duplicates and nulls in the same \
                     migration, or before it; give a cast a `using` that bears every value.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.populated":
            "bad_cast.sql", "bad_condition.sql", "bad_duplicates.sql", "bad_nulls.sql", "bad_required.sql", "good.sql",
            "good_reference.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let Some(walk) = context.walk().await? else { return of_command(context).await };
    let mut findings = Vec::new();
    let (mut db, mut crop) = (context.vacant().await?, Crop::default());
    let mut all = Crop::default();
    let mut has_new_tables = true;
    for step in walk.steps() {
        if has_new_tables {
            sow(&mut crop, &db, &walk.migrator).await?;
        }
        has_new_tables = step.changes().iter().any(is_new_table);
        let migrator = walk.migrator.first(step.number + 1);
        if let Err(error) = migrator.apply(&db).await {
            let rows = rows_in_the_way(context, walk, &step, &crop).await?;
            findings.push(finding(context, walk, &step, &rows, &error));
            // Those behind it are looked at too, without the rows that were in its way.
            db = context.vacant().await?;
            migrator.apply(&db).await?;
            all = std::mem::take(&mut crop).longer(all);
            has_new_tables = true;
        }
    }
    sow(&mut crop, &db, &walk.migrator).await?;
    if let Some(last) = walk.steps().next_back() {
        let changes = diff(last.after_catalog(), &State::read(&db, &walk.migrator).await?.catalog);
        if !changes.is_empty() {
            findings.push(other_schema(context, walk, &changes, &crop));
        }
    }
    let all = crop.longer(all);
    findings.extend(bare(&all));
    Ok(Verdict::of(findings).with_measurements(figures(&all)))
}

/// Runs a command once more when every table that it left has rows: it has nothing to do there.
async fn of_command(context: &Context) -> Result<Verdict> {
    let first = context.first_run().await?;
    let expected = first.state()?;
    let (db, mut crop) = (context.vacant().await?, Crop::default());
    first.migrator.apply(&db).await?;
    sow(&mut crop, &db, &first.migrator).await?;
    let fault = match first.migrator.apply(&db).await {
        Err(error) => Some(("fails", error.report_without_help())),
        Ok(_) => {
            let changes = diff(&expected.catalog, &State::read(&db, &first.migrator).await?.catalog);
            let seen: Vec<String> = changes.iter().map(ToString::to_string).collect();
            (!seen.is_empty()).then(|| ("brings about another schema", seen.join("\n")))
        }
    };
    let shown = first.migrator.shown(context.project());
    let mut findings: Vec<Finding> = fault
        .into_iter()
        .map(|(what, seen)| Finding {
            check: Populated.id().into(),
            class: Class::Mistake,
            severity: Severity::Warning,
            subject: Subject::new("command", shown.clone()),
            message: format!("a second run {what} when the tables hold rows"),
            help: "let a second run find that nothing is left to do".into(),
            evidence: vec![
                Evidence::step(shown.clone(), "applied"),
                Evidence::as_role(
                    db.server().endpoint().role(),
                    lines(&crop.statements(&crop.names())),
                    "rows as the schema allows them",
                ),
                Evidence::step(format!("{shown}, a second time"), seen),
            ],
        })
        .collect();
    findings.extend(bare(&crop));
    Ok(Verdict::of(findings)
        .with_measurements(figures(&crop))
        .with_remark(format!("the rows were there before a second run only: {NO_STEPS}")))
}

/// The tables that no row could be made for.
fn bare(crop: &Crop) -> impl Iterator<Item = Finding> {
    crop.bare().map(|(table, reason)| Finding {
        check: Populated.id().into(),
        class: Class::Mistake,
        severity: Severity::Note,
        subject: Subject::new("table", table.to_string()),
        message: format!("no row could be made for `{table}`: the migrations were not tried with rows in it"),
        help: "what the server says of the rows that were tried shows what they lack".into(),
        evidence: vec![Evidence::step(format!("a row for {table}"), reason)],
    })
}

fn figures(crop: &Crop) -> [Measurement; 2] {
    let (tables, bare) = (crop.tables(), crop.bare().count());
    [figure("tables", tables), figure("with rows", tables - bare)]
}

async fn sow(crop: &mut Crop, db: &TestDb, migrator: &Migrator) -> Result<()> {
    let mut connection = db.connection().await?;
    crop.sow(&mut connection, migrator).await?;
    let _ = connection.close().await;
    Ok(())
}

fn is_new_table(change: &Change) -> bool {
    change.kind == Kind::Table && change.what == What::Added
}

fn figure(name: &str, count: usize) -> Measurement {
    Measurement::count(Populated.id(), name, count)
}

/// Statements that add the rows with which a step fails: few, and enough.
async fn rows_in_the_way(context: &Context, walk: &Walk, step: &Step<'_>, crop: &Crop) -> Result<String> {
    let concerned: BTreeSet<String> =
        step.changes().iter().filter_map(|change| table_of(change, step)).collect();
    if let Some(rows) = fails_with(context, walk, step, crop.statements(&concerned)).await? {
        return Ok(rows);
    }
    let mut tables = crop.names();
    let mut rows = fails_with(context, walk, step, crop.statements(&tables)).await?;
    while tables.len() > 1 {
        let half = tables.len() / 2;
        let one: BTreeSet<String> = tables.iter().take(half).cloned().collect();
        let other: BTreeSet<String> = tables.iter().skip(half).cloned().collect();
        let mut found = None;
        for part in [one, other] {
            if let Some(rows) = fails_with(context, walk, step, crop.statements(&part)).await? {
                found = Some((part, rows));
                break;
            }
        }
        let Some((part, fewer)) = found else { break };
        (tables, rows) = (part, Some(fewer));
    }
    Ok(rows.unwrap_or_else(|| lines(&crop.statements(&tables))))
}

/// The rows of `statements` that can be had before a step, if it fails with them.
async fn fails_with(
    context: &Context,
    walk: &Walk,
    step: &Step<'_>,
    statements: Vec<&str>,
) -> Result<Option<String>> {
    let db = context.vacant().await?;
    if step.number > 0 {
        walk.migrator.first(step.number).apply(&db).await?;
    }
    let mut connection = db.connection().await?;
    let mut sown = Vec::new();
    for sql in statements {
        // One that was made for the tables as they were earlier may be refused.
        if connection.execute(AssertSqlSafe(sql)).await.is_ok() {
            sown.push(sql);
        }
    }
    let _ = connection.close().await;
    Ok(walk.migrator.first(step.number + 1).apply(&db).await.is_err().then(|| lines(&sown)))
}

fn lines(statements: &[&str]) -> String {
    statements.iter().map(|sql| format!("{sql};")).collect::<Vec<_>>().join("\n")
}

fn finding(context: &Context, walk: &Walk, step: &Step<'_>, rows: &str, error: &Error) -> Finding {
    let name = step.migration.name();
    let is_hopeless = step.changes().iter().any(|change| requires_a_column(change, step));
    let (severity, message) = match is_hopeless {
        true => (Severity::Error, format!("`{name}` fails on a table that holds rows, whatever they are")),
        false => (Severity::Warning, format!("`{name}` fails on rows that the schema allowed so far")),
    };
    let role = walk.migrator.role(&walk.db);
    let mut evidence: Vec<Evidence> = applied_before(context.project(), walk, step).into_iter().collect();
    evidence.push(Evidence::as_role(
        walk.db.server().endpoint().role(),
        rows,
        "rows as the schema allows them",
    ));
    evidence.push(Evidence::as_role(
        role,
        transcript(context.project(), step.migration),
        error.report_without_help(),
    ));
    Finding {
        check: Populated.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("migration", name),
        message,
        help: "give a new column a default; clean up in the same migration what the new rule forbids".into(),
        evidence,
    }
}

/// Whether a change gives a table that was there a column that no row of it can have a value for.
fn requires_a_column(change: &Change, step: &Step<'_>) -> bool {
    let is_required = |facts: &Facts| {
        facts.get("nullable").is_some_and(|nullable| nullable == "no")
            && !["default", "generated", "identity"].iter().any(|fact| facts.contains_key(*fact))
    };
    change.kind == Kind::Column
        && change.what == What::Added
        && step.after_catalog().get(Kind::Column, &change.name).is_some_and(is_required)
}

/// The table that was there before and that a change concerns.
fn table_of(change: &Change, step: &Step<'_>) -> Option<String> {
    let of_index = || {
        let catalogs = [step.after_catalog(), step.before_catalog()];
        catalogs.iter().find_map(|catalog| catalog.get(Kind::Index, &change.name)?.get("table").cloned())
    };
    let table = match change.kind {
        Kind::Table => Some(change.name.clone()),
        Kind::Index => of_index(),
        _ => change.name.rsplit_once('.').map(|(table, _)| table.to_owned()),
    }?;
    step.before_catalog().get(Kind::Table, &table).is_some().then_some(table)
}

fn other_schema(context: &Context, walk: &Walk, changes: &[Change], crop: &Crop) -> Finding {
    let seen: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let shown = walk.migrator.shown(context.project());
    Finding {
        check: Populated.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("migrations", shown.clone()),
        message: "with rows in the tables the migrations bring about another schema than without".into(),
        help: "let no migration decide by the rows it finds what the schema is to be".into(),
        evidence: vec![
            Evidence::as_role(
                walk.db.server().endpoint().role(),
                lines(&crop.statements(&crop.names())),
                "rows, each before the migrations behind its table's",
            ),
            Evidence::step(shown, seen.join("\n")),
        ],
    }
}
