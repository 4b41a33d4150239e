//! `migration.expand-only`: the release that still runs does not notice a migration.

use super::contraction::contraction;
use super::transcript::transcript;
use crate::catalog::{Change, Kind, What};
use crate::check::drift::look;
use crate::check::walk::{NO_STEPS, Step, Walk};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};

/// A migration takes nothing from the release that still runs, unless it says so.
pub(in crate::check) struct ExpandOnly;

impl Check for ExpandOnly {
    fn id(&self) -> &'static str {
        "migration.expand-only"
    }

    fn summary(&self) -> &'static str {
        "a migration takes nothing from the release that still runs, unless it is tagged as a contraction"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The migrations are applied one at a time, and the catalogs before and after each are compared. A \
                     step that drops or renames something, narrows a type, requires a column, forbids rows that could \
                     be written before, or takes back a right, carries the comment of `migrations.contract_tag`. It is \
                     the catalog that is judged and not the text, so SQL, DO blocks and procedures are alike. The \
                     texts of views and functions are not looked into: `migration.old-release` runs what uses them.",
            matters: "While a deployment rolls, the old release runs on the new schema; after a rollback it does so for \
                      good. A column that is dropped in the same deployment that stops using it fails every request \
                      of the instances that are not replaced yet.",
            remedy: "Expand first (add, backfill, let the new release use both), and contract in a later release, in a \
                     migration of its own that carries the tag: `-- pgharness:phase contract`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn is_opt_in(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.expand-only":
            "bad_do_block.sql", "bad_drop.sql", "bad_grant.sql", "bad_rename.sql", "bad_required.sql", "bad_type.sql",
            "bad_unique.sql", "good.sql", "good_tagged.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let Some(walk) = context.walk().await? else { return Ok(Verdict::skipped(NO_STEPS)) };
    let tag = &context.project().migrations.contract_tag;
    let mut findings = Vec::new();
    for step in walk.steps().filter(|step| !step.migration.has_comment(tag)) {
        for change in step.changes() {
            if let Some(taken) = contraction(&change, step.before_catalog(), step.after_catalog()) {
                findings.push(finding(context, walk, &step, &change, &taken));
            }
        }
    }
    Ok(Verdict::of(findings))
}

fn finding(context: &Context, walk: &Walk, step: &Step<'_>, change: &Change, taken: &str) -> Finding {
    let Change { kind, name, what } = change;
    let role = walk.migrator.role(&walk.db);
    let object = match kind {
        Kind::Grant => format!("the grant on {name}"),
        _ => format!("{kind} `{name}`"),
    };
    let seen = match what {
        What::Removed => "there before, and not after".to_owned(),
        What::Added => "not there before, and there after".to_owned(),
        What::Changed { .. } => change.to_string(),
    };
    Finding {
        check: ExpandOnly.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new(kind.name(), name.clone()),
        message: format!("`{}`: {object} {taken}", step.migration.name()),
        help: format!(
            "do it in a later release, in a migration of its own that says `{}`",
            context.project().migrations.contract_tag
        ),
        evidence: vec![
            Evidence::as_role(role, transcript(context.project(), step.migration), "applied"),
            Evidence::as_role(walk.db.server().endpoint().role(), look(*kind, name), seen),
        ],
    }
}
