//! Which relations hold rows of tenants.

use crate::check::{Tenancy, matches};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// A relation with the tenant's column. Partitions and inheritance children are relations of their own: a policy
/// of the parent does not bind who reads them directly.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) name: QualifiedName,
    /// In the server's words.
    pub(super) kind: &'static str,
    /// The tenant's column, quoted.
    pub(super) column: String,
    pub(super) is_nullable: bool,
    pub(super) category: String,
    pub(super) type_name: String,
    /// The column refers to a table of tenants.
    pub(super) is_reference: bool,
    /// The column is what others refer to: this is a table of tenants, and its rows are told apart by their key.
    pub(super) is_of_tenants: bool,
    /// What it is a partition of, or else inherits from, up to the root.
    pub(super) ancestors: Vec<QualifiedName>,
    /// What a view shows rows of.
    pub(super) shows: Vec<QualifiedName>,
    /// Row-level security is enabled.
    pub(super) is_enabled: bool,
    /// It binds the owner too.
    pub(super) is_forced: bool,
    pub(super) owner: String,
    /// Who may read at least a column of it.
    pub(super) readers: BTreeSet<String>,
    /// Who may insert, and into which columns.
    pub(super) writers: BTreeMap<String, BTreeSet<String>>,
}

impl Relation {
    /// Whether rows are kept here, and not shown from elsewhere.
    pub(super) fn is_store(&self) -> bool {
        matches!(self.kind, "table" | "partition" | "partitioned table")
    }

    /// Whether rows are kept here under row-level security.
    pub(super) fn is_guarded(&self) -> bool {
        self.is_store() && self.is_enabled
    }

    /// Whether the column is text, which has an empty value.
    pub(super) fn is_text(&self) -> bool {
        self.category == "S"
    }

    /// The rows that are its own: not those of children that inherit from it.
    pub(super) fn own_rows(&self) -> String {
        let only = if self.kind == "table" { "only " } else { "" };
        format!("{only}{}", self.name.sql())
    }
}

const TENANT_RELATIONS: &str = "
    with recursive up as (
        select inhrelid as child, inhparent as ancestor, 1 as level from pg_inherits
        union all
        select up.child, i.inhparent, up.level + 1 from up join pg_inherits i on i.inhrelid = up.ancestor
    ),
    shown as (
        select distinct w.ev_class as view, d.refobjid as relation
        from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
        where d.refclassid = 'pg_class'::regclass and d.refobjid <> w.ev_class
    ),
    below as (
        select view, relation from shown
        union
        select below.view, shown.relation from below join shown on shown.view = below.relation
    ),
    -- Tables of tenants that somebody wrote policies for: their rows are told apart by what the tenant's column refers to.
    keys as (
        select distinct k.confrelid as table, k.confkey[1] as column
        from pg_constraint k
        join pg_attribute own on own.attrelid = k.conrelid and own.attname = $1 and k.conkey = array[own.attnum]
        join pg_class p on p.oid = k.confrelid
        where k.contype = 'f' and (p.relrowsecurity or exists (select from pg_policy y where y.polrelid = p.oid))
            and not exists (select from pg_attribute o where o.attrelid = p.oid and o.attname = $1 and not o.attisdropped)
    )
    select n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind, c.relispartition as is_partition,
        a.attname::text as column, a.attname <> $1 as is_of_tenants,
        c.relrowsecurity as is_enabled, c.relforcerowsecurity as is_forced, pg_get_userbyid(c.relowner)::text as owner, not (a.attnotnull or t.typnotnull) as is_nullable,
        t.typcategory::text as category, t.typname::text as type_name,
        exists (
            select from pg_constraint k where k.conrelid = c.oid and k.contype = 'f' and k.conkey = array[a.attnum]
        ) as is_reference,
        array(
            select format('%s.%s', pn.nspname, p.relname) from up
            join pg_class p on p.oid = up.ancestor join pg_namespace pn on pn.oid = p.relnamespace
            -- Of several parents one may have nothing to do with tenants.
            join pg_attribute pa on pa.attrelid = p.oid and pa.attname = $1 and not pa.attisdropped
            where up.child = c.oid order by up.level, 1
        ) as ancestors,
        array(
            select format('%s.%s', bn.nspname, b.relname) from below
            join pg_class b on b.oid = below.relation join pg_namespace bn on bn.oid = b.relnamespace
            where below.view = c.oid order by 1
        ) as shows
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where (a.attname = $1 or exists (select from keys where keys.table = c.oid and keys.column = a.attnum))
        and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (
            select from pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
        )";

