//! `tenancy.publication`: what subscribers get, whom no policy binds.

use super::canary;
use super::tables::{self, Relation};
use super::trial;
use crate::check::migrator::Migrator;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::fixture::rows::{Rows, Wish};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};

/// No publication gives the rows of all tenants away unnoticed.
pub(in crate::check) struct Publication;

impl Check for Publication {
    fn id(&self) -> &'static str {
        "tenancy.publication"
    }

    fn summary(&self) -> &'static str {
        "no publication publishes the rows of every tenant"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "On a server of its own that decodes its log, a row is written into every published table with the tenant's \
                     column, and each publication is read as a subscriber reads it: what comes out is named. A publication \
                     whose row filter lets no such row through is not.",
            matters: "Logical replication reads the log and asks no policy: forced row-level security or not, a subscriber gets \
                      every row that is published. Whoever may connect with REPLICATION reads all tenants.",
            remedy: "Publish what the subscriber needs, with a row filter where it serves one tenant: `… where (tenant_id = …)`. \
                     If it may have all, allow the finding, and watch who has REPLICATION.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "a subscriber with REPLICATION",
            runs: "create subscription … publication exports",
            gets: "the orders of all tenants",
            because: "a publication asks no policy, and has no row filter",
            fix: "drop publication exports",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[
            Need::RowTenancy,
            Need::Migrations,
            Need::Can(Capability::Superuser),
            Need::Can(Capability::PrivateCluster),
        ]
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::PUBLICATION
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

const CHECK: &str = "tenancy.publication";

/// The name of what reads the log.
const SLOT: &str = "pgharness";

async fn run(context: &Context) -> Result<Verdict> {
    let Some(tenancy) = context.project().tenancy.clone() else {
        return Ok(Verdict::skipped("needs `[tenancy]`"));
    };
    // Whether there is anything to look at costs no server.
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let relations = tables::read(&mut control, &tenancy).await?;
    if published(&mut control, &relations).await?.is_empty() {
        return Ok(Verdict::of(Vec::new()));
    }
    drop(control);
    let migrator = Migrator::of(context.project())?;
    // What is not flushed yet is not decoded.
    let settings = [
        ("wal_level", "logical"),
        ("max_wal_senders", "2"),
        ("max_replication_slots", "2"),
        ("synchronous_commit", "on"),
    ];
    let db = context.vacant_with(&settings).await?;
    migrator.apply(&db).await?;
    let mut control = db.connection().await?;
    let admin = db.server().endpoint().role().to_owned();
    let published = published(&mut control, &relations).await?;
    let slot = format!("select pg_create_logical_replication_slot({}, 'pgoutput')", quote_literal(SLOT));
    execute(&mut control, &slot).await?;
    let mut planted: BTreeMap<usize, (QualifiedName, Vec<Evidence>)> = BTreeMap::new();
    let mut rows = Rows::read(&mut control).await?;
    for relation in relations.iter().filter(|relation| relation.is_store() && relation.kind != "partition") {
        let number = planted.len() + 1;
        let places = canary::places(&mut control, &relation.name, &tenancy.column, number).await?;
        let planting =
            canary::plant(&mut control, &mut rows, &relation.name, "true", &places, &Wish::default()).await?;
        if let Ok(steps) = planting {
            let steps = steps.into_iter().map(|step| Evidence::as_role(&admin, step.sql, "done")).collect();
            planted.insert(number, (relation.name.clone(), steps));
        }
    }
    let mut findings = Vec::new();
    for publication in &published {
        let read = format!(
            "select encode(data, 'escape') from pg_logical_slot_peek_binary_changes({}, null, null, 'proto_version', '1', \
             'publication_names', {})",
            quote_literal(SLOT),
            quote_literal(&quote_ident(publication))
        );
        let gave = trial::run(&mut control, &read).await.attempt(ErrorKind::Database, || {
            format!("failed to read what the publication `{publication}` publishes")
        })?;
        let mut given = Vec::new();
        let mut evidence = vec![Evidence::as_role(&admin, &slot, "on a server with `wal_level = logical`")];
        for (number, (table, steps)) in &planted {
            if gave.lines.iter().any(|line| canary::is_in(*number, line)) {
                given.push(table.to_string());
                evidence.extend(steps.iter().cloned());
            }
        }
        if given.is_empty() {
            continue;
        }
        evidence.push(Evidence::as_role(&admin, read, "the rows, whoever's they are"));
        findings.push(Finding {
            check: CHECK.into(),
            class: Class::TrustBoundary,
            severity: Severity::Warning,
            subject: Subject::new("publication", publication),
            message: format!(
                "who subscribes to `{publication}` gets the rows of all tenants of {}: no policy is asked",
                super::roles::listed(&given)
            ),
            help: format!(
                "give its tables a row filter (`where ({} = …)`), or allow this if the subscriber may have all",
                quote_ident(&tenancy.column)
            ),
            evidence,
        });
    }
    execute(&mut control, &format!("select pg_drop_replication_slot({})", quote_literal(SLOT))).await?;
    let probes = Measurement::count(CHECK, "probes", published.len());
    Ok(Verdict::of(findings).with_measurements([probes, trial::controls(CHECK, planted.len())]))
}

async fn execute(control: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(control)
        .await
        .attempt(ErrorKind::Database, || format!("`{sql}` failed"))?;
    Ok(())
}

/// The publications of tables of tenants.
async fn published(control: &mut PgConnection, relations: &[Relation]) -> Result<BTreeSet<String>> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("select pubname::text, schemaname::text, tablename::text from pg_publication_tables")
            .fetch_all(control)
            .await
            .attempt(ErrorKind::Database, || "failed to list what is published".into())?;
    let is_tenants = |schema: &str, name: &str| {
        let name = QualifiedName::new(schema, name);
        relations.iter().any(|relation| relation.name == name)
    };
    Ok(rows
        .into_iter()
        .filter(|(_, schema, name)| is_tenants(schema, name))
        .map(|(publication, ..)| publication)
        .collect())
}
