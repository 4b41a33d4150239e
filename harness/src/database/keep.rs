//! Databases that are kept after their test, so that one can look into them.

use super::keepsake::{self, Keepsake};
use super::name::PREFIX;
use crate::env;
use crate::error::{Error, Result};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Server;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::time::{Duration, SystemTime};

/// Which databases are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Those of tests that panicked.
    #[default]
    Failed,
    /// All.
    Always,
    /// None.
    Never,
}

/// So many kept databases stay on a server; beyond that the oldest go.
pub(super) const KEPT_MAX: usize = 20;

impl Keep {
    /// What `PGHARNESS_KEEP` says.
    ///
    /// # Errors
    /// It has a value that it cannot have.
    pub(crate) fn from_env() -> Result<Keep> {
        match env::KEEP.text().as_deref() {
            None | Some("failed") => Ok(Keep::Failed),
            Some("always") => Ok(Keep::Always),
            Some("never") => Ok(Keep::Never),
            Some(other) => Err(Error::usage(format!("unknown value `{other}` of {}", env::KEEP.name))
                .with_help("known ones: failed, always, never")),
        }
    }
}

/// The comment on a database in use: whose it is, and whether it is kept. It is written with the claim, so
/// that a kept database needs no rename, which would wait for its sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The test that it was made for.
    pub test: String,
    /// When it was kept, in milliseconds since 1970; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
}

impl Kept {
    /// Reads the comment of a database.
    pub(crate) fn parse(comment: &str) -> Option<Kept> {
        serde_json::from_str(comment.strip_prefix("pgharness ")?).ok()
    }

    /// The statement that writes the comment.
    pub(crate) fn sql(&self, database: &str) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!(
            "comment on database {} is {}",
            quote_ident(database),
            quote_literal(&format!("pgharness {json}"))
        )
    }

    /// The databases that are kept on `server`, by name, the latest first.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn all(server: &Server) -> Result<Vec<(String, Kept)>> {
        let mut control = server.connect(server.endpoint().maintenance_database()).await?;
        let all = Kept::list(&mut control).await?;
        let _ = control.close().await;
        Ok(all)
    }

    /// As [`all`](Kept::all), on a connection that is there.
    pub(super) async fn list(control: &mut PgConnection) -> Result<Vec<(String, Kept)>> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select datname::text, coalesce(shobj_description(oid, 'pg_database'), '')
             from pg_database where starts_with(datname::text, $1) order by oid desc",
        )
        .bind(PREFIX)
        .fetch_all(control)
        .await?;
        let kept = |(name, comment): (String, String)| {
            let kept = Kept::parse(&comment).filter(|kept| kept.since_ms.is_some())?;
            Some((name, kept))
        };
        Ok(rows.into_iter().filter_map(kept).collect())
    }

    /// Marks `database` as kept from now on. It takes the place of the oldest one if there are too many: a run
    /// in which everything fails would otherwise leave more than a server's data may grow to.
    ///
    /// # Errors
    /// The server refuses, or the note on it cannot be written.
    pub(super) async fn mark(
        server: &Server,
        control: &mut PgConnection,
        database: &str,
        test: &str,
    ) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis());
        let kept = Kept { test: test.to_owned(), since_ms: u64::try_from(now).ok() };
        control.execute(AssertSqlSafe(kept.sql(database))).await?;
        Keepsake::note(server, database, kept)?;
        keepsake::limit(server, control, Some(database)).await
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(self.since_ms.unwrap_or_default());
        SystemTime::now().duration_since(since).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_is_read_back() {
        let kept = Kept { test: "it::works 'as' it should".into(), since_ms: Some(7) };
        let sql = kept.sql("d");
        assert_eq!(
            sql,
            "comment on database \"d\" is 'pgharness {\"test\":\"it::works ''as'' it should\",\"since_ms\":7}'"
        );
        assert_eq!(
            Kept::parse("pgharness {\"test\":\"it::works 'as' it should\",\"since_ms\":7}"),
            Some(kept)
        );
        assert_eq!(Kept::parse("the billing database"), None);
    }
}
