//! Tables whose rows are final, as a project declares them, and what there is to know for an attack on them.

use crate::check::matches;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// A table whose rows are final, or a part of one.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) name: QualifiedName,
    /// In the server's words.
    pub(super) kind: &'static str,
    /// The declared table that it is a part of.
    pub(super) part_of: Option<QualifiedName>,
    /// What it is directly a partition of.
    pub(super) parent: Option<QualifiedName>,
    pub(super) columns: Vec<Column>,
    /// The columns of a unique key.
    pub(super) key: Vec<String>,
    /// A rule or a trigger may do something else than what is asked.
    pub(super) has_rules: bool,
    /// What it refers to by a foreign key with an action.
    pub(super) parents: Vec<Parent>,
    /// Who may become its owner.
    pub(super) owners: BTreeSet<String>,
    /// By role: the columns that it may update, and whether it may read them.
    pub(super) updatable: BTreeMap<String, Vec<(String, bool)>>,
}

/// A column that can be written.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    type_name: String,
    category: String,
    is_identity: bool,
}

/// What a foreign key with an action refers to.
#[derive(Clone, Debug)]
pub(super) struct Parent {
    pub(super) table: QualifiedName,
    pub(super) key: Column,
    /// What happens to the row when the parent goes, or changes its key.
    pub(super) on_delete: bool,
    pub(super) on_update: bool,
}

impl Column {
    /// A value of its type that is not the one of `reference`; `None`: a value that needs no look at the row.
    pub(super) fn other(&self, reference: Option<&str>) -> String {
        let name = quote_ident(&self.name);
        let own = reference.map(|table| format!("{table}.{name}"));
        match (self.category.as_str(), self.type_name.as_str(), own) {
            (_, "uuid", _) => "pg_catalog.gen_random_uuid()".into(),
            (_, "bytea", Some(own)) => format!("{own} || '\\x00'"),
            (_, "bytea", None) => "'\\x00'".into(),
            (_, of @ ("json" | "jsonb"), Some(own)) => {
                format!(r#"case {own}::text when '{{}}' then '{{"changed": true}}' else '{{}}' end::{of}"#)
            }
            (_, "json" | "jsonb", None) => r#"'{"changed": true}'"#.into(),
            ("N", _, Some(own)) => format!("{own} + 1"),
            ("N", _, None) => "7".into(),
            ("B", _, Some(own)) => format!("not {own}"),
            ("B", _, None) => "true".into(),
            ("D" | "T", _, Some(own)) => format!("{own} + interval '1 day'"),
            ("D", _, None) => "now()".into(),
            ("T", _, None) => "interval '7 days'".into(),
            ("S", _, Some(own)) => format!("case {own} when 'x' then 'y' else 'x' end"),
            ("S", _, None) => "'x'".into(),
            ("E", of, Some(own)) => {
                format!(
                    "(select e from unnest(enum_range(null::{of})) e where e is distinct from {own} limit 1)"
                )
            }
            ("E", of, None) => format!("enum_first(null::{of})"),
            ("A", ..) => "'{}'".into(),
            _ => "null".into(),
        }
    }
}

const TABLES: &str = "
    with recursive below as (
        select c.oid as root, c.oid as part, null::oid as parent
        from pg_catalog.pg_class c where c.relkind in ('r', 'p') and c.oid >= 16384
        union all
        select below.root, i.inhrelid, i.inhparent from below join pg_catalog.pg_inherits i on i.inhparent = below.part
    )
    select n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind, c.relispartition as is_partition,
        rn.nspname::text as root_schema, r.relname::text as root_name, pn.nspname::text as parent_schema,
        p.relname::text as parent_name,
        array(select a.attname::text from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum) as columns,
        array(select pg_catalog.format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null)
            from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum) as types,
        array(select t.typcategory::text from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum) as categories,
        array(select a.attidentity = 'a' from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum) as identities,
        array(select k.attname::text from pg_catalog.pg_constraint u
            join pg_catalog.pg_attribute k on k.attrelid = c.oid and k.attnum = any (u.conkey)
            where u.oid = (select x.oid from pg_catalog.pg_constraint x
                where x.conrelid = c.oid and x.contype in ('p', 'u') and not x.condeferrable order by x.contype, x.oid limit 1)) as key,
        exists (select from pg_catalog.pg_rewrite w where w.ev_class = c.oid and w.ev_type in ('2', '4') and w.is_instead) as has_rules,
        array(select m.rolname::text from pg_catalog.pg_roles m
            where not m.rolsuper and pg_catalog.pg_has_role(m.oid, c.relowner, 'member')) as owners
    from below
    join pg_catalog.pg_class c on c.oid = below.part join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_class r on r.oid = below.root join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
    left join pg_catalog.pg_class p on p.oid = below.parent left join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
    where not r.relispartition and c.relkind in ('r', 'p')
    order by rn.nspname, r.relname, n.nspname, c.relname";

