//! Who attacks: the roles that services connect as.

use super::tables::Relation;
use crate::check::Tenancy;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_literal};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;

/// The roles that attack, and those that were named and do not.
#[derive(Debug, Default)]
pub(super) struct Roles {
    pub(super) attackers: Vec<String>,
    /// Of attackers that cannot log in the role that does, and then becomes them.
    pub(super) through: BTreeMap<String, String>,
    /// Those that no policy binds, with the attribute that says so.
    pub(super) free: Vec<(String, &'static str)>,
    /// Those that nobody can be.
    locked_out: Vec<String>,
}

impl Roles {
    /// Whether there is something to say of roles that do not attack.
    pub(super) fn are_any_told_of(&self) -> bool {
        !self.free.is_empty() || !self.locked_out.is_empty()
    }

    /// What is to be said of them.
    pub(super) fn findings(&self, check: &str) -> Vec<Finding> {
        let free = self.free.iter().map(|(role, attribute)| free(check, role, attribute));
        free.chain(self.locked_out.iter().map(|role| locked_out(check, role))).collect()
    }
}

type Facts = (String, bool, bool, bool);

/// The declared roles, or else those that somebody can log in as or become, that are subject to policies and may do
/// something with `relations`.
pub(super) async fn read(
    connection: &mut PgConnection,
    tenancy: &Tenancy,
    relations: &[Relation],
) -> Result<Roles> {
    let known: Vec<Facts> = sqlx::query_as(
        "select rolname::text, rolcanlogin, rolsuper, rolbypassrls from pg_roles
         where rolname !~ '^pg_' order by rolname",
    )
    .fetch_all(&mut *connection)
    .await
    .attempt(ErrorKind::Database, || "failed to list the roles".into())?;
    let mut roles = Roles::default();
    if tenancy.roles.is_empty() {
        let names: Vec<String> = relations.iter().map(|relation| relation.name.sql()).collect();
        for (role, can_log_in, is_super, is_free) in known {
            if is_super || is_free || !may_anything(connection, &role, &names).await? {
                continue;
            }
            if can_log_in {
                roles.attackers.push(role);
            } else if let Some(login) = login_of(connection, &role, true).await? {
                roles.attackers.push(role.clone());
                roles.through.insert(role, login);
            }
        }
        return Ok(roles);
    }
    for wanted in &tenancy.roles {
        let Some((role, can_log_in, is_super, is_free)) = known.iter().find(|(role, ..)| role == wanted)
        else {
            let names: Vec<String> = known.iter().map(|(role, ..)| format!("`{role}`")).collect();
            return Err(Error::usage(format!("there is no role `{wanted}`, which `tenancy.roles` names"))
                .with_help(format!("the roles are {}", names.join(", "))));
        };
        if *is_super || *is_free {
            roles.free.push((role.clone(), if *is_super { "rolsuper" } else { "rolbypassrls" }));
        } else if *can_log_in {
            roles.attackers.push(role.clone());
        } else if let Some(login) = login_of(connection, role, false).await? {
            roles.attackers.push(role.clone());
            roles.through.insert(role.clone(), login);
        } else {
            roles.locked_out.push(role.clone());
        }
    }
    roles.attackers.sort();
    roles.attackers.dedup();
    Ok(roles)
}

/// A role that logs in and may become `role`; with `is_apart` none that has its privileges anyhow.
async fn login_of(connection: &mut PgConnection, role: &str, is_apart: bool) -> Result<Option<String>> {
    sqlx::query_scalar(AssertSqlSafe(format!(
        "select l.rolname::text from pg_roles l
         where l.rolcanlogin and not l.rolsuper and l.rolname <> $1::name and pg_has_role(l.oid, $1::name, {MAY_BECOME})
             and not ($2 and pg_has_role(l.oid, $1::name, 'usage'))
         order by l.rolname limit 1"
    )))
    .bind(role)
    .bind(is_apart)
    .fetch_optional(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to look for members of `{role}`"))
}

/// The privilege on a role that SET ROLE asks for: one of its own since 16.
pub(crate) const MAY_BECOME: &str =
    "case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end";

async fn may_anything(connection: &mut PgConnection, role: &str, names: &[String]) -> Result<bool> {
    sqlx::query_scalar(
        "select exists (
            select from unnest($2) as name
            join pg_class c on c.oid = name::regclass
            where has_schema_privilege($1::name, c.relnamespace, 'usage')
                and (has_any_column_privilege($1::name, c.oid, 'select, insert, update')
                    or has_table_privilege($1::name, c.oid, 'delete')))",
    )
    .bind(role)
    .bind(names)
    .fetch_one(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to read the privileges of `{role}`"))
}

fn free(check: &str, role: &str, attribute: &str) -> Finding {
    Finding {
        check: check.into(),
        class: Class::Mistake,
        severity: Severity::Error,
        subject: Subject::new("role", role),
        message: format!("no policy binds `{role}`: it reads and writes the rows of all tenants"),
        help: "take SUPERUSER and BYPASSRLS from roles that services connect as".into(),
        evidence: vec![Evidence::as_role(
            role,
            format!("select {attribute} from pg_roles where rolname = {}", quote_literal(role)),
            "true",
        )],
    }
}

fn locked_out(check: &str, role: &str) -> Finding {
    Finding {
        check: check.into(),
        class: Class::Uncovered,
        severity: Severity::Note,
        subject: Subject::new("role", role),
        message: format!("`{role}` cannot log in, and so was not tried"),
        help: "name the roles that services connect as in `tenancy.roles`".into(),
        evidence: vec![Evidence::as_role(
            role,
            format!("select rolcanlogin from pg_roles where rolname = {}", quote_literal(role)),
            "false",
        )],
    }
}

/// As people write several roles: "`a`, `b` and `c`".
pub(in crate::check) fn listed(roles: &[String]) -> String {
    let quoted: Vec<String> = roles.iter().map(|role| format!("`{role}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// What so many do, told of one of them: "reads rows" of one, "read rows" of several.
pub(in crate::check) fn done_by(roles: &[String], what: &str) -> String {
    if roles.len() == 1 {
        return what.to_owned();
    }
    let (verb, rest) = what.split_once(' ').map_or((what, ""), |(verb, _)| (verb, &what[verb.len()..]));
    let verb = match verb {
        "is" => "are",
        "has" => "have",
        "does" => "do",
        "copies" => "copy",
        _ => verb.strip_suffix('s').unwrap_or(verb),
    };
    format!("{verb}{}", rest.replace(" its ", " their "))
}

/// Joins what is equal: the names in order, and what they have in common.
pub(in crate::check) fn grouped<T: PartialEq>(each: Vec<(String, T)>) -> Vec<(Vec<String>, T)> {
    let mut groups: Vec<(Vec<String>, T)> = Vec::new();
    for (role, what) in each {
        match groups.iter_mut().find(|(_, known)| *known == what) {
            Some((roles, _)) => roles.push(role),
            None => groups.push((vec![role], what)),
        }
    }
    groups
}

/// The subject of a finding about `relation`.
pub(super) fn subject(kind: &str, name: &QualifiedName) -> Subject {
    Subject::new(kind, name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_with_the_same_outcome_are_named_together() {
        let each = [("a", 1), ("b", 2), ("c", 1)].map(|(role, what)| (role.to_owned(), what));
        let groups = grouped(each.to_vec());
        assert_eq!(listed(&groups[0].0), "`a` and `c`");
        assert_eq!(listed(&groups[1].0), "`b`");
        assert_eq!(done_by(&groups[1].0, "changes its rows"), "changes its rows");
        for (one, several) in [
            ("truncates `x`: all are gone", "truncate `x`: all are gone"),
            ("moves its rows to another tenant", "move their rows to another tenant"),
            ("is shown no row, not even its own", "are shown no row, not even their own"),
            ("copies out", "copy out"),
            ("reads", "read"),
        ] {
            assert_eq!(done_by(&groups[0].0, one), several);
        }
        assert_eq!(listed(&["a", "b", "c"].map(String::from)), "`a`, `b` and `c`");
    }
}
