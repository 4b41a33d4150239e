//! The reference data layer as code under test: it must satisfy the contracts, and shows how to plug in.

use super::seam::{Answer, BoxFuture, ErrorMap, Failure, Transactions, Work};
use crate::runtime::{DataError, Isolation, TransactionOptions, with_transaction};
use sqlx::PgPool;

/// [`crate::runtime`] behind the seams.
#[derive(Clone, Debug)]
pub struct Reference {
    pool: PgPool,
}

impl Reference {
    /// On this pool.
    pub fn new(pool: PgPool) -> Self {
        Reference { pool }
    }
}

impl Transactions for Reference {
    fn transaction<'a>(
        &'a self,
        isolation: Isolation,
        work: &'a Work<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let options = TransactionOptions { isolation, ..TransactionOptions::default() };
        Box::pin(with_transaction(&self.pool, options, async |mut tx| work(&mut *tx).await))
    }
}

impl ErrorMap for Reference {
    fn map(&self, error: sqlx::Error) -> Answer {
        let error = DataError::from(error);
        Answer { status: error.status(), body: error.to_string(), log: format!("{error:?}") }
    }
}
