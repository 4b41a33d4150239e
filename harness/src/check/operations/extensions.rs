//! `operations.extensions`: whether the extensions that the schema needs can be had, and are there.

use crate::check::databases::needs_of;
use crate::check::place::Place;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story, Verdict};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{quote_ident, quote_literal};
use crate::postgres::{Site, remedies};
use sqlx::PgConnection;

/// What the schema needs is available and created.
pub(in crate::check) struct ExtensionsCheck;

impl Check for ExtensionsCheck {
    fn id(&self) -> &'static str {
        "operations.extensions"
    }

    fn summary(&self) -> &'static str {
        "the extensions that the schema needs are available, and created"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every extension that `postgres.extensions` or a file of SQL names can be created on the server: its \
                     files are there. After the migrations, each exists in the database, in the version that the server \
                     has files of. With `--live` that is asked of the live server. An extension that a program creates \
                     is not known beforehand.",
            matters: "`create extension` fails in the middle of a deployment where the files are missing, or the provider \
                      does not offer it. An extension that stays at an old version runs new code with old definitions.",
            remedy: "Install the package that the finding names, or have the provider enable it; then `alter extension \
                     … update` where the version is old.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "the deployment, with the next release",
            runs: "select similarity(name, 'lamp') from products",
            gets: "function similarity(text, unknown) does not exist",
            because: "`postgres.extensions` asks for `pg_trgm`, and a migration drops it",
            fix: "create extension if not exists pg_trgm",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Schema]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.extensions":
            "bad_dropped.sql", "bad_live.sql", "bad_old_version.sql", "good.sql", "good_live.sql", "good_none.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

/// What a server has of an extension.
struct Had {
    available: Option<String>,
    created: Option<String>,
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let needs = needs_of(project)?;
    // No server of our own can be had without them: that is the finding.
    if project.live.is_none()
        && let Err(error) = context.server()
    {
        return Ok(Verdict::of(vec![unavailable(&needs.told(), &error)]));
    }
    let mut place = Place::of(context).await?;
    let mut findings = Vec::new();
    for name in needs.names() {
        let had = had(&mut place.connection, &name).await?;
        findings.extend(judge(&place, &name, &had));
    }
    place.close().await;
    Ok(Verdict::of(findings))
}

async fn had(connection: &mut PgConnection, name: &str) -> Result<Had> {
    let row: (Option<String>, Option<String>) = sqlx::query_as(
        "select (select default_version::text from pg_catalog.pg_available_extensions where name = $1),
                (select extversion from pg_catalog.pg_extension where extname = $1)",
    )
    .bind(name)
    .persistent(false)
    .fetch_one(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to look for the extension `{name}`"))?;
    Ok(Had { available: row.0, created: row.1 })
}

fn judge(place: &Place, name: &str, had: &Had) -> Option<Finding> {
    let site = if place.own().is_some_and(|db| db.server().installation().is_some()) {
        Site::Here
    } else {
        Site::Elsewhere
    };
    let shown = place.shown();
    let (severity, message, help, seen) = match (&had.available, &had.created) {
        (None, None) => (
            Severity::Error,
            format!("the server of {shown} has no extension `{name}`"),
            remedies(&[name], place.major(), site),
            "no row".to_owned(),
        ),
        (Some(available), None) => (
            // It may be a migration that is pending there.
            if place.is_live { Severity::Warning } else { Severity::Error },
            format!("the extension `{name}` is not there in {shown}"),
            format!("`create extension {}`", quote_ident(name)),
            format!("{available}, null: available, and there"),
        ),
        (Some(available), Some(created)) if available != created => (
            Severity::Warning,
            format!(
                "the extension `{name}` has version {created} in {shown}, and its files have {available}"
            ),
            format!("`alter extension {} update`", quote_ident(name)),
            format!("{available}, {created}: available, and there"),
        ),
        _ => return None,
    };
    let sql = format!(
        "select default_version, installed_version from pg_available_extensions where name = {}",
        quote_literal(name)
    );
    Some(Finding {
        check: ExtensionsCheck.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("extension", name),
        message,
        help,
        evidence: vec![Evidence::as_role(&place.role, sql, seen)],
    })
}

/// No server of those that can be had here has them all.
fn unavailable(told: &str, error: &Error) -> Finding {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let mut help = error.help().unwrap_or_default().to_owned();
    while let Some(source) = cause {
        if let Some(inner) = source.downcast_ref::<Error>() {
            help = inner.help().unwrap_or(&help).to_owned();
        }
        cause = source.source();
    }
    Finding {
        check: ExtensionsCheck.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("server", "extensions"),
        message: format!("no server that can be had here has {told}"),
        help,
        evidence: vec![Evidence::step("looking for an installation", error.report_without_help())],
    }
}
