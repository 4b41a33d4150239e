//! Who may change and remove rows.

use super::tables::Relation;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::QualifiedName;
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// What one role may do to one relation, as the catalog says.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    /// The columns that it may change.
    pub(super) updates: BTreeSet<String>,
    /// The columns that it may read.
    pub(super) reads: BTreeSet<String>,
    pub(super) deletes: bool,
    pub(super) truncates: bool,
    pub(super) references: bool,
}

impl Rights {
    /// A column that can be set to its own value, if possible `tenant`: others may be such as the server fills.
    pub(super) fn any(&self, tenant: &str) -> Option<String> {
        if self.updates.contains(tenant) && self.reads.contains(tenant) {
            return Some(tenant.to_owned());
        }
        self.updates.intersection(&self.reads).next().cloned()
    }
}

/// The rights of roles, by relation and role.
#[derive(Clone, Debug, Default)]
pub(super) struct AllRights(BTreeMap<(QualifiedName, String), Rights>);

impl AllRights {
    /// What `role` may do to `relation`.
    pub(super) fn of(&self, relation: &Relation, role: &str) -> Rights {
        self.0.get(&(relation.name.clone(), role.to_owned())).cloned().unwrap_or_default()
    }
}

const RIGHTS: &str = "
    select n.nspname::text as schema, c.relname::text as name, r.rolname::text as role,
        array(
            select w.attname::text from pg_attribute w
            where w.attrelid = c.oid and w.attnum > 0 and not w.attisdropped
                and w.attgenerated = '' and w.attidentity <> 'a'
                -- Bit 4: what is updated in the view is updated in a table; bit 16 is the same of DELETE.
                and (c.relkind in ('r', 'p', 'f') or pg_relation_is_updatable(c.oid, true) & 4 = 4)
                and has_column_privilege(r.oid, c.oid, w.attnum, 'update')
        ) as updates,
        array(
            select w.attname::text from pg_attribute w
            where w.attrelid = c.oid and w.attnum > 0 and not w.attisdropped
                and has_column_privilege(r.oid, c.oid, w.attnum, 'select')
        ) as reads,
        has_table_privilege(r.oid, c.oid, 'delete')
            and (c.relkind in ('r', 'p', 'f') or pg_relation_is_updatable(c.oid, true) & 16 = 16) as deletes,
        c.relkind in ('r', 'p', 'f') and has_table_privilege(r.oid, c.oid, 'truncate') as truncates,
        c.relkind in ('r', 'p') and has_any_column_privilege(r.oid, c.oid, 'references') as \"references\"
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attname = $1 and a.attnum > 0 and not a.attisdropped
    cross join pg_roles r
    where c.relkind in ('r', 'p', 'v', 'f') and r.rolname = any ($2)
        and has_schema_privilege(r.oid, n.oid, 'usage')";

/// Reads what `roles` may do to the relations that have the tenant's column.
pub(super) async fn read(connection: &mut PgConnection, column: &str, roles: &[String]) -> Result<AllRights> {
    let rows = sqlx::query(RIGHTS)
        .bind(column)
        .bind(roles)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to read who may change rows of tenants".into())?;
    let mut all = AllRights::default();
    for row in rows {
        let name = QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?);
        let rights = Rights {
            updates: row.try_get::<Vec<String>, _>("updates")?.into_iter().collect(),
            reads: row.try_get::<Vec<String>, _>("reads")?.into_iter().collect(),
            deletes: row.try_get("deletes")?,
            truncates: row.try_get("truncates")?,
            references: row.try_get("references")?,
        };
        all.0.insert((name, row.try_get("role")?), rights);
    }
    Ok(all)
}
