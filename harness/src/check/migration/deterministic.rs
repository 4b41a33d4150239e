//! `migration.deterministic`: wherever the migrations are run, they bring about the same.

use crate::catalog::{Kind, diff};
use crate::check::first_run::{FirstRun, State};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, Connection, Executor};

/// A name that must be quoted, and is not the one that people have at home.
const OTHER_NAME: &str = "Another_Database";

/// What its sessions have otherwise than those at home.
const SETTINGS: [(&str, &str); 3] =
    [("TimeZone", "Pacific/Chatham"), ("DateStyle", "SQL, DMY"), ("IntervalStyle", "sql_standard")];

/// The migrations bring about the same in a database of another name, at another time.
pub(in crate::check) struct Deterministic;

impl Check for Deterministic {
    fn id(&self) -> &'static str {
        "migration.deterministic"
    }

    fn summary(&self) -> &'static str {
        "another run, in a database of another name, brings about the same schema"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The migrations are applied once more, on another server, in a database called `Another_Database` \
                     whose sessions have another time zone, and read and write dates and intervals another way, where \
                     the tool leaves that to the database (sqlx and the built-in runner do not): the catalog is the same, and every table has as many rows. Values are not compared: those of clocks \
                     and random numbers differ by nature.",
            matters: "A migration that names the database, the day or the order in which the server happens to list \
                      objects gives every environment a schema of its own, and the drift is found when it hurts.",
            remedy: "Use `current_database()` in dynamic SQL, order what a loop goes through, write dates as \
                     `date '2026-01-31'`, and let partitions be made by a procedure with a given day.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Can(Capability::PrivateCluster)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.deterministic": "bad_name.sql", "bad_zone.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let run = context.first_run().await?;
    let first = run.state()?;
    let db = context.vacant().await?;
    let server = db.server();
    let mut control = server.connect(server.endpoint().maintenance_database()).await?;
    let name = quote_ident(OTHER_NAME);
    let rename = format!("alter database {} rename to {name}", quote_ident(db.name()));
    control.execute(AssertSqlSafe(rename)).await?;
    for (setting, value) in SETTINGS {
        let sql = format!("alter database {name} set {setting} = {}", quote_literal(value));
        control.execute(AssertSqlSafe(sql)).await?;
    }
    let _ = control.close().await;
    let options = run.migrator.options(&db).database(OTHER_NAME);
    if let Err(error) = run.migrator.apply_by(&options, &db).await {
        let message = "in a database of another name, with another time zone, the migrations fail".to_owned();
        return Ok(Verdict::of(vec![finding(context, run, message, error.report_without_help())]));
    }
    let second = State::read_by(&db.options().database(OTHER_NAME), &run.migrator).await?;
    // What was set above is not theirs.
    let is_ours = |kind, name: &str| {
        kind == Kind::Setting && SETTINGS.iter().any(|(setting, _)| *setting == name.trim_matches('"'))
    };
    let (one, other) = (first.catalog.clone().without(is_ours), second.catalog.without(is_ours));
    let mut findings = Vec::new();
    let changes = diff(&one, &other);
    if !changes.is_empty() {
        let seen: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let message = "a second run, in a database of another name, gives another schema".to_owned();
        findings.push(finding(context, run, message, seen.join("\n")));
    }
    let rows: Vec<String> = first
        .rows
        .iter()
        .filter_map(|(table, rows)| {
            let other = second.rows.get(table)?;
            (rows != other).then(|| format!("{table}: {rows} rows, and {other}"))
        })
        .collect();
    if !rows.is_empty() {
        let message = "a second run, in a database of another name, writes other rows".to_owned();
        findings.push(finding(context, run, message, rows.join("\n")));
    }
    Ok(Verdict::of(findings))
}

fn finding(context: &Context, run: &FirstRun, message: String, seen: String) -> Finding {
    let shown = run.migrator.shown(context.project());
    let name = quote_ident(OTHER_NAME);
    let mut elsewhere = vec![format!("create database {name};")];
    elsewhere.extend(
        SETTINGS.iter().map(|(setting, value)| {
            format!("alter database {name} set {setting} = {};", quote_literal(value))
        }),
    );
    elsewhere.push(format!("\\connect {name}"));
    Finding {
        check: Deterministic.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("migrations", shown.clone()),
        message,
        help: "`current_database()` instead of a name; dates and orders written out".into(),
        evidence: vec![
            Evidence::as_role(run.db.server().endpoint().role(), elsewhere.join("\n"), "done"),
            Evidence::step(format!("{shown}, applied there"), seen),
        ],
    }
}
