//! The tables that are the project's own.

use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::QualifiedName;
use sqlx::{AssertSqlSafe, PgConnection};

/// A table that is no partition and comes with no extension.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: QualifiedName,
    pub(super) has_primary_key: bool,
    pub(super) is_foreign: bool,
}

/// A column of such a table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) table: QualifiedName,
    pub(super) name: String,
    /// As SQL writes it: `character varying(255)`.
    pub(super) type_name: String,
    pub(super) is_nullable: bool,
    /// Its default, as SQL writes it.
    pub(super) default: Option<String>,
    /// It owns the sequence of its default.
    pub(super) is_serial: bool,
}

/// A column, as the server lists it.
type Row = (String, String, String, String, bool, Option<String>, bool);

const NOT_OF_AN_EXTENSION: &str = "not exists (select from pg_catalog.pg_depend d
    where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')";

/// The tables, in the order of their names.
///
/// # Errors
/// The server is lost.
pub(super) async fn read(control: &mut PgConnection) -> Result<Vec<Table>> {
    let sql = format!(
        "select n.nspname::text, c.relname::text,
            exists (select from pg_catalog.pg_constraint k where k.conrelid = c.oid and k.contype = 'p'), c.relkind = 'f'
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'f') and not c.relispartition and c.oid >= 16384 and n.nspname !~ '^pg_'
            and n.nspname <> 'information_schema' and {NOT_OF_AN_EXTENSION}
         order by n.nspname collate \"C\", c.relname collate \"C\""
    );
    let rows: Vec<(String, String, bool, bool)> = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(control)
        .await
        .attempt(ErrorKind::Database, || "failed to list the tables".into())?;
    let table = |(schema, name, has_primary_key, is_foreign): (String, String, bool, bool)| Table {
        name: QualifiedName::new(schema, name),
        has_primary_key,
        is_foreign,
    };
    Ok(rows.into_iter().map(table).collect())
}

/// Their columns, in the order of the tables and of their places.
///
/// # Errors
/// The server is lost.
pub(super) async fn columns(control: &mut PgConnection) -> Result<Vec<Column>> {
    let sql = format!(
        "select n.nspname::text, c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
            not a.attnotnull, pg_catalog.pg_get_expr(f.adbin, f.adrelid),
            exists (select from pg_catalog.pg_depend s join pg_catalog.pg_class q on q.oid = s.objid and q.relkind = 'S'
                where s.refclassid = 'pg_catalog.pg_class'::regclass and s.refobjid = c.oid and s.refobjsubid = a.attnum
                    and s.deptype = 'a')
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         left join pg_catalog.pg_attrdef f on f.adrelid = c.oid and f.adnum = a.attnum
         where c.relkind in ('r', 'p') and not c.relispartition and c.oid >= 16384 and n.nspname !~ '^pg_'
            and n.nspname <> 'information_schema' and {NOT_OF_AN_EXTENSION}
         order by n.nspname collate \"C\", c.relname collate \"C\", a.attnum"
    );
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(control)
        .await
        .attempt(ErrorKind::Database, || "failed to list the columns".into())?;
    let column = |(schema, table, name, type_name, is_nullable, default, is_serial): Row| Column {
        table: QualifiedName::new(schema, table),
        name,
        type_name,
        is_nullable,
        default,
        is_serial,
    };
    Ok(rows.into_iter().map(column).collect())
}
