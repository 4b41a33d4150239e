//! A role without a grant: what it can do, PUBLIC can do.

use crate::database::TestDb;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::quote_ident;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// A role that exists within one transaction only, and so for nobody else.
pub(super) struct Nobody {
    pub(super) name: String,
}

impl Nobody {
    /// Begins a transaction of `control`, a superuser's, and creates the role in it.
    ///
    /// # Errors
    /// The server is lost, or it refuses.
    pub(super) async fn create(control: &mut PgConnection, db: &TestDb) -> Result<Nobody> {
        // Two transactions that create a role of one name would wait for each other.
        let tail: String = db.name().chars().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect();
        let nobody = Nobody { name: format!("pgharness_nobody_{tail}") };
        let sql = format!("begin; create role {}", quote_ident(&nobody.name));
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(control)
            .await
            .attempt(ErrorKind::Database, || "failed to create a role without a grant".into())?;
        Ok(nobody)
    }

    /// What the session is from here on, until it is reset.
    pub(super) fn authorization(&self) -> String {
        format!("set local session authorization {}", quote_ident(&self.name))
    }

    /// Ends the transaction, and the role.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn vanish(self, control: &mut PgConnection) -> Result<()> {
        control.execute("rollback").await?;
        Ok(())
    }
}
