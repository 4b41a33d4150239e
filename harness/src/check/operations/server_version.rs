//! `operations.server-version`: fixes of the server that the schema needs.

use super::server_bugs::{BUGS, Bug};
use crate::check::place::Place;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use sqlx::{AssertSqlSafe, PgConnection};

/// How many objects the evidence names.
const OBJECTS_MAX: usize = 5;

/// The server in production lacks no fix that the schema needs.
pub(in crate::check) struct ServerVersion;

impl Check for ServerVersion {
    fn id(&self) -> &'static str {
        "operations.server-version"
    }

    fn summary(&self) -> &'static str {
        "the server's minor version has the security fixes that the schema needs"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Of the faults of the server that are known to break what schemas rely on (row-level security, MERGE, \
                     functions with their owner's rights, materialized views, statistics, extensions), none is in the \
                     version in production and bears on something that this schema has. That version is the live \
                     server's with `--live`, else `postgres.deployed`, else `postgres.version` where that is exact. Where \
                     nobody says, the report tells what the server that the tests run on lacks, and finds nothing. The \
                     list is as old as this pgharness: a newer fault is not on it.",
            matters: "A policy is as good as the server that asks it. With a server that has the fault, all checks of \
                      the schema pass, and rows leak.",
            remedy: "Install the newest minor version: it needs a restart and nothing else. Where a finding names a \
                     further step, existing data directories need it too.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Schema]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.server-version":
            "bad.sql", "bad_extension.sql", "bad_function.sql", "bad_matview.sql", "bad_partition.sql", "good.sql",
            "good_fixed.sql", "good_unused.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let mut place = Place::of(context).await?;
    let declared = context.project().deployed.as_ref().filter(|_| !place.is_live);
    let is_said = place.is_live || declared.is_some();
    let version = declared.unwrap_or(&place.version).clone();
    let Some(number) = number(&version) else {
        place.close().await;
        return Ok(Verdict::skipped(format!("`{version}` is no released version")));
    };
    let mut found = Vec::new();
    for bug in BUGS.iter().filter(|bug| bug.is_in(number)) {
        let query = bug.feature.query();
        let objects = objects(&mut place.connection, &query).await?;
        if !objects.is_empty() {
            found.push((bug, query, objects));
        }
    }
    if !is_said {
        place.close().await;
        let verdict = Verdict::of(Vec::new());
        let ids: Vec<&str> = found.iter().map(|(bug, ..)| bug.id).collect();
        return Ok(if ids.is_empty() {
            verdict
        } else {
            verdict.with_remark(format!(
                "the server that tests run on ({version}) lacks the fixes of {}; `postgres.deployed` or `--live` says what \
                 production has",
                ids.join(", ")
            ))
        });
    }
    let asked = match declared {
        None => Evidence::as_role(
            &place.role,
            "select split_part(current_setting('server_version'), ' ', 1)",
            version.clone(),
        ),
        Some(_) => Evidence::step("`postgres.deployed`, or an exact `postgres.version`", version.clone()),
    };
    let findings = found
        .into_iter()
        .map(|(bug, query, objects)| {
            let mut evidence = vec![asked.clone()];
            evidence.extend(place.asked(format!("{query} limit {OBJECTS_MAX}"), shown(&objects)));
            finding(bug, number.0, &version, evidence)
        })
        .collect();
    place.close().await;
    Ok(Verdict::of(findings))
}

async fn objects(connection: &mut PgConnection, query: &str) -> Result<Vec<String>> {
    // The transaction has no search path, so that names come with their schemas.
    sqlx::query_scalar(AssertSqlSafe(query))
        .persistent(false)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to look for what a fault of the server bears on".into())
}

fn finding(bug: &Bug, major: u32, version: &str, evidence: Vec<Evidence>) -> Finding {
    let mended = bug.mended_in(major).map(|minor| format!("{major}.{minor}")).unwrap_or_default();
    let also = bug.also.map(|also| format!("; {also}")).unwrap_or_default();
    Finding {
        check: ServerVersion.id().into(),
        class: Class::ServerBug,
        severity: Severity::Warning,
        subject: Subject::new("server", bug.id),
        message: format!("Postgres {version} lacks the fix of {}: {}", bug.id, bug.what),
        help: format!("install {mended} or newer{also}"),
        evidence,
    }
}

/// Some of the names, and how many more there are.
fn shown(objects: &[String]) -> String {
    let more = objects.len().saturating_sub(OBJECTS_MAX);
    let some = objects.iter().take(OBJECTS_MAX).cloned().collect::<Vec<_>>().join("\n");
    if more > 0 { format!("{some}\nand {more} more") } else { some }
}

/// `16.4` as numbers; nothing of a version that is no release.
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("16.4", Some((16, 4)))]
    #[case("15.18", Some((15, 18)))]
    #[case("19devel", None)]
    #[case("18beta1", None)]
    fn releases_are_numbers(#[case] version: &str, #[case] expect: Option<(u32, u32)>) {
        assert_eq!(number(version), expect);
    }
}
