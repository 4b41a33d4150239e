//! Foreign keys between tables of tenants that say nothing of the tenant.

use super::tables::Relation;
use super::writing::Writing;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::{PgConnection, Row};
use std::collections::BTreeSet;

/// A foreign key whose parent also has the tenant's column, and that does not compare the two.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) child: QualifiedName,
    pub(super) parent: QualifiedName,
    /// Each column, and the parent's that it refers to; not quoted.
    pub(super) pairs: Vec<(String, String)>,
    /// What happens to a child when its parent is deleted, in the server's letters.
    pub(super) on_delete: String,
}

const REFERENCES: &str = "
    select k.conname::text as name, cn.nspname::text as child_schema, c.relname::text as child,
        pn.nspname::text as parent_schema, p.relname::text as parent, k.confdeltype::text as on_delete,
        array(
            select a.attname::text from unnest(k.conkey) with ordinality as u (number, place)
            join pg_attribute a on a.attrelid = c.oid and a.attnum = u.number order by u.place
        ) as own,
        array(
            select a.attname::text from unnest(k.confkey) with ordinality as u (number, place)
            join pg_attribute a on a.attrelid = p.oid and a.attnum = u.number order by u.place
        ) as theirs
    from pg_constraint k
    join pg_class c on c.oid = k.conrelid join pg_namespace cn on cn.oid = c.relnamespace
    join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace
    -- Those of partitions are their parents'.
    where k.contype = 'f' and k.conparentid = 0
    order by 2, 3, 1";

/// Those of which the child and the parent are among `relations`.
pub(super) async fn read(
    connection: &mut PgConnection,
    tenant: &str,
    relations: &[Relation],
) -> Result<Vec<Reference>> {
    let rows = sqlx::query(REFERENCES)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to list the foreign keys".into())?;
    let is_known = |name: &QualifiedName| relations.iter().any(|relation| relation.name == *name);
    let mut references = Vec::new();
    for row in rows {
        let name = |schema: &str, name: &str| -> Result<QualifiedName> {
            Ok(QualifiedName::new(row.try_get::<String, _>(schema)?, row.try_get::<String, _>(name)?))
        };
        let (own, theirs): (Vec<String>, Vec<String>) = (row.try_get("own")?, row.try_get("theirs")?);
        let reference = Reference {
            name: row.try_get("name")?,
            child: name("child_schema", "child")?,
            parent: name("parent_schema", "parent")?,
            pairs: own.into_iter().zip(theirs).collect(),
            on_delete: row.try_get("on_delete")?,
        };
        let is_bound = reference.pairs.iter().any(|(own, theirs)| own == tenant && theirs == tenant);
        if !is_bound && is_known(&reference.child) && is_known(&reference.parent) {
            references.push(reference);
        }
    }
    Ok(references)
}

/// A row of one tenant that refers to a row of another.
pub(super) struct Stray {
    /// The statement that inserts it; the row travels in a setting.
    pub(super) sql: String,
    /// The row, as an SQL expression of type jsonb.
    pub(super) json: String,
    pub(super) reads: BTreeSet<QualifiedName>,
    /// The statement that inserts a row like it, but with a parent of its own; and that row.
    pub(super) honest: (String, String),
}

impl Reference {
    /// The columns of the child, quoted.
    pub(super) fn own_columns(&self) -> Vec<String> {
        self.pairs.iter().map(|(own, _)| quote_ident(own)).collect()
    }

    /// Puts together a row of `tenant` in the child whose parent is a row of `other`, if possible one that no row refers
    /// to yet, the youngest; for who may insert `columns`.
    pub(super) async fn stray(
        &self,
        writing: &mut Writing,
        child: &Relation,
        columns: &BTreeSet<String>,
        tenant: &str,
        other: &str,
    ) -> Result<Result<Stray, String>> {
        let plan = match writing.plan(child, Some(columns), tenant).await? {
            Ok(plan) => plan,
            Err(reason) => return Ok(Err(format!("it took no row of its own tenant ({reason})"))),
        };
        let row = format!("current_setting({})::jsonb", quote_literal(super::probe::ROW));
        let honest = (plan.insert(&child.name, &row), plan.json.clone());
        let mut stray = plan.clone();
        let missing = self.pairs.iter().map(|(own, _)| own).filter(|own| !plan.columns.contains(own));
        stray.columns.extend(missing.cloned());
        let pairs: Vec<String> = self
            .pairs
            .iter()
            .map(|(own, theirs)| format!("{}, q.{}", quote_literal(own), quote_ident(theirs)))
            .collect();
        let is_taken: Vec<String> = self
            .pairs
            .iter()
            .map(|(own, theirs)| format!("c.{} = q.{}", quote_ident(own), quote_ident(theirs)))
            .collect();
        let parent = format!(
            "(select jsonb_build_object({}) from {} q where q.{} = {} \
             order by exists (select from {} c where {}), q.ctid desc limit 1)",
            pairs.join(", "),
            self.parent.sql(),
            child.column,
            quote_literal(other),
            self.child.sql(),
            is_taken.join(" and ")
        );
        let mut reads = plan.reads;
        reads.extend([self.child.clone(), self.parent.clone()]);
        let sql = stray.insert(&child.name, &row);
        Ok(Ok(Stray { sql, json: format!("{} || {parent}", plan.json), reads, honest }))
    }
}

/// The columns of a key, as people write them.
pub(super) fn in_words<'a>(columns: impl IntoIterator<Item = &'a String>) -> String {
    columns.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
