//! Looks at a database whose test has ended: who is in it, and whether it is like its template beside its contents.

use crate::error::Result;
use crate::ident::quote_ident;
use crate::postgres::Lsn;
use crate::server::Server;
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// What the look shows.
pub(super) struct Verdict {
    /// Whether it has what its template has, beside its contents.
    pub(super) is_alike: bool,
    /// The log is written up to here, and whatever happened in the database is before it.
    pub(super) end: Lsn,
}

/// Those that are in the database $1, or may come back to it. The views would join catalogs that nobody asks for.
const SESSIONS: &str = "select pg_stat_get_db_numbackends($1)
                             + (select count(*) from pg_prepared_xact() where dbid = $1)";

/// The database is $1, its template $2. The commit waits for the log to be written, as it would not do for a
/// transaction that wrote nothing.
const LOOK: &str = "
      select count(*) = 2 and count(distinct facts.*) = 1
               and bool_and(datname <> $1 or datallowconn and not datistemplate and datconnlimit = -1
                 and starts_with(shobj_description(oid, 'pg_database'), 'pgharness ')) as is_alike,
             pg_current_wal_insert_lsn()::text as place, pg_logical_emit_message(true, 'pgharness', '')::text
      from pg_database d
      cross join lateral (select datdba, encoding, dattablespace,
        (select array_agg(a::text order by a::text) from unnest(coalesce(datacl, acldefault('d', datdba))) a),
        (select array_agg(s.setrole || ' ' || s.setconfig::text order by s.setrole) from pg_db_role_setting s
         where s.setdatabase = d.oid),
        (select array_agg(l.provider || ' ' || l.label order by l.provider) from pg_shseclabel l
         where l.objoid = d.oid and l.classoid = 'pg_database'::regclass),
        (select count(*) from pg_subscription where subdbid = d.oid),
        (select count(*) from pg_get_replication_slots() where datoid = d.oid)) facts
      where datname in ($1, $2)";

/// Looks at databases of one server, by a connection that stays open for it.
#[derive(Default)]
pub(super) struct Looker {
    connection: tokio::sync::Mutex<Option<PgConnection>>,
}

impl Looker {
    /// How many sessions and prepared transactions there are in the database with this object id.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn sessions(&self, server: &Server, database: u32) -> Result<i64> {
        self.with(server, async |connection| {
            Ok(sqlx::query_scalar(SESSIONS).bind(Oid(database)).fetch_one(connection).await?)
        })
        .await
    }

    /// Gives a database in which nobody is another name.
    ///
    /// # Errors
    /// Somebody is in it, or it is gone.
    pub(super) async fn rename(&self, server: &Server, from: &str, to: &str) -> Result<()> {
        let sql = format!("alter database {} rename to {}", quote_ident(from), quote_ident(to));
        self.with(server, async |connection| {
            connection.execute(AssertSqlSafe(sql.as_str())).await?;
            Ok(())
        })
        .await
    }

    /// Looks at the database `name`, which was cloned from `template` and which nobody can get into.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn look(&self, server: &Server, name: &str, template: &str) -> Result<Verdict> {
        self.with(server, async |connection| {
            let row = sqlx::query(LOOK).bind(name).bind(template).fetch_one(connection).await?;
            Ok(Verdict { is_alike: row.try_get("is_alike")?, end: Lsn::parse(row.try_get("place")?)? })
        })
        .await
    }

    /// The server is another one.
    pub(super) async fn forget_server(&self) {
        self.connection.lock().await.take();
    }

    /// Works with the connection; after an error the next one gets another.
    async fn with<T>(
        &self,
        server: &Server,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    ) -> Result<T> {
        let mut slot = self.connection.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => server.control().await?,
        };
        let done = work(&mut connection).await?;
        *slot = Some(connection);
        Ok(done)
    }
}
