//! Which roles a role has the privileges of, or may become.

use super::roles::MAY_BECOME;
use crate::error::{Attempt, ErrorKind, Result};
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// That one role can act as another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) role: String,
    pub(super) other: String,
    /// It has the other's privileges without doing anything.
    pub(super) inherits: bool,
    /// It may say SET ROLE.
    pub(super) may_become: bool,
    /// The other is a superuser.
    pub(super) is_super: bool,
    /// No policy binds the other.
    pub(super) is_free: bool,
}

impl Reach {
    /// What the role says first to act as the other: with its semicolon, or nothing.
    pub(super) fn opening(&self) -> String {
        if self.inherits {
            return String::new();
        }
        format!("set local role {}; ", crate::ident::quote_ident(&self.other))
    }
}

/// Which roles `roles` reach, in order; themselves not counted.
pub(super) async fn reached(connection: &mut PgConnection, roles: &[String]) -> Result<Vec<Reach>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "select r.rolname::text as role, o.rolname::text as other, pg_has_role(r.oid, o.oid, 'usage') as inherits,
            pg_has_role(r.oid, o.oid, {MAY_BECOME}) as may_become, o.rolsuper, o.rolsuper or o.rolbypassrls as is_free
         from pg_roles r cross join pg_roles o
         where r.rolname = any ($1) and r.oid <> o.oid and not r.rolsuper
             and (pg_has_role(r.oid, o.oid, 'usage') or pg_has_role(r.oid, o.oid, {MAY_BECOME}))"
    )))
    .bind(roles)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || "failed to read which roles are members of which".into())?;
    let mut reached = Vec::new();
    for row in rows {
        reached.push(Reach {
            role: row.try_get("role")?,
            other: row.try_get("other")?,
            inherits: row.try_get("inherits")?,
            may_become: row.try_get("may_become")?,
            is_super: row.try_get("rolsuper")?,
            is_free: row.try_get("is_free")?,
        });
    }
    reached.sort_by(|one, other| (&one.role, &one.other).cmp(&(&other.role, &other.other)));
    Ok(reached)
}

/// The roles that can log in, apart from superusers and those that no policy binds: who may own tables.
pub(super) async fn logins(connection: &mut PgConnection) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select rolname::text from pg_roles
         where rolcanlogin and not rolsuper and not rolbypassrls and rolname !~ '^pg_' order by 1",
    )
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || "failed to list the roles".into())
}

/// How `role` acts as `owner`: as itself, as a member, or not at all.
pub(super) fn way_to(reached: &[Reach], role: &str, owner: &str) -> Option<String> {
    if role == owner {
        return Some(String::new());
    }
    reached.iter().find(|reach| reach.role == role && reach.other == owner).map(Reach::opening)
}
