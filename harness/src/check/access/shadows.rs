//! What a caller puts in front of the names that a function looks up.

use super::roles::Role;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// The SQLSTATE that the attacker's code raises when it runs as somebody else.
pub(super) const CAUGHT: &str = "PGHCT";

/// How many functions are put in front of others.
const FUNCTIONS_MAX: i64 = 40;

/// The function under attack.
pub(super) struct Target {
    pub(super) name: QualifiedName,
    pub(super) is_procedure: bool,
    pub(super) types: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) source: String,
    /// It has a path of its own.
    pub(super) is_pinned: bool,
    pub(super) owner: String,
}

/// The columns of relations, each a name and a type, by the relation's name.
pub(super) type Relations = BTreeMap<String, Vec<(String, String)>>;

/// The relations whose names occur in `source`.
///
/// # Errors
/// The server is lost.
pub(super) async fn names_like(control: &mut PgConnection, source: &str) -> Result<Relations> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
            and strpos(lower($1), lower(c.relname)) > 0
            -- Of several with one name, one.
            and c.oid = (select min(o.oid) from pg_catalog.pg_class o where o.relname = c.relname and o.relkind = c.relkind)
         order by c.relname, a.attnum",
    )
    .bind(source)
    .fetch_all(control)
    .await
    .attempt(ErrorKind::Database, || "failed to look for names of relations".into())?;
    let mut relations = Relations::new();
    for (relation, column, of) in rows {
        let columns = relations.entry(relation).or_default();
        if !columns.iter().any(|(known, _)| *known == column) {
            columns.push((column, of));
        }
    }
    Ok(relations)
}

/// The scripts with which `role` attacks; the last statement of each calls the target.
///
/// # Errors
/// The server is lost.
pub(super) async fn shadows(
    control: &mut PgConnection,
    target: &Target,
    role: &Role,
    relations: &Relations,
) -> Result<Vec<Vec<String>>> {
    let mut fronts: Vec<Vec<String>> = Vec::new();
    if !relations.is_empty() {
        fronts.push(views(relations, &target.owner));
    }
    if !target.is_pinned
        && let Some(schema) = creatable(control, role).await?
    {
        fronts.push(functions(control, target, &schema).await?);
    }
    let calls = calls(target);
    Ok(fronts
        .into_iter()
        .flat_map(|front| calls.iter().map(move |call| front.iter().chain([call]).cloned().collect()))
        .collect())
}

/// A trap: it says whose rights it has.
fn trap(owner: &str) -> String {
    format!(
        "begin if current_user = {} then raise exception 'caught as %', current_user using errcode = '{CAUGHT}'; end if; ",
        quote_literal(owner)
    )
}

/// Temporary views in front of relations.
fn views(relations: &Relations, owner: &str) -> Vec<String> {
    let body = quote_literal(&format!("{}return true; end", trap(owner)));
    let on_change = quote_literal(&format!("{}return null; end", trap(owner)));
    let mut script = vec![
        format!("create function pg_temp.trap() returns boolean language plpgsql as {body}"),
        format!("create function pg_temp.trap_of_changes() returns trigger language plpgsql as {on_change}"),
    ];
    for (name, columns) in relations {
        let name = quote_ident(name);
        // In each column, since a condition on another may come first.
        let columns: Vec<String> = columns
            .iter()
            .map(|(column, of)| {
                format!("case when pg_temp.trap() then null::{of} end as {}", quote_ident(column))
            })
            .collect();
        script.push(format!(
            "create temp view {name} as select {}; \
             create trigger trap instead of insert or update or delete on pg_temp.{name} for each row \
             execute function pg_temp.trap_of_changes(); grant all on pg_temp.{name} to public",
            columns.join(", ")
        ));
    }
    script
}

/// A schema that `role` may create functions in.
async fn creatable(control: &mut PgConnection, role: &Role) -> Result<Option<String>> {
    sqlx::query_scalar(
        "select nspname::text from pg_catalog.pg_namespace
         where nspname !~ '^pg_' and nspname <> 'information_schema' and has_schema_privilege($1::name, oid, 'create')
         order by nspname limit 1",
    )
    .bind(&role.name)
    .fetch_optional(control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to look where `{}` may create", role.name))
}

/// Functions in front of those that the target's text mentions, in `schema`.
async fn functions(control: &mut PgConnection, target: &Target, schema: &str) -> Result<Vec<String>> {
    let body = quote_literal(&format!("{}return null; end", trap(&target.owner)));
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select p.proname::text, pg_catalog.oidvectortypes(p.proargtypes), pg_catalog.format_type(p.prorettype, null)
         from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         join pg_catalog.pg_type r on r.oid = p.prorettype
         where p.prokind = 'f' and not p.proretset and r.typtype <> 'p' and n.nspname <> $2
            and strpos(lower($1), lower(p.proname) || '(') > 0
            and not exists (select from unnest(p.proargtypes::oid[]) a join pg_catalog.pg_type t on t.oid = a where t.typtype = 'p')
         order by n.nspname = 'pg_catalog', p.proname, 2 limit $3",
    )
    .bind(&target.source)
    .bind(schema)
    .bind(FUNCTIONS_MAX)
    .fetch_all(control)
    .await
    .attempt(ErrorKind::Database, || "failed to look for names of functions".into())?;
    let mut script: Vec<String> = rows
        .into_iter()
        .map(|(name, types, returns)| {
            let name = QualifiedName::new(schema, name).sql();
            // One that is there already stays.
            let create = format!(
                "create function {name}({types}) returns {returns} language plpgsql immutable as {body}"
            );
            format!(
                "do {}",
                quote_literal(&format!(
                    "begin execute {}; exception when others then null; end",
                    quote_literal(&create)
                ))
            )
        })
        .collect();
    let first = quote_ident(schema);
    script.push(format!(
        "select set_config('search_path', {} || current_setting('search_path'), true)",
        quote_literal(&format!("{first}, pg_catalog, "))
    ));
    Ok(script)
}

/// Calls: with nulls, and with values.
fn calls(target: &Target) -> Vec<String> {
    let verb = if target.is_procedure { "call" } else { "select" };
    let call = |values: Vec<String>| format!("{verb} {}({})", target.name.sql(), values.join(", "));
    let nulls: Vec<String> = target.types.iter().map(|of| format!("null::{of}")).collect();
    let values = target.types.iter().zip(&target.categories).map(|(of, category)| {
        let value = match (category.as_str(), of.as_str()) {
            (_, "uuid") => "'00000000-0000-4000-8000-000000000001'",
            (_, "json" | "jsonb") => "'{}'",
            (_, "bytea") => "'x'",
            ("N", _) => "'1'",
            ("B", _) => "'true'",
            ("D", _) => "'2025-01-01'",
            ("T", _) => "'1 day'",
            ("S", _) => "'x'",
            ("A", _) => "'{}'",
            _ => "null",
        };
        format!("{value}::{of}")
    });
    let values = call(values.collect());
    let nulls = call(nulls);
    if nulls == values { vec![nulls] } else { vec![values, nulls] }
}
