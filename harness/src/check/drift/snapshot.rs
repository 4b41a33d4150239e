//! `drift.snapshot`: the migrations against the committed snapshot.

use super::committed::{committable, read};
use super::evidence::{self, Side};
use crate::catalog::{Catalog, Change, Unmodelled, What, diff};
use crate::check::migrator::shown_path;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use std::path::absolute;

/// The migrations bring about what the committed snapshot says.
pub(in crate::check) struct SnapshotDrift;

impl Check for SnapshotDrift {
    fn id(&self) -> &'static str {
        "drift.snapshot"
    }

    fn summary(&self) -> &'static str {
        "the migrations bring about what the committed snapshot says"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "What the migrations make of an empty database is, object by object and fact by fact, what the \
                     file of `snapshot.file` says: tables, columns, constraints, indexes, functions, policies, grants, \
                     default privileges, owners. The runner's history is left out, and so are the partitions of \
                     tables in `[structure.partitions]`, which move on with the calendar (a default partition and \
                     the partitioned table itself are compared). A kind of object that is not modelled is reported. \
                     Rows are not compared.",
            matters: "A schema is reviewed as the difference that a migration makes, and nobody sees that from the \
                      migration alone: a grant that a `drop` took along, a policy that a rename lost. The snapshot \
                      shows it in the pull request, in text that people read.",
            remedy: "Where the change is meant, `pgharness drift --accept` writes the snapshot; commit it with the \
                     migration. Where it is not, mend the migration.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Snapshot]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("drift.snapshot":
            "bad_column.sql", "bad_grant.sql", "bad_missing.sql", "good.sql", "good_partitions.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let Some(file) = &project.snapshot.file else {
        return Ok(Verdict::skipped("`snapshot.file` names no file"));
    };
    let shown = shown_path(project, &absolute(file).unwrap_or_else(|_| file.clone()));
    if !file.exists() {
        return Ok(Verdict::skipped(format!("`{shown}` is not there: `pgharness drift --accept` writes it")));
    }
    let committed = committable(project, read(file)?);
    let run = context.first_run().await?;
    let migrated = committable(project, run.state()?.catalog.clone());
    let role = run.db.server().endpoint().role();
    let changes = diff(&committed, &migrated);
    let mut findings: Vec<Finding> = changes.iter().map(|change| finding(change, &shown, role)).collect();
    findings.extend(strangers(&committed, &migrated).map(|stranger| unmodelled(stranger, &shown)));
    Ok(Verdict::of(findings))
}

fn finding(change: &Change, file: &str, role: &str) -> Finding {
    let object = evidence::object(change);
    let message = match &change.what {
        What::Added => format!("{object} is not in `{file}`"),
        What::Removed => format!("{object} is in `{file}`, and the migrations do not bring it about"),
        What::Changed { fact, .. } => format!("{object} has another `{fact}` than in `{file}`"),
    };
    let help = "`pgharness drift --accept` writes the snapshot, if that is meant; else mend the migration";
    let evidence = evidence::of(change, Side::Place(file), Side::Own(role));
    evidence::finding(SnapshotDrift.id(), change, change.severity(), message, help, evidence)
}

/// Objects of kinds that the model does not hold, which `seen` has and of which `known` does not know.
pub(super) fn strangers<'a>(known: &'a Catalog, seen: &'a Catalog) -> impl Iterator<Item = &'a Unmodelled> {
    seen.unmodelled().iter().filter(|found| !known.unmodelled().contains(found))
}

fn unmodelled(stranger: &Unmodelled, file: &str) -> Finding {
    let Unmodelled { kind, name } = stranger;
    Finding {
        check: SnapshotDrift.id().into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new(kind.clone(), name.clone()),
        message: format!(
            "{kind} `{name}` is of a kind that is not compared, and `{file}` does not mention it"
        ),
        help: "`pgharness drift --accept` notes that it is there; what it holds stays unseen".into(),
        evidence: vec![Evidence::step(file, "not mentioned")],
    }
}
