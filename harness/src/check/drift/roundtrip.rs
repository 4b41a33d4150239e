//! `drift.roundtrip`: a dump of the schema, restored, is the schema.

use super::evidence::{self, Side};
use super::restore::{Restored, dumped, restored};
use crate::catalog::{Change, What, diff};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::{Error, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};

/// A dump of the schema, restored, is the schema.
pub(in crate::check) struct RoundTrip;

impl Check for RoundTrip {
    fn id(&self) -> &'static str {
        "drift.roundtrip"
    }

    fn summary(&self) -> &'static str {
        "a dump of the schema restores, to the same schema"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "What `pg_dump --schema-only` writes of the migrated database is restored by `psql` into an empty \
                     one, in one transaction and without an error, and the two are the same, object by object and \
                     fact by fact. Not compared is what such a dump leaves out: rows, what is set for the database \
                     itself, subscriptions. Skipped where the server's client programs are not on this machine.",
            matters: "A backup that was never restored is a hope. A dump is restored with an empty `search_path`: a \
                      function that names a table without its schema, and that an index or a generated column calls, \
                      makes the restore fail, on the day on which it is needed.",
            remedy: "Give such a function a `set search_path`, or name the schema in its body. What was made in \
                     `pg_catalog` is in no dump: make it elsewhere.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("drift.roundtrip":
            "bad_index_function.sql", "bad_lost.sql", "good.sql", "good_unstable_text.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let run = context.first_run().await?;
    let after = match restored(context, run, "restored").await? {
        Restored::Lacking(reason) => return Ok(Verdict::skipped(reason)),
        Restored::Refused(failure) => return Ok(Verdict::of(vec![refused(&failure)])),
        Restored::Catalog(catalog) => catalog,
    };
    let before = dumped(run.state()?.catalog.clone());
    let role = run.db.server().endpoint().role();
    // What the server made of what it stored, it reads back as the same: only the text is another.
    let (reworded, changes): (Vec<Change>, Vec<Change>) =
        diff(&before, &after).into_iter().partition(Change::is_deparsed);
    let findings = changes.iter().map(|change| {
        finding(change, evidence::of(change, Side::Own(role), Side::Place("the restored database")))
    });
    let verdict = Verdict::of(findings.collect());
    if reworded.is_empty() {
        return Ok(verdict);
    }
    let names: Vec<String> =
        reworded.iter().map(|change| format!("{} {}", change.kind, change.name)).collect();
    Ok(verdict.with_remark(format!("shown in other words once restored: {}", names.join(", "))))
}

fn refused(failure: &Error) -> Finding {
    Finding {
        check: RoundTrip.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("dump", "pg_dump --schema-only"),
        message: "a dump of the schema cannot be restored".into(),
        help: "name schemas in the function that fails, or give it a `set search_path`: a dump is restored with an \
               empty one"
            .into(),
        evidence: vec![Evidence::step(
            "pg_dump --schema-only | psql --single-transaction",
            failure.report_without_help(),
        )],
    }
}

fn finding(change: &Change, evidence: Vec<Evidence>) -> Finding {
    let object = evidence::object(change);
    let message = match &change.what {
        What::Added => format!("{object} is in the restored database only"),
        What::Removed => format!("{object} is lost by dump and restore"),
        What::Changed { fact, .. } => format!("{object} comes back from a dump with another `{fact}`"),
    };
    let help = "write it so that a dump holds it: in a schema of the project's own, with names in full";
    evidence::finding(RoundTrip.id(), change, change.severity(), message, help, evidence)
}
