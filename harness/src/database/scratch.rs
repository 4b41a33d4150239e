//! A transaction that is always rolled back.

use crate::error::Result;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use std::ops::{Deref, DerefMut};

/// A transaction that nobody can commit; use it as a connection (`&mut *scratch`).
#[derive(Debug)]
pub struct Scratch(Transaction<'static, Postgres>);

impl Scratch {
    pub(super) async fn begin(pool: PgPool) -> Result<Scratch> {
        Ok(Scratch(pool.begin().await?))
    }

    /// Rolls back now, and tells if that fails. Dropping it rolls back too, before the connection's next use.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn rollback(self) -> Result<()> {
        Ok(self.0.rollback().await?)
    }
}

impl Deref for Scratch {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
