//! The scene where each tenant has a schema: databases with tenants, their schemas, their roles, and who becomes them.

use super::probe::Session;
use crate::check::onboarding::{Onboarded, with_two_tenants};
use crate::check::{Context, Verdict, matches};
use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::{Executor, PgConnection};

/// So many tenants of a database are set on one another.
const TENANTS_MAX: usize = 4;

/// A database with tenants.
pub(super) struct Place {
    /// What made the tenants, for transcripts; nothing where migrations and fixtures did.
    pub(super) onboarding: Vec<Evidence>,
    pub(super) db: TestDb,
    pub(super) admin: String,
    pub(super) control: PgConnection,
    pub(super) tenants: Vec<Tenant>,
    /// All schemas of tenants, also of those that are not looked at.
    pub(super) schemas: Vec<String>,
}

/// A tenant with a schema.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) schema: String,
    /// The roles that are this tenant's alone.
    pub(super) roles: Vec<Role>,
    pub(super) tables: Vec<Table>,
}

/// A role of a tenant, and whom to log in as to be it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) name: String,
    /// Itself, or a role that may become it by SET ROLE.
    pub(super) login: Option<String>,
}

/// A table or view of a tenant.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: QualifiedName,
    /// In the server's words.
    pub(super) kind: &'static str,
    /// A column that can be written.
    pub(super) column: Option<String>,
    /// Row-level security is on: that a statement is not refused says nothing.
    pub(super) is_enabled: bool,
}

/// The databases to look at, or why there is none.
///
/// # Errors
/// There is no server, or the tenants cannot be made.
pub(super) async fn places(context: &Context) -> Result<Result<Vec<Place>, Verdict>> {
    let tenancy = context.project().tenancy.as_ref();
    let Some((tenancy, pattern)) = tenancy.and_then(|tenancy| Some((tenancy, tenancy.schemas.as_deref()?)))
    else {
        return Ok(Err(Verdict::skipped("needs `tenancy.schemas`")));
    };
    let mut places = vec![Place::of(context.database().await?, pattern, Vec::new()).await?];
    if let Some(onboard) = &tenancy.onboard {
        let Onboarded { db, calls } = with_two_tenants(context, onboard).await?;
        let admin = db.server().endpoint().role().to_owned();
        let steps = calls.into_iter().map(|call| Evidence::as_role(&admin, call, "a tenant")).collect();
        places.push(Place::of(db, pattern, steps).await?);
    }
    places.retain(|place| place.tenants.len() > 1);
    if places.is_empty() {
        return Ok(Err(Verdict::skipped(format!(
            "there are no two schemas like `{pattern}` (`tenancy.schemas`)"
        ))));
    }
    Ok(Ok(places))
}

impl Place {
    async fn of(db: TestDb, pattern: &str, onboarding: Vec<Evidence>) -> Result<Place> {
        let admin = db.server().endpoint().role().to_owned();
        let mut control = db.connection().await?;
        let all: Vec<String> =
            sqlx::query_scalar("select nspname::text from pg_namespace order by nspname collate \"C\"")
                .fetch_all(&mut control)
                .await
                .attempt(ErrorKind::Database, || "failed to list the schemas".into())?;
        let schemas: Vec<String> = all.into_iter().filter(|schema| matches(pattern, schema)).collect();
        let mut tenants = Vec::new();
        for schema in schemas.iter().take(TENANTS_MAX) {
            let roles = roles(&mut control, schema, &schemas, key(schema, pattern)).await?;
            let tables = tables(&mut control, schema).await?;
            tenants.push(Tenant { schema: schema.clone(), roles, tables });
        }
        Ok(Place { onboarding, db, admin, control, tenants, schemas })
    }

    /// A session as `role`, the way that the project has: as itself, or by SET ROLE; `None` where nobody can be it.
    pub(super) async fn session(&self, role: &Role) -> Result<Option<Session>> {
        let Some(login) = &role.login else { return Ok(None) };
        let mut connection = self.db.connect_as(login).await?;
        for step in role.steps() {
            connection.execute(sqlx::AssertSqlSafe(step)).await?;
        }
        Ok(Some(Session { role: login.clone(), connection, context: None }))
    }

    /// The steps of a transcript: how the tenants came to be, who connects and becomes whom, and `steps`.
    pub(super) fn transcript(&self, role: &Role, steps: Vec<Evidence>) -> Vec<Evidence> {
        let login = role.login.clone().unwrap_or_default();
        let becoming = role.steps().into_iter().map(|step| Evidence::as_role(&login, step, ""));
        self.onboarding.iter().cloned().chain(becoming).chain(steps).collect()
    }

    /// The pairs of different tenants: who attacks, and whom.
    pub(super) fn pairs(&self) -> Vec<(Tenant, Tenant)> {
        let mut pairs = Vec::new();
        for one in &self.tenants {
            for other in self.tenants.iter().filter(|other| other.schema != one.schema) {
                pairs.push((one.clone(), other.clone()));
            }
        }
        pairs
    }

