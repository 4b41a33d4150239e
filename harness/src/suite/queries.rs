//! `load.queries`: hot queries against their budgets.

use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::load::{Figures, Load, drive, look};
use crate::statement::{Source, Statement, read_dir};
use sqlx::Connection;

/// The folder of the named queries, within the project's.
const FOLDER: &str = "queries";

/// The draws of parameters begin here in every run, so that two runs say the same.
const SEED: u64 = 1;

/// As many requests as a 99th percentile needs.
const REQUESTS: usize = 1_000;
const CONNECTIONS: usize = 2;

/// Hot queries keep within their budgets.
pub(super) struct Queries;

impl Check for Queries {
    fn id(&self) -> &'static str {
        "load.queries"
    }

    fn summary(&self) -> &'static str {
        "hot queries keep within their budgets"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Each statement in `queries/*.sql`, run as its role over the fixtures with ten draws of its \
                     parameters, touches no more blocks and rows than its `-- budget:` allows, both with the plan made \
                     for the values and with the one made for any. These figures do not depend on how busy the \
                     machine is. Then each is driven on two connections at once: percentiles and throughput are \
                     measured and told, and a request that fails is a finding; time is no gate. They depend on how many rows the fixtures have.",
            matters: "A query that loses its index works in every test and brings production down. On a small \
                      database it is as fast as before; the blocks that it touches show it.",
            remedy: "Look at the plan in the evidence. Add the index, or raise the budget where the query is meant to \
                     do more.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    // What it looks at is statements over rows: the tests of `load` have those that exceed their budgets.
    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look_at_all(context))
    }
}

async fn look_at_all(context: &Context) -> Result<Verdict> {
    let folder = context.project().dir.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Verdict::skipped(format!("there is no folder `{FOLDER}`")));
    }
    let statements = read_dir(&folder)?;
    let db = context.database().await?;
    let mut connection = db.connection().await?;
    let (mut findings, mut measurements) = (Vec::new(), Vec::new());
    for statement in &statements {
        let source = Source::read(statement, &mut connection).await?;
        let seen = look(&source, &db.options(), SEED).await?;
        measurements.extend(seen.measurements(&statement.name));
        let load = Load::closed(CONNECTIONS, REQUESTS).with_seed(SEED);
        let figures = drive(&source, &db.options(), &load).await?;
        measurements.extend(figures.measurements(&statement.name));
        if figures.failures > 0 {
            findings.push(failures(statement, &figures));
        }
        findings.extend(
            seen.findings.into_iter().map(|finding| Finding { check: Queries.id().into(), ..finding }),
        );
    }
    let _ = connection.close().await;
    Ok(Verdict::of(findings).with_measurements(measurements))
}

/// Requests that failed while others ran: a deadlock, a time-out, a privilege that depends on the row.
fn failures(statement: &Statement, figures: &Figures) -> Finding {
    let code = figures.first_failure.as_deref().unwrap_or("none");
    Finding {
        check: Queries.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("query", &statement.name),
        message: format!(
            "{} of {REQUESTS} requests failed, the first with SQLSTATE {code}",
            figures.failures
        ),
        help: "run it on several connections at once, with the parameters drawn from the fixtures".into(),
        evidence: vec![Evidence::step(
            format!("{} on {CONNECTIONS} connections", statement.name),
            format!("{} failures", figures.failures),
        )],
    }
}
