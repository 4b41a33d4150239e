//! What lies in the database and is not modelled: reported, never ignored.

use crate::catalog::object::Unmodelled;
use crate::error::{Attempt, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

/// Objects of known kinds that the model does not hold.
const KNOWN: &str = r#"
    with member as materialized (select classid, objid from pg_depend where deptype = 'e')
    select kind, name
    from (
        select 'type of kind ' || t.typtype::text, t.oid, 'pg_type'::regclass::oid, n.nspname || '.' || t.typname
        from pg_type t join pg_namespace n on n.oid = t.typnamespace
        where t.typtype not in ('b', 'c', 'd', 'e', 'r', 'm')
          and t.typisdefined
          and n.nspname !~ '^pg_t'
        union all
        select 'relation of kind ' || c.relkind::text, c.oid, 'pg_class'::regclass, n.nspname || '.' || c.relname
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind not in ('r', 'p', 'f', 'v', 'm', 'S', 'c', 'i', 'I', 't')
          and n.nspname !~ '^pg_t'
    ) as found(kind, oid, class, name)
    where found.oid >= 16384
      and not exists (select from member e where e.classid = found.class and e.objid = found.oid)
    union all
    select 'large objects', count(*)::text
    from pg_largeobject_metadata
    having count(*) > 0"#;

/// The server's own catalogs that hold objects with an OID and that the families or the query above read, or
/// that belong to the whole cluster.
const CATALOGS: &[&str] = &[
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_authid",
    "pg_auth_members",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_database",
    "pg_default_acl",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_language",
    "pg_largeobject_metadata",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_parameter_acl",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_statistic_ext",
    "pg_subscription",
    "pg_tablespace",
    "pg_transform",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
    "pg_user_mapping",
];

/// Catalogs that a newer server has and this list does not.
const UNKNOWN: &str = r#"
    select c.relname::text as name, has_table_privilege(c.oid, 'select') as is_readable
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'pg_catalog'
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'oid' and a.atttypid = 'oid'::regtype
    where c.relkind = 'r' and c.relname <> all ($1)"#;

pub(super) async fn read(connection: &mut PgConnection) -> Result<Vec<Unmodelled>> {
    let failed = || "failed to look for objects that the catalog's model does not hold".to_owned();
    let mut found = Vec::new();
    for row in sqlx::query(KNOWN)
        .persistent(false)
        .fetch_all(&mut *connection)
        .await
        .attempt(ErrorKind::Database, failed)?
    {
        found.push(Unmodelled { kind: row.try_get("kind")?, name: row.try_get("name")? });
    }
    let unknown = sqlx::query(UNKNOWN)
        .persistent(false)
        .bind(CATALOGS)
        .fetch_all(&mut *connection)
        .await
        .attempt(ErrorKind::Database, failed)?;
    for row in unknown {
        let name: String = row.try_get("name")?;
        let kind = format!("row of {name}");
        if !row.try_get("is_readable")? {
            found.push(Unmodelled { kind, name: "(may not be read)".into() });
            continue;
        }
        let sql = format!(
            "select count(*) from pg_catalog.{} where oid >= 16384",
            crate::ident::quote_ident(&name)
        );
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_one(&mut *connection)
            .await
            .attempt(ErrorKind::Database, failed)?;
        if count > 0 {
            found.push(Unmodelled { kind, name: count.to_string() });
        }
    }
    Ok(found)
}
