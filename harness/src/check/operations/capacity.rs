//! `operations.capacity`: whether the server has the connections that pools may ask for, and the time-outs that
//! roles are declared with.

use super::limits::{self, Limit};
use crate::check::place::Place;
use crate::check::{Check, Context, Example, Explanation, Need, Role, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::ident::{quote_ident, quote_literal};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::time::Duration;

/// All pools fit into the server, and roles have the limits that the project declares.
pub(in crate::check) struct Capacity;

impl Check for Capacity {
    fn id(&self) -> &'static str {
        "operations.capacity"
    }

    fn summary(&self) -> &'static str {
        "the pools fit into the server, and each role has its time-outs"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The sum of `pool_max` of all `[roles]` is no more than the connections that the server gives to \
                     roles that are no superusers, and no role has a lower limit of its own. Each role logs \
                     in, and its session has the `statement_timeout`, `idle_in_transaction_session_timeout` and \
                     `lock_timeout` that `[roles]` declares. On a live database a role logs in where `[roles]` gives its \
                     password, and else what is set for it is read from the catalog. The connections of the server that \
                     tests run on are those of `postgres.max_connections`: whether production has as many, only the live \
                     server knows.",
            matters: "Pools grow under load, and the server refuses the connection that is one too many: at the worst \
                      moment, and to whoever comes last, the migration included. A role without time-outs holds its locks \
                      for as long as a client that hangs.",
            remedy: "Lower `pool_max`, raise `max_connections`, or put a pooler in between. Set time-outs for the role \
                     and not in the service: `alter role web_app set statement_timeout = '30s'` holds for every client.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, whose time-out `pgharness.toml` declares as 30s",
            runs: "show statement_timeout",
            gets: "0: a statement may run for ever, and hold its locks",
            because: "the declaration is in the file, and nobody has set it in the database",
            fix: "do $$ begin execute format('alter role web_app in database %I set statement_timeout = %L', \
                  current_database(), '30s'); end $$",
        })
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Roles]
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("operations.capacity":
            "bad.sql", "bad_idle.sql", "bad_pools.sql", "bad_role_limit.sql",
            "bad_shorter_in_database.sql", "good.sql", "good_database_setting.sql", "pgharness.toml")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(look(context))
    }
}

async fn look(context: &Context) -> Result<Verdict> {
    let mut place = Place::of(context).await?;
    let roles = &context.project().roles;
    let mut findings = Vec::new();
    let room = Room::read(&mut place.connection).await?;
    findings.extend(pools(&place, roles, &room));
    let mut unread = Vec::new();
    for (name, role) in roles {
        let Some(most) = room.of_role(&mut place.connection, name).await? else {
            // That it is not there is the finding of `operations.readiness`.
            unread.push(format!("`{name}`, which is not there"));
            continue;
        };
        findings.extend(own_limit(&place, name, role, most));
        let declared: Vec<(Limit, Duration)> =
            Limit::ALL.into_iter().filter_map(|limit| Some((limit, limit.declared(role)?))).collect();
        if declared.is_empty() {
            continue;
        }
        let set = limits::in_catalog(&mut place.connection, name).await?;
        let seen = match place.session_of(name, role.password.as_ref()).await {
            Ok(Some(mut session)) => limits::in_session(&mut session).await?,
            Ok(None) => set.clone(),
            Err(error) => {
                unread.push(format!("`{name}`, which cannot log in ({error})"));
                continue;
            }
        };
        for (limit, wanted) in declared {
            findings.extend(judge(&place.role, name, (limit, wanted), &seen, &set));
        }
    }
    let wanted = u32::try_from(roles.values().filter_map(|role| role.pool_max).map(u64::from).sum::<u64>());
    let figure = |name: &str, value: f64| Measurement {
        name: format!("operations.capacity.{name}"),
        value,
        unit: String::new(),
    };
    let verdict = Verdict::of(findings).with_measurements([
        figure("pools", f64::from(wanted.unwrap_or(u32::MAX))),
        figure("connections", f64::from(room.free())),
    ]);
    place.close().await;
    Ok(if unread.is_empty() {
        verdict
    } else {
        verdict.with_remark(format!("no session was looked at of {}", unread.join(", ")))
    })
}

/// How many connections there are, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    all: i32,
    /// Those that superusers keep for themselves, and those that need a privilege (from 16 on).
    kept: i32,
    /// The limit of the database; -1 is none.
    database: i32,
}