const PARENTS: &str = "
    select pn.nspname::text as schema, p.relname::text as name, a.attname::text as key,
        pg_catalog.format_type(a.atttypid, null) as type, t.typcategory::text as category,
        k.confdeltype in ('c', 'n', 'd') as on_delete, k.confupdtype in ('c', 'n', 'd') as on_update
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_class p on p.oid = k.confrelid join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
    -- The last column: the first is often a tenant's, which has parents of its own.
    join pg_catalog.pg_attribute a on a.attrelid = p.oid and a.attnum = k.confkey[cardinality(k.confkey)]
    join pg_catalog.pg_type t on t.oid = a.atttypid
    where k.contype = 'f' and k.conrelid = $1::regclass and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd'))
    order by k.conname";

const UPDATABLE: &str = "
    select r.rolname::text as role, a.attname::text as column, has_column_privilege(r.oid, c.oid, a.attnum, 'select') as reads
    from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    cross join pg_catalog.pg_roles r
    where c.oid = $1::regclass and a.attgenerated = '' and r.rolname = any ($2)
        and has_column_privilege(r.oid, c.oid, a.attnum, 'update')
    order by 1, a.attnum";

/// The tables that one of `patterns` names, each followed by its parts.
///
/// # Errors
/// The server is lost.
pub(super) async fn read(
    control: &mut PgConnection,
    patterns: &[String],
    roles: &[String],
) -> Result<Vec<Settled>> {
    let failed = || "failed to read what is known of tables whose rows are final".to_owned();
    let rows = sqlx::query(TABLES).fetch_all(&mut *control).await.attempt(ErrorKind::Database, failed)?;
    let mut tables = Vec::new();
    let mut seen = BTreeSet::new();
    for row in rows {
        let named = |schema: &str, name: &str| -> Result<Option<QualifiedName>> {
            let (schema, name): (Option<String>, Option<String>) = (row.try_get(schema)?, row.try_get(name)?);
            Ok(schema.zip(name).map(|(schema, name)| QualifiedName::new(schema, name)))
        };
        let (Some(name), Some(root)) = (named("schema", "name")?, named("root_schema", "root_name")?) else {
            continue;
        };
        let is_declared = |name: &QualifiedName| {
            let name = name.to_string();
            patterns.iter().any(|pattern| matches(pattern, &name))
        };
        // A part may be declared without the whole.
        if !(is_declared(&root) || is_declared(&name)) || !seen.insert(name.clone()) {
            continue;
        }
        let (names, types, categories): (Vec<String>, Vec<String>, Vec<String>) =
            (row.try_get("columns")?, row.try_get("types")?, row.try_get("categories")?);
        let identities: Vec<bool> = row.try_get("identities")?;
        let columns = names.into_iter().zip(types).zip(categories).zip(identities);
        let owners: Vec<String> = row.try_get("owners")?;
        let kind: String = row.try_get("kind")?;
        tables.push(Settled {
            kind: match (kind.as_str(), row.try_get("is_partition")?) {
                ("p", false) => "partitioned table",
                (_, true) => "partition",
                _ => "table",
            },
            part_of: (root != name && is_declared(&root)).then_some(root),
            parent: named("parent_schema", "parent_name")?,
            columns: columns
                .map(|(((name, type_name), category), is_identity)| Column {
                    name,
                    type_name,
                    category,
                    is_identity,
                })
                .filter(|column| !column.is_identity)
                .collect(),
            key: row.try_get("key")?,
            has_rules: row.try_get("has_rules")?,
            parents: Vec::new(),
            owners: owners.into_iter().collect(),
            updatable: BTreeMap::new(),
            name,
        });
    }
    for table in &mut tables {
        let rows = sqlx::query(PARENTS)
            .bind(table.name.sql())
            .fetch_all(&mut *control)
            .await
            .attempt(ErrorKind::Database, failed)?;
        for row in rows {
            table.parents.push(Parent {
                table: QualifiedName::new(
                    row.try_get::<String, _>("schema")?,
                    row.try_get::<String, _>("name")?,
                ),
                key: Column {
                    name: row.try_get("key")?,
                    type_name: row.try_get("type")?,
                    category: row.try_get("category")?,
                    is_identity: false,
                },
                on_delete: row.try_get("on_delete")?,
                on_update: row.try_get("on_update")?,
            });
        }
        let rows: Vec<(String, String, bool)> = sqlx::query_as(UPDATABLE)
            .bind(table.name.sql())
            .bind(roles)
            .fetch_all(&mut *control)
            .await
            .attempt(ErrorKind::Database, failed)?;
        for (role, column, reads) in rows {
            table.updatable.entry(role).or_default().push((column, reads));
        }
    }
    Ok(tables)
}

