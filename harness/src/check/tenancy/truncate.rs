//! `tenancy.truncate`: what row-level security does not bind: TRUNCATE, and foreign keys of one's own.

use super::probe::ROW;
use super::tables::Relation;
use super::transcript::transcript;
use super::tried::{Leak, Tried};
use super::writing::{Actor, Assault, Writing, assault};
use crate::check::{Check, Context, Example, Explanation, Need, Running, Story};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Severity};
use crate::ident::{quote_ident, quote_literal};
use crate::server::Capability;
use sqlx::Row;

/// No role that services connect as empties a table of tenants, or tries keys against it by a table of its own.
pub(in crate::check) struct Truncate;

impl Check for Truncate {
    fn id(&self) -> &'static str {
        "tenancy.truncate"
    }

    fn summary(&self) -> &'static str {
        "no role of a service gets around policies by TRUNCATE or REFERENCES"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "Every role of `tenancy.roles` that was granted TRUNCATE on a table, a partition or a child with the \
                     tenant's column sets a tenant and truncates it, alone and with CASCADE: the server refuses. Every \
                     one that was granted REFERENCES and may create tables somewhere makes one that refers to it, and \
                     inserts the key of another tenant's row: that is refused too. All is rolled back.",
            matters: "Row-level security binds neither. `grant all` includes both, and so one statement of one tenant \
                      removes the rows of all, or tells which keys there are.",
            remedy: "Grant what is needed, never `all`: `revoke truncate, references, trigger on orders from web_app`.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::RowTenancy, Need::Can(Capability::Superuser)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("tenancy.truncate":
            "bad.sql", "bad_partition.sql", "bad_referenced.sql", "bad_references.sql",
            "good.sql", "good_references.sql", "good_trigger.sql", "pgharness.toml")
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "`web_app`, and sets tenant A for its transaction",
            runs: "truncate orders",
            gets: "an empty table: the orders of all tenants are gone",
            because: "`grant all` includes TRUNCATE, and no policy binds that",
            fix: "revoke truncate on orders from web_app",
        })
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(assault(context, "tenancy.truncate", Empty))
    }
}

struct Empty;

