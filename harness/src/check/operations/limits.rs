//! The time-outs that a role has.

use crate::check::Role;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::quote_literal;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A time-out that can be set for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    Statement,
    IdleInTransaction,
    Lock,
}

/// As the server calls it.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Statement => "statement_timeout",
            Limit::IdleInTransaction => "idle_in_transaction_session_timeout",
            Limit::Lock => "lock_timeout",
        })
    }
}

impl Limit {
    pub(super) const ALL: [Limit; 3] = [Limit::Statement, Limit::IdleInTransaction, Limit::Lock];

    /// What the project declares.
    pub(super) fn declared(self, role: &Role) -> Option<Duration> {
        match self {
            Limit::Statement => role.statement_timeout,
            Limit::IdleInTransaction => role.idle_in_transaction_session_timeout,
            Limit::Lock => role.lock_timeout,
        }
    }

    fn names() -> Vec<String> {
        Limit::ALL.iter().map(Limit::to_string).collect()
    }
}

/// Where limits were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In a session of the role.
    Session,
    /// In the catalog of settings.
    Catalog,
}

/// The limits that were seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) source: Source,
    found: BTreeMap<String, Duration>,
}

impl Seen {
    fn of(source: Source, rows: Vec<(String, i64)>) -> Seen {
        let found = rows
            .into_iter()
            .map(|(name, millis)| (name, Duration::from_millis(u64::try_from(millis).unwrap_or_default())));
        Seen { source, found: found.collect() }
    }

    /// A limit, where it is known; zero is none.
    pub(super) fn get(&self, limit: Limit) -> Option<Duration> {
        self.found.get(&limit.to_string()).copied()
    }

    /// What the [`question`] for these gives, where this was seen in the catalog.
    pub(super) fn told(&self, limits: &[Limit]) -> String {
        let rows: Vec<String> = limits
            .iter()
            .filter_map(|limit| Some(format!("{limit}, {}", self.get(*limit)?.as_millis())))
            .collect();
        if rows.is_empty() { "no row".into() } else { rows.join("\n") }
    }
}

/// Those that a session began with: what is set within it, is ours.
///
/// # Errors
/// The server is lost.
pub(super) async fn in_session(session: &mut PgConnection) -> Result<Seen> {
    let rows = sqlx::query_as(
        "select name::text, reset_val::bigint from pg_catalog.pg_settings where name = any($1)",
    )
    .bind(Limit::names())
    .persistent(false)
    .fetch_all(session)
    .await
    .attempt(ErrorKind::Database, || "failed to read the time-outs of a session".into())?;
    Ok(Seen::of(Source::Session, rows))
}

/// Those that are set for the role in this database, or else for the role, the database, all roles: in the order
/// in which the server looks for them.
///
/// # Errors
/// The server is lost.
pub(super) async fn in_catalog(connection: &mut PgConnection, role: &str) -> Result<Seen> {
    let rows = sqlx::query_as(AssertSqlSafe(question(role, &Limit::ALL)))
        .persistent(false)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || format!("failed to read what is set for `{role}`"))?;
    Ok(Seen::of(Source::Catalog, rows))
}

/// What asks the catalog for these limits of a role. A session that becomes the role by SET ROLE does not have them.
pub(super) fn question(role: &str, limits: &[Limit]) -> String {
    let names: Vec<String> = limits.iter().map(|limit| quote_literal(&limit.to_string())).collect();
    format!(
        "select distinct on (name) name, millis
from pg_catalog.pg_db_role_setting s
join pg_catalog.pg_roles r on r.rolname = {}
join pg_catalog.pg_database d on d.datname = current_database()
cross join unnest(s.setconfig) entry
cross join lateral (select split_part(entry, '=', 1) as name, split_part(entry, '=', 2) as value) pair
cross join lateral (
    select case when value ~ '^[0-9]+$' then value::bigint
                else (extract(epoch from value::interval) * 1000)::bigint end as millis) figure
where s.setrole in (0, r.oid) and s.setdatabase in (0, d.oid) and name in ({})
order by name, s.setrole <> 0 and s.setdatabase <> 0 desc, s.setrole <> 0 desc, s.setdatabase <> 0 desc",
        quote_literal(role),
        names.join(", ")
    )
}