const PRIVILEGES: &str = "
    select n.nspname::text as schema, c.relname::text as name, r.rolname::text as role,
        has_any_column_privilege(r.oid, c.oid, 'select') as reads,
        array(
            select w.attname::text from pg_attribute w
            where w.attrelid = c.oid and w.attnum > 0 and not w.attisdropped
                -- Bit 8: what is inserted into the view goes into a table.
                and (c.relkind in ('r', 'p', 'f') or pg_relation_is_updatable(c.oid, true) & 8 = 8)
                and has_column_privilege(r.oid, c.oid, w.attnum, 'insert')
        ) as writes
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join pg_roles r
    where c.oid = any ($1::text[]::regclass[]::oid[]) and r.rolname = any ($2)
        and has_schema_privilege(r.oid, n.oid, 'usage')";

/// The relations that `tenancy` speaks of, in the order of their names.
pub(super) async fn read(connection: &mut PgConnection, tenancy: &Tenancy) -> Result<Vec<Relation>> {
    let rows = sqlx::query(TENANT_RELATIONS)
        .bind(&tenancy.column)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to list the tables of tenants".into())?;
    let mut relations = Vec::new();
    for row in rows {
        let name = QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?);
        let (ancestors, shows): (Vec<String>, Vec<String>) =
            (row.try_get("ancestors")?, row.try_get("shows")?);
        // The rows of a partition are its parent's: who exempts one exempts the other.
        let is_exempt = |name: &str| tenancy.exempt.iter().any(|pattern| matches(pattern, name));
        if is_exempt(&name.to_string()) || ancestors.iter().any(|ancestor| is_exempt(ancestor)) {
            continue;
        }
        let kind: String = row.try_get("kind")?;
        relations.push(Relation {
            name,
            kind: match (kind.as_str(), row.try_get("is_partition")?) {
                ("p", _) => "partitioned table",
                ("v", _) => "view",
                ("m", _) => "materialized view",
                ("f", _) => "foreign table",
                (_, true) => "partition",
                _ => "table",
            },
            column: quote_ident(&row.try_get::<String, _>("column")?),
            is_of_tenants: row.try_get("is_of_tenants")?,
            is_nullable: row.try_get("is_nullable")?,
            category: row.try_get("category")?,
            type_name: row.try_get("type_name")?,
            is_reference: row.try_get("is_reference")?,
            ancestors: ancestors.iter().map(|name| QualifiedName::parse(name)).collect(),
            shows: shows.iter().map(|name| QualifiedName::parse(name)).collect(),
            is_enabled: row.try_get("is_enabled")?,
            is_forced: row.try_get("is_forced")?,
            owner: row.try_get("owner")?,
            readers: BTreeSet::new(),
            writers: BTreeMap::new(),
        });
    }
    // By the bytes of their names, whatever the database's collation is.
    relations.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(relations)
}

/// Notes what the catalog says that `roles` may do.
pub(super) async fn read_privileges(
    connection: &mut PgConnection,
    roles: &[String],
    relations: &mut [Relation],
) -> Result<()> {
    let names: Vec<String> = relations.iter().map(|relation| relation.name.sql()).collect();
    let rows = sqlx::query(PRIVILEGES)
        .bind(&names)
        .bind(roles)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to read the privileges on the tables of tenants".into())?;
    for row in rows {
        let name = QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?);
        let Some(relation) = relations.iter_mut().find(|relation| relation.name == name) else { continue };
        let role: String = row.try_get("role")?;
        if row.try_get("reads")? {
            relation.readers.insert(role.clone());
        }
        let writes: Vec<String> = row.try_get("writes")?;
        if !writes.is_empty() {
            relation.writers.insert(role, writes.into_iter().collect());
        }
    }
    Ok(())
}