impl Room {
    async fn read(connection: &mut PgConnection) -> Result<Room> {
        let (all, kept, database) = sqlx::query_as(
            "select current_setting('max_connections')::int,
                    current_setting('superuser_reserved_connections')::int
                        + coalesce(current_setting('reserved_connections', true)::int, 0),
                    (select datconnlimit from pg_catalog.pg_database where datname = current_database())",
        )
        .persistent(false)
        .fetch_one(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to ask how many connections there are".into())?;
        Ok(Room { all, kept, database })
    }

    /// Those that roles which are no superusers get.
    fn free(self) -> i32 {
        let free = self.all - self.kept;
        if self.database >= 0 { free.min(self.database) } else { free }
    }

    /// The limit of a role, -1 for none; `None` where there is no such role.
    async fn of_role(self, connection: &mut PgConnection, role: &str) -> Result<Option<i32>> {
        sqlx::query_scalar("select rolconnlimit from pg_catalog.pg_roles where rolname = $1")
            .bind(role)
            .persistent(false)
            .fetch_optional(connection)
            .await
            .attempt(ErrorKind::Database, || format!("failed to read the limit of `{role}`"))
    }
}

/// The finding that all pools together are too large.
fn pools(place: &Place, roles: &BTreeMap<String, Role>, room: &Room) -> Option<Finding> {
    let sized = || roles.iter().filter_map(|(name, role)| Some((name, role.pool_max?)));
    let sum: u64 = sized().map(|(_, most)| u64::from(most)).sum();
    let free = room.free();
    if sum <= u64::try_from(free).unwrap_or_default() {
        return None;
    }
    let summands: Vec<String> = sized().map(|(name, most)| format!("{name} {most}")).collect();
    let mut evidence =
        vec![Evidence::step("`pool_max` of `[roles]`", format!("{} = {sum}", summands.join(" + ")))];
    evidence.push(Evidence::as_role(
        &place.role,
        "select current_setting('max_connections'), current_setting('superuser_reserved_connections')::int + \
         coalesce(current_setting('reserved_connections', true)::int, 0), \
         (select datconnlimit from pg_database where datname = current_database())",
        format!(
            "{}, {}, {}: in all, of them kept, and for one database{}",
            room.all,
            room.kept,
            room.database,
            if room.database < 0 { ", which is as many" } else { "" }
        ),
    ));
    let (severity, whose) = if place.is_live {
        (Severity::Error, "")
    } else {
        // Only the live server knows what production has.
        (Severity::Warning, ", if production has as many as `postgres.max_connections`")
    };
    Some(Finding {
        check: Capacity.id().into(),
        class: Class::Mistake,
        severity,
        subject: Subject::new("server", "max_connections"),
        message: format!(
            "all pools together may open {sum} connections, and the server gives them {free}{whose}"
        ),
        help: "lower `pool_max`, raise `max_connections`, or put a pooler in between".into(),
        evidence,
    })
}

/// The finding that a role may open fewer connections than its pool.
fn own_limit(place: &Place, name: &str, role: &Role, most: i32) -> Option<Finding> {
    let wanted = role.pool_max?;
    if most < 0 || wanted <= u32::try_from(most).unwrap_or_default() {
        return None;
    }
    Some(Finding {
        check: Capacity.id().into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("role", name),
        message: format!("the pool of `{name}` may open {wanted} connections, and the role may have {most}"),
        help: format!(
            "`alter role {} connection limit {wanted}`, or a smaller `pool_max`",
            quote_ident(name)
        ),
        evidence: vec![
            Evidence::step(format!("`pool_max` of `roles.{name}`"), wanted.to_string()),
            Evidence::as_role(
                &place.role,
                format!("select rolconnlimit from pg_roles where rolname = {}", quote_literal(name)),
                most.to_string(),
            ),
        ],
    })
}

/// The finding that a limit is not what is declared; `set` is what the catalog says, which `who` can ask.
fn judge(
    who: &str,
    name: &str,
    (limit, wanted): (Limit, Duration),
    seen: &limits::Seen,
    set: &limits::Seen,
) -> Option<Finding> {
    let found = seen.get(limit);
    if found == Some(wanted) {
        return None;
    }
    let shown = match found {
        None => "not set for the role".to_owned(),
        Some(Duration::ZERO) => "none".to_owned(),
        Some(found) => format!("{found:?}"),
    };
    let mut evidence = vec![
        Evidence::step(format!("`{limit}` of `roles.{name}`"), format!("{wanted:?}")),
        Evidence::as_role(who, limits::question(name, &[limit]), set.told(&[limit])),
    ];
    if seen.source == limits::Source::Session {
        evidence.push(Evidence::step(format!("a session of `{name}`, show {limit}"), shown.clone()));
    }
    Some(Finding {
        check: Capacity.id().into(),
        class: Class::Mistake,
        // What is not set for the role may be set for the whole server.
        severity: if found.is_some() { Severity::Error } else { Severity::Warning },
        subject: Subject::new("role", name),
        message: format!("`{limit}` of `{name}` is declared as {wanted:?}, and is {shown}"),
        help: format!("`alter role {} set {limit} = '{}ms'`", quote_ident(name), wanted.as_millis()),
        evidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(100, 3, -1, 97)]
    #[case(100, 3, 50, 50)]
    #[case(100, 8, 0, 0)]
    fn what_is_kept_is_nobodys(
        #[case] all: i32,
        #[case] kept: i32,
        #[case] database: i32,
        #[case] free: i32,
    ) {
        assert_eq!(Room { all, kept, database }.free(), free);
    }
}