/// A statement that changes rows, or the table that they are in, and what people call that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verb {
    pub(super) label: String,
    pub(super) sql: String,
    pub(super) effect: Effect,
}

/// What a statement does when it goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Rows change.
    Rows,
    /// Rows go: a foreign key that stops this stops it for some rows only.
    Gone,
    /// The table is no more what it was: only its owner can do that.
    Table,
}

impl Settled {
    /// How `role` may try to change its rows.
    pub(super) fn verbs(&self, role: &str) -> Vec<Verb> {
        let table = self.name.sql();
        let verb = |label: String, sql: String, effect: Effect| Verb { label, sql, effect };
        let mut verbs = Vec::new();
        let granted: Vec<(&Column, bool)> = self
            .updatable
            .get(role)
            .into_iter()
            .flatten()
            .filter_map(|(name, reads)| {
                Some((self.columns.iter().find(|column| column.name == *name)?, *reads))
            })
            .collect();
        // Where nothing is granted, one column shows that it is refused.
        let first = self.columns.first().map(|column| (column, false));
        let tried: Vec<(&Column, bool)> =
            if granted.is_empty() { first.into_iter().collect() } else { granted };
        for (column, reads) in &tried {
            let value = column.other(reads.then_some("t"));
            let name = quote_ident(&column.name);
            verbs.push(verb(
                format!("updates `{}` of", column.name),
                format!("update {table} t set {name} = {value}"),
                Effect::Rows,
            ));
        }
        if let Some((column, reads)) = tried.first() {
            let (name, value) = (quote_ident(&column.name), column.other(reads.then_some("t")));
            verbs.push(verb(
                "merges over".into(),
                format!("merge into {table} t using (select 1) s on true when matched then update set {name} = {value}"),
                Effect::Rows,
            ));
            if self.part_of.is_none() && !self.key.is_empty() {
                let columns: Vec<String> =
                    self.columns.iter().map(|column| quote_ident(&column.name)).collect();
                let all = columns.join(", ");
                let key: Vec<String> = self.key.iter().map(|key| quote_ident(key)).collect();
                verbs.push(verb(
                    "upserts into".into(),
                    format!(
                        "insert into {table} as t ({all}) overriding system value select {all} from {table} limit 1 \
                         on conflict ({}) do update set {name} = {value}",
                        key.join(", ")
                    ),
                    Effect::Rows,
                ));
            }
        }
        verbs.push(verb("deletes from".into(), format!("delete from {table}"), Effect::Gone));
        verbs.push(verb(
            "deletes by merge from".into(),
            format!("merge into {table} t using (select 1) s on true when matched then delete"),
            Effect::Gone,
        ));
        verbs.push(verb("truncates".into(), format!("truncate {table}"), Effect::Gone));
        verbs.push(verb("truncates".into(), format!("truncate {table} cascade"), Effect::Gone));
        verbs.push(verb(
            "deletes, as a replica, from".into(),
            format!("set local session_replication_role = replica; delete from {table}"),
            Effect::Gone,
        ));
        for parent in &self.parents {
            let (above, key) = (parent.table.sql(), quote_ident(&parent.key.name));
            if parent.on_delete {
                verbs.push(verb(
                    format!("deletes from `{}`, which cascades to", parent.table),
                    format!("delete from {above}"),
                    Effect::Rows,
                ));
            }
            if parent.on_update {
                verbs.push(verb(
                    format!("updates the key of `{}`, which cascades to", parent.table),
                    format!("update {above} t set {key} = {}", parent.key.other(Some("t"))),
                    Effect::Rows,
                ));
            }
        }
        verbs.push(verb(
            "disables the triggers of".into(),
            format!("alter table {table} disable trigger user; delete from {table}"),
            Effect::Table,
        ));
        if let Some(parent) = &self.parent
            && self.kind == "partition"
        {
            verbs.push(verb(
                "detaches".into(),
                format!("alter table {} detach partition {table}", parent.sql()),
                Effect::Table,
            ));
        }
        verbs.push(verb("drops".into(), format!("drop table {table} cascade"), Effect::Table));
        verbs
    }

    /// The statement that takes off whatever keeps a superuser from changing its rows.
    pub(super) fn unlocking(&self) -> String {
        format!("alter table {} disable trigger all", self.name.sql())
    }
}