impl Assault for Empty {
    async fn attempt(
        &mut self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Tried>> {
        let rights = writing.rights.of(relation, &actor.role);
        if rights.truncates
            && let Some(leak) = truncate(writing, actor, relation).await?
        {
            return Ok(Some(Tried::Leak(leak)));
        }
        if rights.references
            && let Some(leak) = refer(writing, actor, relation).await?
        {
            return Ok(Some(Tried::Leak(leak)));
        }
        Ok((rights.truncates || rights.references).then_some(Tried::Refused))
    }
}

async fn truncate(writing: &mut Writing, actor: &mut Actor, relation: &Relation) -> Result<Option<Leak>> {
    let table = relation.name.sql();
    for sql in [format!("truncate {table}"), format!("truncate {table} cascade")] {
        let played = writing.play(&mut actor.own, std::slice::from_ref(&sql), None).await?;
        if played.refusal.is_some() {
            continue;
        }
        let mut evidence = writing.attack.seeding(relation);
        let step = Evidence::as_role(&actor.role, sql, "no row of any tenant is left");
        evidence.extend(transcript(&actor.own, vec![step]));
        // Who stands between a request and a role without a login may take no TRUNCATE.
        let is_door = writing.attack.login_of(&actor.role) != actor.role;
        let (class, severity) = match is_door {
            true => (Class::TrustBoundary, Severity::Warning),
            false => (Class::Mistake, Severity::Error),
        };
        return Ok(Some(Leak {
            class,
            severity,
            does: format!("truncates `{}`: the rows of all tenants are gone", relation.name),
            help: format!("`revoke truncate on {table} from` those roles: no policy binds it"),
            evidence,
        }));
    }
    Ok(None)
}

/// Tries the key of another tenant's row by a table of one's own.
async fn refer(writing: &mut Writing, actor: &mut Actor, relation: &Relation) -> Result<Option<Leak>> {
    let Some(schema) = writable_schema(writing, &actor.role).await? else { return Ok(None) };
    let keys = keys(writing, &actor.role, relation).await?;
    for key in keys {
        let columns: Vec<String> = key.iter().map(|(column, _)| quote_ident(column)).collect();
        let columns = columns.join(", ");
        let other = writing.tenants().1;
        let json = format!(
            "(select to_jsonb(r) from {} r where r.{} = {other} limit 1)",
            relation.name.sql(),
            relation.column
        );
        let Some(row) = writing.evaluate(&json).await? else { continue };
        let typed: Vec<String> =
            key.iter().map(|(column, kind)| format!("{} {kind}", quote_ident(column))).collect();
        let own = format!("{}.pgharness_probe", quote_ident(&schema));
        let create = format!(
            "create table {own} ({}, foreign key ({columns}) references {} ({columns}))",
            typed.join(", "),
            relation.name.sql()
        );
        let insert = format!(
            "insert into {own} select {columns} from jsonb_populate_record(null::{own}, current_setting({})::jsonb)",
            quote_literal(ROW)
        );
        let statements = [create, insert];
        let played = writing.play(&mut actor.own, &statements, Some(&row)).await?;
        if played.refusal.is_some() {
            continue;
        }
        let [create, insert] = statements;
        let reads = std::collections::BTreeSet::from([relation.name.clone()]);
        let mut evidence = writing.setting_up(relation, Some((&json, &reads)));
        let steps = vec![
            Evidence::as_role(&actor.role, create, ""),
            Evidence::as_role(&actor.role, insert, "1 row inserted: such a key is there"),
        ];
        evidence.extend(transcript(&actor.own, steps));
        return Ok(Some(Leak {
            class: Class::Mistake,
            severity: Severity::Warning,
            does: format!(
                "learns from a foreign key of its own which keys ({}) of `{}` there are",
                super::references::in_words(key.iter().map(|(column, _)| column)),
                relation.name
            ),
            help: format!(
                "`revoke references on {} from` those roles: no policy binds it",
                relation.name.sql()
            ),
            evidence,
        }));
    }
    Ok(None)
}

/// A schema in which the role may create tables.
async fn writable_schema(writing: &mut Writing, role: &str) -> Result<Option<String>> {
    sqlx::query_scalar(
        "select nspname::text from pg_namespace
         where nspname !~ '^pg_' and nspname <> 'information_schema' and has_schema_privilege($1::name, oid, 'create')
         order by nspname limit 1",
    )
    .bind(role)
    .fetch_optional(&mut writing.attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to look where `{role}` may create tables"))
}

/// The unique keys that the role may refer to, and that do not include the tenant; each with the types of its columns.
async fn keys(writing: &mut Writing, role: &str, relation: &Relation) -> Result<Vec<Vec<(String, String)>>> {
    let rows = sqlx::query(
        "select array(
                select a.attname::text from unnest(i.indkey) with ordinality as u (number, place)
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.number order by u.place
            ) as columns,
            array(
                select format_type(a.atttypid, a.atttypmod) from unnest(i.indkey) with ordinality as u (number, place)
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.number order by u.place
            ) as types
         from pg_index i
         where i.indrelid = $1::regclass and i.indisunique and i.indpred is null and i.indexprs is null
            and i.indnatts = i.indnkeyatts
            and (select bool_and(has_column_privilege($2::name, i.indrelid, number, 'references'))
                from unnest(i.indkey) as number)
         order by i.indexrelid::regclass::text",
    )
    .bind(relation.name.sql())
    .bind(role)
    .fetch_all(&mut writing.attack.control)
    .await
    .attempt(ErrorKind::Database, || format!("failed to list the keys of `{}`", relation.name))?;
    let mut keys = Vec::new();
    for row in rows {
        let (columns, types): (Vec<String>, Vec<String>) = (row.try_get("columns")?, row.try_get("types")?);
        if !columns.contains(&writing.attack.tenancy.column) {
            keys.push(columns.into_iter().zip(types).collect());
        }
    }
    Ok(keys)
}
