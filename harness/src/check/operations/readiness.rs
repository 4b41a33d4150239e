//! `operations.readiness`: whether a database is fit for a release to connect to it.

use super::gate::{GATES, Gate};
use super::limits;
use crate::check::place::Place;
use crate::check::{Check, Context, Example, Explanation, Need, Role, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{quote_ident, quote_literal};
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::Duration;

/// Roles can connect, and nothing is left half-done.
pub(in crate::check) struct Readiness;

impl Check for Readiness {
    fn id(&self) -> &'static str {
        "operations.readiness"
    }

    fn summary(&self) -> &'static str {
        "roles can connect, and nothing in the database is left half-done"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Each of `[roles]` exists, may log in and may connect to the database, and has some limit on how long \
                     it runs or idles (apart from the role that migrates). No index is invalid, no constraint of a table \
                     unvalidated, no trigger disabled; no sequence has used up nine tenths of what its column can hold; \
                     the server takes writes, and is not near the end of its transaction ids. It only reads. Whether \
                     migrations are pending is `operations.history`'s question, whether extensions are there \
                     `operations.extensions`'.",
            matters: "These are what a release finds out by failing: a role that was never created, an index that a \
                      cancelled build left behind and that every write maintains but no query uses, a key that has no \
                      numbers left.",
            remedy: "The finding names the statement. Run the check with `--live` before a release.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, after the release",
            runs: "select * from orders where customer = 7",
            gets: "its rows after a minute: the whole table was read",
            because: "the index on the partitioned table was never completed, and an invalid one is not used",
            fix: "alter index orders_customer attach partition orders_0_customer",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Schema]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.readiness":
            "bad.sql", "bad_connect.sql", "bad_login.sql", "bad_missing_role.sql", "bad_not_valid.sql",
            "bad_sequence.sql", "bad_time_outs.sql", "bad_trigger.sql", "good.sql", "good_sequence.sql",
            "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let project = context.project();
    let mut place = Place::of(context).await?;
    let mut findings = Vec::new();
    for (name, role) in &project.roles {
        let is_migrator = project.migrations.migrator_role.as_ref() == Some(name);
        findings.extend(door(&mut place, name, role, is_migrator).await?);
    }
    for gate in GATES {
        findings.extend(gated(&mut place, gate).await?);
    }
    place.close().await;
    Ok(Verdict::of(findings))
}

/// What a role meets that wants to come in.
async fn door(place: &mut Place, name: &str, role: &Role, is_migrator: bool) -> Result<Option<Finding>> {
    let (who, subject) = (place.role.clone(), Subject::new("role", name));
    let tell = |severity, message: String, help: String, evidence| {
        Some(Finding {
            check: Readiness.id().into(),
            class: Class::Mistake,
            severity,
            subject: subject.clone(),
            message,
            help,
            evidence: vec![evidence],
        })
    };
    let known: Option<(bool, bool, bool)> = sqlx::query_as(
        "select rolcanlogin, coalesce(rolvaliduntil < now(), false), has_database_privilege(oid, current_database(), 'connect')
         from pg_catalog.pg_roles where rolname = $1",
    )
    .bind(name)
    .persistent(false)
    .fetch_optional(&mut place.connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to look for the role `{name}`"))?;
    let ask = |what: &str| format!("select {what} from pg_roles where rolname = {}", quote_literal(name));
    let quoted = quote_ident(name);
    match known {
        None => {
            return Ok(tell(
                Severity::Error,
                format!("there is no role `{name}`"),
                format!("create it: `create role {quoted} login`, in a file of `postgres.bootstrap`"),
                Evidence::as_role(who, ask("rolname"), "no row"),
            ));
        }
        Some((false, ..)) => {
            return Ok(tell(
                Severity::Error,
                format!("`{name}` may not log in"),
                format!("`alter role {quoted} login`"),
                Evidence::as_role(who, ask("rolcanlogin"), "false"),
            ));
        }
        Some((_, true, _)) => {
            return Ok(tell(
                Severity::Error,
                format!("the password of `{name}` has expired"),
                format!("`alter role {quoted} valid until 'infinity'`, or a new date with a new password"),
                Evidence::as_role(who, ask("rolvaliduntil < now()"), "true"),
            ));
        }
        Some((.., false)) => {
            return Ok(tell(
                Severity::Error,
                format!("`{name}` may not connect to the database"),
                format!("`grant connect on database … to {quoted}`"),
                Evidence::as_role(
                    who,
                    ask("has_database_privilege(oid, current_database(), 'connect')"),
                    "false",
                ),
            ));
        }
        Some((true, false, true)) => {}
    }
    if is_migrator {
        return Ok(None);
    }
    let seen = match place.session_of(name, role.password.as_ref()).await {
        Ok(Some(mut session)) => limits::in_session(&mut session).await?,
        // What the whole server sets is not known from the catalog.
        Ok(None) => return Ok(None),
        Err(error) => {
            return Ok(tell(
                Severity::Error,
                format!("`{name}` cannot log in"),
                "is the password of `[roles]` the right one, and does pg_hba.conf let it in?".into(),
                // It is no statement, and another session's.
                Evidence::step(format!("logging in as `{name}`"), error.report_without_help()),
            ));
        }
    };
    let ends = |limit| seen.get(limit).is_some_and(|most| most > Duration::ZERO);
    Ok(if ends(limits::Limit::Statement) || ends(limits::Limit::IdleInTransaction) {
        None
    } else {
        let limits = [limits::Limit::IdleInTransaction, limits::Limit::Statement];
        let set = limits::in_catalog(&mut place.connection, name).await?.told(&limits);
        tell(
            Severity::Warning,
            format!("nothing ends a transaction that `{name}` forgets: no time-out is set for it"),
            format!(
                "`alter role {quoted} set idle_in_transaction_session_timeout = '60s'`, and a `statement_timeout` that \
                 fits its work"
            ),
            Evidence::as_role(
                who,
                limits::question(name, &limits),
                format!("{set}: a session of `{name}` has neither"),
            ),
        )
    })
}

/// What stands in the way at a gate.
async fn gated(place: &mut Place, gate: &Gate) -> Result<Vec<Finding>> {
    if gate.is_for_live && !place.is_live {
        return Ok(Vec::new());
    }
    let rows = rows(&mut place.connection, gate).await?;
    Ok(rows
        .into_iter()
        .map(|(name, seen)| Finding {
            check: Readiness.id().into(),
            class: Class::Mistake,
            severity: gate.severity,
            subject: Subject::new(gate.kind, name.clone()),
            message: gate.message.replace("{name}", &name).replace("{seen}", &seen),
            help: gate.help.replace("{name}", &name),
            evidence: place.asked(
                format!(
                    "select * from ({}) as seen (name, what) where name = {}",
                    gate.sql,
                    quote_literal(&name)
                ),
                format!("{name}, {seen}"),
            ),
        })
        .collect())
}

async fn rows(connection: &mut PgConnection, gate: &Gate) -> Result<Vec<(String, String)>> {
    sqlx::query_as(AssertSqlSafe(gate.sql))
        .persistent(false)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || format!("failed to look for what is amiss with a {}", gate.kind))
}
