//! What the migrations make, as far as they can be applied.

use super::lacking::Lacking;
use super::schema::Schema;
use crate::check::{Context, measured_matrix};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::quote_ident;
use crate::suite::Config;
use sqlx::Connection;
use std::fs;
use std::path::Path;

/// So many roles are made up for migrations that name them, at most.
const ROLES_MAX: usize = 20;

/// What the migrations made.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Nothing where they could not be applied.
    pub(super) schema: Option<Schema>,
    /// What roles may do there, as lines of `[access.matrix]`.
    pub(super) matrix: String,
    /// Why they could not.
    pub(super) failure: Option<String>,
    /// The schema that they ask for and nobody makes, where that is why.
    pub(super) lacking: Option<Lacking>,
    /// Roles that they name and nobody creates.
    pub(super) roles: Vec<String>,
    /// Why the seed data could not be loaded.
    pub(super) fixtures: Option<String>,
    /// Why no server of the version that a file names could be had.
    pub(super) version: Option<String>,
}

impl Growth {
    /// Builds the project's database as `config` says, and with less where that fails; its migrations lie in `dir`.
    ///
    /// # Errors
    /// A file of ours cannot be written.
    pub(super) async fn of(mut config: Config, dir: Option<&Path>) -> Result<Growth> {
        let mut growth = Growth::default();
        if !config.project()?.has_migrations() {
            return Ok(growth);
        }
        let scratch = tempfile::tempdir()
            .attempt(ErrorKind::Environment, || "failed to create a folder for roles".into())?;
        let roles = scratch.path().join("roles.sql");
        let failure = loop {
            let context = Context::new(config.project()?).with_server(config.server()?);
            let failure = match context.database().await {
                Ok(db) => {
                    let mut connection = db.connection().await?;
                    growth.schema = Some(Schema::read(&mut connection).await?);
                    let _ = connection.close().await;
                    growth.matrix = measured_matrix(&context).await?;
                    return Ok(growth);
                }
                Err(failure) => failure,
            };
            let told = failure.report();
            match missing_role(&told) {
                Some(role) if growth.roles.len() < ROLES_MAX && !growth.roles.contains(&role) => {
                    growth.roles.push(role);
                    let sql = roles_sql(&growth.roles);
                    fs::write(&roles, sql)
                        .attempt(ErrorKind::Environment, || "failed to write a file of roles".into())?;
                    if !config.postgres.bootstrap.contains(&roles) {
                        config.postgres.bootstrap.push(roles.clone());
                    }
                }
                _ if failure.kind() == ErrorKind::Environment && config.postgres.version.is_some() => {
                    config.postgres.version = None;
                    growth.version = Some(told);
                }
                _ if !config.fixtures.files.is_empty() => {
                    config.fixtures.files.clear();
                    growth.fixtures = Some(told);
                }
                _ => break failure,
            }
        };
        // They were not to blame.
        growth.fixtures = None;
        let told = failure.report();
        growth.lacking = dir.and_then(|dir| Lacking::of(&told, dir));
        growth.failure = Some(told);
        Ok(growth)
    }
}

/// What creates these roles: nobody can log in as them.
pub(super) fn roles_sql(roles: &[String]) -> String {
    roles.iter().map(|role| format!("create role {};\n", quote_ident(role))).collect()
}

/// The role that a statement, or a program, found to be missing.
fn missing_role(told: &str) -> Option<String> {
    told.match_indices("role \"").find_map(|(at, start)| {
        let rest = &told[at + start.len()..];
        let (name, rest) = rest.split_once('"')?;
        rest.starts_with(" does not exist").then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("failed\n  caused by: role \"web app\" does not exist", Some("web app"))]
    #[case("role \"a\" is not permitted to log in; role \"b\" does not exist", Some("b"))]
    #[case("relation \"a\" does not exist", None)]
    fn a_missing_role_is_named(#[case] told: &str, #[case] expect: Option<&str>) {
        assert_eq!(missing_role(told).as_deref(), expect);
    }
}
