//! The roles whose reach is looked at.

use crate::check::Project;
use crate::database::TestDb;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::quote_ident;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::collections::BTreeSet;

/// A role, as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) can_log_in: bool,
    pub(super) is_super: bool,
}

/// The server's roles, without its own, by name.
pub(super) async fn known(control: &mut PgConnection) -> Result<Vec<Role>> {
    let rows: Vec<(String, bool, bool)> = sqlx::query_as(
        "select rolname::text, rolcanlogin, rolsuper from pg_catalog.pg_roles
         where rolname !~ '^pg_' order by rolname collate \"C\"",
    )
    .fetch_all(control)
    .await
    .attempt(ErrorKind::Database, || "failed to list the roles".into())?;
    Ok(rows.into_iter().map(|(name, can_log_in, is_super)| Role { name, can_log_in, is_super }).collect())
}

/// The roles that a project's services connect as, as it declares them: not the one that migrates.
pub(super) fn services(project: &Project) -> BTreeSet<&str> {
    let of_tenancy = project.tenancy.iter().flat_map(|tenancy| &tenancy.roles);
    let declared = project.roles.keys().chain(of_tenancy).chain(project.access.matrix.keys());
    let migrator = project.migrations.migrator_role.as_deref();
    declared.map(String::as_str).filter(|role| Some(*role) != migrator).collect()
}

/// Those of `known` that `wanted` names.
///
/// # Errors
/// One does not exist.
pub(super) fn named<'a>(known: &[Role], wanted: impl IntoIterator<Item = &'a str>) -> Result<Vec<Role>> {
    wanted
        .into_iter()
        .map(|wanted| {
            known.iter().find(|role| role.name == wanted).cloned().ok_or_else(|| {
                let names: Vec<String> = known.iter().map(|role| format!("`{}`", role.name)).collect();
                Error::usage(format!("there is no role `{wanted}`, which `pgharness.toml` names"))
                    .with_help(format!("the roles are {}", names.join(", ")))
            })
        })
        .collect()
}

/// The roles that log in and are bound by privileges; what the project declares, if it does.
///
/// # Errors
/// A declared role does not exist.
pub(super) async fn bound(control: &mut PgConnection, project: &Project) -> Result<Vec<Role>> {
    let known = known(control).await?;
    let services = services(project);
    let roles = if services.is_empty() { known } else { named(&known, services)? };
    let migrator = project.migrations.migrator_role.as_deref();
    let is_bound = |role: &Role| !role.is_super && role.can_log_in && Some(role.name.as_str()) != migrator;
    Ok(roles.into_iter().filter(is_bound).collect())
}

/// A session of `role`: by logging in, and where that cannot be, as it is for the server afterwards.
pub(super) async fn session(db: &TestDb, role: &Role) -> Result<PgConnection> {
    if role.can_log_in {
        return db.connect_as(&role.name).await;
    }
    let mut connection = db.connection().await?;
    let become_it = format!("set session authorization {}", quote_ident(&role.name));
    connection.execute(AssertSqlSafe(become_it)).await?;
    Ok(connection)
}
