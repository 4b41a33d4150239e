//! Tenants made by the project's own procedure.

use super::Context;
use super::migrator::Migrator;
use crate::database::TestDb;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::ident::quote_literal;
use sqlx::AssertSqlSafe;

/// What two tenants may be called: words, numbers or UUIDs, whichever the procedure takes.
const KEYS: [[&str; 2]; 3] = [
    ["harnessone", "harnesstwo"],
    ["1000001", "1000002"],
    ["a0000000-0000-4000-8000-000000000000", "b0000000-0000-4000-8000-000000000000"],
];

/// The statements that make two tenants by `onboard`, for each way in which a procedure may want them called.
pub(super) fn calls(onboard: &str) -> impl Iterator<Item = Vec<String>> {
    KEYS.iter().map(move |keys| keys.iter().map(|key| onboard.replace("$1", &quote_literal(key))).collect())
}

/// A database in which two tenants were made, and the statements that made them.
#[derive(Debug)]
pub(super) struct Onboarded {
    pub(super) db: TestDb,
    pub(super) calls: Vec<String>,
}

/// A migrated database of its own, in which two tenants were made by `tenancy.onboard`: roles may come with them, which
/// all databases of a server share.
///
/// # Errors
/// The migrations fail, or the procedure refuses whatever tenants are called; the error is that of words.
pub(super) async fn with_two_tenants(context: &Context, onboard: &str) -> Result<Onboarded> {
    let migrator = Migrator::of(context.project())?;
    let db = context.vacant().await?;
    migrator.apply(&db).await?;
    let mut connection = db.connection().await?;
    let mut first: Option<Error> = None;
    for calls in calls(onboard) {
        // Both or none: several statements are one transaction.
        let called = sqlx::raw_sql(AssertSqlSafe(calls.join("; ")))
            .execute(&mut connection)
            .await
            .attempt(ErrorKind::Database, || format!("failed to create a tenant by `{onboard}`"));
        match called {
            Ok(_) => return Ok(Onboarded { db, calls }),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| Error::usage("`tenancy.onboard` was not tried")))
}
