//! What a migrated database shows of how it is meant.

use crate::check::{Detected, MAY_BECOME, detected};
use crate::error::{Attempt, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// A role that may do something with the tables: it logs in, or is taken by one that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) logs_in: bool,
    /// Where it does not: those that log in and may become it by SET ROLE.
    pub(super) through: Vec<String>,
    /// In milliseconds, as far as they are set for it.
    pub(super) statement_timeout: Option<i64>,
    pub(super) idle_timeout: Option<i64>,
    /// No policy binds it.
    pub(super) is_free: bool,
    /// It may become the owner of tables.
    pub(super) may_own: bool,
    /// It may do something with tables that have row-level security.
    pub(super) meets_policies: bool,
}

/// A column that many tables have, or that many policies look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) name: String,
    pub(super) tables: i64,
}

/// A table in partitions of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) table: String,
    /// `month`, where all partitions hold as much.
    pub(super) every: Option<String>,
    pub(super) ahead: i64,
    pub(super) behind: i64,
}

/// What a migrated database shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    pub(super) tables: i64,
    pub(super) extensions: Vec<String>,
    pub(super) logins: Vec<Login>,
    /// How many tables have row-level security.
    pub(super) secured: i64,
    /// Of those: the column that most of their policies compare, and the setting.
    pub(super) policy_column: Option<Common>,
    pub(super) policy_setting: Option<String>,
    /// A column that says whose a row is by its name, in most tables that have any such.
    pub(super) named_column: Option<Common>,
    /// Tables that somebody may add to, and nobody who logs in may change.
    pub(super) append_only: Vec<String>,
    pub(super) windows: Vec<Window>,
}

/// Where a project's own tables are, of `pg_class c join pg_namespace n`.
const OWN: &str = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (
    select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')";

/// Roles that services may connect as, or take once they are connected: those that cannot log in count where they have
/// grants of their own, or policies, and nobody who logs in has their privileges anyhow.
const LOGIN: &str = "not r.rolsuper and r.rolname !~ '^pg_' and (r.rolcanlogin or exists (
        select from pg_shdepend s join pg_database b on b.oid = s.dbid and b.datname = current_database()
        where s.refclassid = 'pg_authid'::regclass and s.refobjid = r.oid and s.deptype in ('a', 'r')
            and s.classid in ('pg_class'::regclass, 'pg_policy'::regclass)
    ) and not exists (
        select from pg_roles l where l.rolcanlogin and not l.rolsuper and pg_has_role(l.oid, r.oid, 'usage')
    ))";

/// Those who log in and do not look after the table `c`.
const SERVICE: &str = "r.rolcanlogin and not r.rolsuper and r.rolname !~ '^pg_' and not pg_has_role(r.oid, c.relowner, 'member')";

/// Names of columns that say whose a row is.
const OWNERS: &str = "'tenant_id', 'organization_id', 'organisation_id', 'org_id', 'account_id', 'workspace_id', \
                      'company_id', 'customer_id', 'team_id', 'tenant', 'org'";

impl Schema {
    /// Reads what there is.
    ///
    /// # Errors
    /// The server is lost.
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Schema> {
        let detected = detected(connection, None).await?;
        let mut schema = read(connection, detected)
            .await
            .attempt(ErrorKind::Database, || "failed to look at what the migrations made".into())?;
        schema.append_only.truncate(SHOWN_MAX);
        Ok(schema)
    }
}

/// How many tables one line names.
const SHOWN_MAX: usize = 20;

async fn read(connection: &mut PgConnection, detected: Option<Detected>) -> sqlx::Result<Schema> {
    let own = format!(
        "from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p') and {OWN}"
    );
    let (tables, secured): (i64, i64) = sqlx::query_as(AssertSqlSafe(format!(
        "select (select count(*) {own}), (select count(*) {own} and c.relrowsecurity)"
    )))
    .fetch_one(&mut *connection)
    .await?;
    let extensions =
        sqlx::query_scalar("select extname::text from pg_extension where extname <> 'plpgsql' order by 1")
            .fetch_all(&mut *connection)
            .await?;
    let looked_at = common(
        connection,
        "select a.attname::text, count(distinct c.oid) from pg_policy p join pg_class c on c.oid = p.polrelid
         join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.oid
             and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.refobjsubid > 0
         join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid
         where c.relrowsecurity group by 1 order by a.attname::text = 'id', 2 desc, 1 limit 1",
    )
    .await?;
    let named_column = common(
        connection,
        &format!(
            "select a.attname::text, count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
             join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
             where c.relkind in ('r', 'p') and not c.relispartition and {OWN} and a.attname in ({OWNERS})
             group by 1 order by 2 desc, 1 limit 1"
        ),
    )
    .await?;
    let append_only = sqlx::query_scalar(AssertSqlSafe(format!(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and not c.relispartition and {OWN}
             and exists (select from pg_roles r where {SERVICE} and has_any_column_privilege(r.oid, c.oid, 'insert'))
             and not exists (select from pg_roles r where {SERVICE}
                 and (has_any_column_privilege(r.oid, c.oid, 'update') or has_table_privilege(r.oid, c.oid, 'delete, truncate')))
         order by 1"
    )))
    .fetch_all(&mut *connection)
    .await?;
    let (policy_setting, compared) = match detected {
        Some(Detected { setting, column, tables }) => {
            (Some(setting), column.map(|name| Common { name, tables: tables as i64 }))
        }
        None => (None, None),
    };
    Ok(Schema {
        tables,
        extensions,
        logins: logins(connection).await?,
        secured,
        policy_column: compared.or(looked_at),
        policy_setting,
        named_column,
        append_only,
        windows: windows(connection).await?,
    })
}

