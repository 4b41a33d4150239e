//! `operations.slow-query`: whether a slow statement in production leaves a trace.

use crate::check::place::Place;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};

/// What tells how slow statements are found.
const SQL: &str = "select
    exists (select from pg_settings where name = 'pg_stat_statements.max'),
    exists (select from pg_extension where extname = 'pg_stat_statements'),
    coalesce(current_setting('pg_stat_statements.track', true), 'none') <> 'none',
    (select reset_val from pg_settings where name = 'log_min_duration_statement') <> '-1'
        or (select reset_val from pg_settings where name = 'log_min_duration_sample') <> '-1',
    coalesce((select reset_val from pg_settings where name = 'auto_explain.log_min_duration'), '-1') <> '-1'";

/// Slow statements of a live database can be found.
pub(in crate::check) struct SlowQuery;

impl Check for SlowQuery {
    fn id(&self) -> &'static str {
        "operations.slow-query"
    }

    fn summary(&self) -> &'static str {
        "slow statements of a live database leave a trace"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The live server counts statements (`pg_stat_statements` is loaded, tracks, and can be asked in this \
                     database), or logs the slow ones (`log_min_duration_statement`, `log_min_duration_sample`, or \
                     auto_explain). It is asked for the role that looks; what is set for other roles may differ. Whether \
                     anybody reads it is not seen.",
            matters: "The statement that brought production down is found in minutes, or never.",
            remedy: "Put `pg_stat_statements` into `shared_preload_libraries` (a restart), `create extension \
                     pg_stat_statements`, and set `log_min_duration_statement = '1s'`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Live]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.slow-query": "bad.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let mut place = Place::of(context).await?;
    let (is_loaded, is_created, tracks, logs, explains): (bool, bool, bool, bool, bool) = sqlx::query_as(SQL)
        .persistent(false)
        .fetch_one(&mut place.connection)
        .await
        .attempt(ErrorKind::Database, || "failed to ask how slow statements are found".into())?;
    let seen = format!(
        "{is_loaded}, {is_created}, {tracks}, {logs}, {explains}: loaded, created, tracks; logs slow statements, or their plans"
    );
    let evidence = vec![Evidence::as_role(&place.role, SQL, seen)];
    let shown = place.shown();
    place.close().await;
    let counts = is_loaded && is_created && tracks;
    let is_logged = logs || explains;
    if counts && is_logged {
        return Ok(Verdict::of(Vec::new()));
    }
    if counts || is_logged {
        let lacks = if counts {
            "slow statements are counted, and none is logged"
        } else if is_loaded {
            "slow statements are logged; pg_stat_statements is loaded, and cannot be asked here"
        } else {
            "slow statements are logged, and not counted (pg_stat_statements is not loaded)"
        };
        return Ok(Verdict::of(Vec::new()).with_remark(lacks));
    }
    let help = if is_loaded {
        "`create extension pg_stat_statements`, and set `log_min_duration_statement = '1s'`"
    } else {
        "set `log_min_duration_statement = '1s'`; with the next restart, `pg_stat_statements` in `shared_preload_libraries`"
    };
    Ok(Verdict::of(vec![Finding {
        check: SlowQuery.id().into(),
        class: Class::Mistake,
        severity: Severity::Warning,
        subject: Subject::new("server", "slow statements"),
        message: format!("a slow statement leaves no trace in {shown}"),
        help: help.into(),
        evidence,
    }]))
}