    /// Roles that become tenants and are none themselves, in order.
    pub(super) fn gateways(&self) -> Vec<String> {
        let mut gateways: Vec<String> = self
            .tenants
            .iter()
            .flat_map(|tenant| &tenant.roles)
            .filter_map(|role| role.login.clone().filter(|login| *login != role.name))
            .collect();
        gateways.sort();
        gateways.dedup();
        gateways
    }
}

impl Role {
    /// What a session of the login runs to be the role.
    pub(super) fn steps(&self) -> Vec<String> {
        match &self.login {
            Some(login) if *login != self.name => vec![format!("set role {}", quote_ident(&self.name))],
            _ => Vec::new(),
        }
    }
}

/// What stands for `*` in the pattern.
fn key<'s>(schema: &'s str, pattern: &str) -> &'s str {
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    let rest = schema.strip_prefix(before).unwrap_or(schema);
    rest.strip_suffix(after).unwrap_or(rest)
}

/// The roles that may use `schema`, and are known for its tenant's by their names; or else may use no other tenant's.
async fn roles(
    connection: &mut PgConnection,
    schema: &str,
    schemas: &[String],
    key: &str,
) -> Result<Vec<Role>> {
    let known: Vec<(String, i64, Option<String>)> = sqlx::query_as(
        "select r.rolname::text,
            (select count(*) from unnest($2) other where has_schema_privilege(r.oid, other, 'usage')),
            case when r.rolcanlogin then r.rolname::text else (
                select g.rolname::text from pg_roles g
                where g.rolcanlogin and not g.rolsuper and g.oid <> r.oid and pg_has_role(g.oid, r.oid, 'member')
                order by g.rolname limit 1
            ) end
         from pg_roles r
         where not r.rolsuper and r.rolname !~ '^pg_' and has_schema_privilege(r.oid, $1, 'usage')
         order by r.rolname collate \"C\"",
    )
    .bind(schema)
    .bind(schemas)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to look for the role of schema `{schema}`"))?;
    let named: Vec<_> = known.iter().filter(|(name, ..)| is_named_for(name, key)).collect();
    let alone = known.iter().filter(|(_, count, _)| *count == 1);
    let chosen: Vec<_> = if named.is_empty() { alone.collect() } else { named };
    Ok(chosen.into_iter().map(|(name, _, login)| Role { name: name.clone(), login: login.clone() }).collect())
}

/// Whether `key` is a word of `name`.
fn is_named_for(name: &str, key: &str) -> bool {
    !key.is_empty()
        && name.match_indices(key).any(|(at, _)| {
            let is_part = char::is_alphanumeric;
            !name[..at].chars().next_back().is_some_and(is_part)
                && !name[at + key.len()..].chars().next().is_some_and(is_part)
        })
}

async fn tables(connection: &mut PgConnection, schema: &str) -> Result<Vec<Table>> {
    let rows: Vec<(String, String, Option<String>, bool)> = sqlx::query_as(
        "select c.relname::text, c.relkind::text,
            (select a.attname::text from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                    and a.attidentity <> 'a'
                order by a.attnum limit 1),
            c.relrowsecurity
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm') order by c.relname collate \"C\"",
    )
    .bind(schema)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list the tables of schema `{schema}`"))?;
    let table = |(name, kind, column, is_enabled): (String, String, Option<String>, bool)| Table {
        name: QualifiedName::new(schema, name),
        kind: match kind.as_str() {
            "v" => "view",
            "m" => "materialized view",
            "p" => "partitioned table",
            _ => "table",
        },
        column,
        is_enabled,
    };
    Ok(rows.into_iter().map(table).collect())
}

/// A tenant that could not be tried.
pub(super) fn uncovered(check: &str, tenant: &Tenant, reason: &str) -> Finding {
    Finding {
        check: check.into(),
        class: Class::Uncovered,
        severity: Severity::Note,
        subject: Subject::new("schema", &tenant.schema),
        message: format!("nobody was tried as the tenant of `{}`: {reason}", tenant.schema),
        help: "give each tenant a role of its own, and a login that may become it".into(),
        evidence: vec![Evidence::step(
            format!("looking for the role of `{}`", tenant.schema),
            reason.to_owned(),
        )],
    }
}

/// The subject of a finding about a table of a tenant.
pub(super) fn subject(table: &Table) -> Subject {
    Subject::new(table.kind, table.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("app_tenant_acme", "acme", true)]
    #[case("acme", "acme", true)]
    #[case("acmes", "acme", false)]
    #[case("tenant_b", "a", false)]
    #[case("x", "", false)]
    fn a_role_is_named_for_its_tenant(#[case] role: &str, #[case] key: &str, #[case] expected: bool) {
        assert_eq!(is_named_for(role, key), expected);
    }

    #[test]
    fn the_key_is_what_stands_for_the_star() {
        assert_eq!(key("tenant_acme", "tenant_*"), "acme");
        assert_eq!(key("acme_data", "*_data"), "acme");
        assert_eq!(key("acme", "*"), "acme");
    }
}