async fn common(connection: &mut PgConnection, sql: &str) -> sqlx::Result<Option<Common>> {
    let found: Option<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_optional(connection).await?;
    Ok(found.map(|(name, tables)| Common { name, tables }))
}

async fn logins(connection: &mut PgConnection) -> sqlx::Result<Vec<Login>> {
    let setting = |name: &str| {
        format!(
            "(select case when value ~ '^[0-9]+$' then value::bigint
                          else (extract(epoch from value::interval) * 1000)::bigint end
              from unnest(r.rolconfig) entry
              cross join lateral (select split_part(entry, '=', 2) as value) pair
              where split_part(entry, '=', 1) = '{name}')"
        )
    };
    let any = "has_any_column_privilege(r.oid, c.oid, 'select, insert, update') or has_table_privilege(r.oid, c.oid, 'delete')";
    let sql = format!(
        "select r.rolname::text, {}, {}, r.rolbypassrls,
             exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                 where c.relkind in ('r', 'p') and {OWN} and not (select rolsuper from pg_roles o where o.oid = c.relowner)
                     and pg_has_role(r.oid, c.relowner, 'member')),
             exists (select from pg_class c where c.relrowsecurity and ({any})),
             r.rolcanlogin, case when r.rolcanlogin then '{{}}' else array(
                 select l.rolname::text from pg_roles l where l.rolcanlogin and not l.rolsuper and l.oid <> r.oid
                     and pg_has_role(l.oid, r.oid, {MAY_BECOME}) order by 1) end
         from pg_roles r
         where {LOGIN} and exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p', 'v', 'm') and {OWN}
                 and has_schema_privilege(r.oid, n.oid, 'usage') and ({any})
                 and not exists (select from pg_class p where p.oid = c.oid and p.relacl is null
                     and not pg_has_role(r.oid, p.relowner, 'member')))
         order by 1",
        setting("statement_timeout"),
        setting("idle_in_transaction_session_timeout"),
    );
    let rows = connection.fetch_all(AssertSqlSafe(sql)).await?;
    rows.iter()
        .map(|row| {
            Ok(Login {
                name: row.try_get(0)?,
                statement_timeout: row.try_get(1)?,
                idle_timeout: row.try_get(2)?,
                is_free: row.try_get(3)?,
                may_own: row.try_get(4)?,
                meets_policies: row.try_get(5)?,
                logs_in: row.try_get(6)?,
                through: row.try_get(7)?,
            })
        })
        .collect()
}

async fn windows(connection: &mut PgConnection) -> sqlx::Result<Vec<Window>> {
    let sql = format!(
        "select name, case when count(distinct every) = 1 then min(every) end,
             count(*) filter (where low > now()), count(*) filter (where high <= now())
         from (
             select n.nspname || '.' || c.relname as name, low, high,
                 case when high = low + interval '1 hour' then 'hour' when high = low + interval '1 day' then 'day'
                      when high = low + interval '7 days' then 'week' when high = low + interval '1 month' then 'month'
                      when high = low + interval '3 months' then 'quarter'
                      when high = low + interval '1 year' then 'year' else 'other' end as every
             from pg_partitioned_table t
             join pg_class c on c.oid = t.partrelid join pg_namespace n on n.oid = c.relnamespace
             join pg_attribute a on a.attrelid = c.oid and a.attnum = t.partattrs[0]
             join pg_inherits i on i.inhparent = c.oid join pg_class k on k.oid = i.inhrelid
             cross join lateral regexp_match(pg_get_expr(k.relpartbound, k.oid),
                 'FROM \\(''([^'']+)''\\) TO \\(''([^'']+)''\\)') bound
             cross join lateral (select bound[1]::timestamptz as low, bound[2]::timestamptz as high) span
             where t.partstrat = 'r' and t.partnatts = 1
                 and a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) and {OWN}
         ) spans
         where low is not null group by name order by name"
    );
    let rows: Vec<(String, Option<String>, i64, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(rows
        .into_iter()
        .map(|(table, every, ahead, behind)| {
            let every = every.filter(|every| every != "other");
            Window { table, every, ahead, behind }
        })
        .collect())
}
