//! `load.queries`: hot queries against their budgets.

use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::Finding;
use crate::load::look;
use crate::statement::{Source, read_dir};
use sqlx::Connection;

/// The folder of the named queries, within the project's.
const FOLDER: &str = "queries";

/// The draws of parameters begin here in every run, so that two runs say the same.
const SEED: u64 = 1;

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
                     machine is; time is not looked at. They depend on how many rows the fixtures have.",
            matters: "A query that loses its index works in every test and brings production down. On a small \
                      database it is as fast as before; the blocks that it touches show it.",
            remedy: "Look at the plan in the evidence. Add the index, or raise the budget where the query is meant to \
                     do more.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

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
        findings.extend(
            seen.findings.into_iter().map(|finding| Finding { check: Queries.id().into(), ..finding }),
        );
    }
    let _ = connection.close().await;
    Ok(Verdict::of(findings).with_measurements(measurements))
}
