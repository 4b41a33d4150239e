//! Functions and procedures that run with their owner's rights.

use super::tables::Relation;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::QualifiedName;
use sqlx::{PgConnection, Row};
use std::collections::BTreeMap;

/// A function or procedure that runs with its owner's rights, and that somebody may call.
#[derive(Clone, Debug)]
pub(super) struct Routine {
    pub(super) name: QualifiedName,
    /// Its parameters, as the server writes them.
    pub(super) signature: String,
    pub(super) is_procedure: bool,
    /// It does not promise to change nothing.
    pub(super) may_write: bool,
    /// It gives rows whose columns are only known to its caller.
    pub(super) is_open: bool,
    pub(super) parameters: Vec<Parameter>,
    /// Which of the attackers may call it.
    pub(super) callers: Vec<String>,
    /// The tables of tenants that its body seems to speak of: where to look first, and no more.
    pub(super) mentions: Vec<QualifiedName>,
}

/// What a routine is given.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// Its type as SQL.
    pub(super) type_sql: String,
    /// The name of that type, with domains resolved: `int4`, `text`, `_text`.
    pub(super) base: String,
    /// The category of that type, in the server's letters.
    pub(super) category: String,
    /// A procedure is given a place for what it gives.
    pub(super) is_output: bool,
    pub(super) is_variadic: bool,
}

impl Routine {
    /// The kind, in the server's words.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_procedure { "procedure" } else { "function" }
    }

    /// As people write it: `public.f(uuid)`.
    pub(super) fn shown(&self) -> String {
        format!("{}({})", self.name, self.signature)
    }

    /// The statement that calls it.
    pub(super) fn call(&self, arguments: &[String]) -> String {
        let given = self.parameters.iter().zip(arguments);
        let list: Vec<String> = given
            .map(
                |(parameter, value)| {
                    if parameter.is_variadic { format!("variadic {value}") } else { value.clone() }
                },
            )
            .collect();
        let call = format!("{}({})", self.name.sql(), list.join(", "));
        match (self.is_procedure, self.is_open) {
            (true, _) => format!("call {call}"),
            (_, true) => format!("select {call} limit {ROWS_MAX}"),
            _ => format!("select * from {call} limit {ROWS_MAX}"),
        }
    }
}

/// So many rows say enough.
const ROWS_MAX: usize = 2000;

const ROUTINES: &str = "
    select n.nspname::text as schema, p.proname::text as name, p.prokind = 'p' as is_procedure,
        p.provolatile = 'v' as may_write,
        pg_get_function_identity_arguments(p.oid) as signature,
        p.prorettype = 'record'::regtype and not coalesce('{o,b,t}'::\"char\"[] && p.proargmodes, false) as is_open,
        coalesce(p.prosrc, '') || ' ' || coalesce(pg_get_function_sqlbody(p.oid), '') as body,
        array(
            select r.rolname::text from pg_roles r
            where r.rolname = any ($1) and has_function_privilege(r.oid, p.oid, 'execute')
                and has_schema_privilege(r.oid, n.oid, 'usage')
            order by 1
        ) as callers,
        array(
            select jsonb_build_object(
                'name', coalesce(given.name, ''), 'type', format_type(given.type, null), 'base', b.typname,
                'category', b.typcategory, 'mode', coalesce(given.mode, 'i')
            )
            from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes, p.proargnames)
                with ordinality given (type, mode, name, place)
            join pg_type t on t.oid = given.type
            join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
            where coalesce(given.mode, 'i') in ('i', 'b', 'v') or (p.prokind = 'p' and given.mode = 'o')
            order by given.place
        ) as parameters
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.prosecdef and p.prokind in ('f', 'p')
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
        and not ('internal'::regtype = any (p.proargtypes::oid[]))
        and not exists (
            select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
        )
    order by n.nspname collate \"C\", p.proname collate \"C\", pg_get_function_identity_arguments(p.oid) collate \"C\"";

/// The routines with their owner's rights that one of `roles` may call.
pub(super) async fn read(
    connection: &mut PgConnection,
    roles: &[String],
    relations: &[Relation],
) -> Result<Vec<Routine>> {
    let rows =
        sqlx::query(ROUTINES).bind(roles).fetch_all(connection).await.attempt(ErrorKind::Database, || {
            "failed to list the functions with their owner's rights".into()
        })?;
    let mut routines = Vec::new();
    for row in rows {
        let callers: Vec<String> = row.try_get("callers")?;
        if callers.is_empty() {
            continue;
        }
        let body: String = row.try_get("body")?;
        let parameters: Vec<serde_json::Value> = row.try_get("parameters")?;
        routines.push(Routine {
            name: QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?),
            signature: row.try_get("signature")?,
            is_procedure: row.try_get("is_procedure")?,
            may_write: row.try_get("may_write")?,
            is_open: row.try_get("is_open")?,
            parameters: parameters.iter().map(parameter).collect(),
            callers,
            mentions: mentioned(&body, relations),
        });
    }
    Ok(routines)
}

fn parameter(value: &serde_json::Value) -> Parameter {
    let text = |key: &str| value.get(key).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let (mode, category) = (text("mode"), text("category"));
    Parameter {
        name: text("name"),
        // A parameter of any type takes this one too.
        type_sql: if category == "P" { "text".into() } else { text("type") },
        base: text("base"),
        category,
        is_output: mode == "o",
        is_variadic: mode == "v",
    }
}

/// Those of `relations` whose names occur in `body`, the likeliest first.
fn mentioned(body: &str, relations: &[Relation]) -> Vec<QualifiedName> {
    let body = body.to_lowercase();
    let mut found: BTreeMap<(std::cmp::Reverse<usize>, &QualifiedName), ()> = BTreeMap::new();
    for relation in relations.iter().filter(|relation| relation.is_store() && relation.kind != "partition") {
        let name = relation.name.name.to_lowercase();
        let times = body
            .match_indices(&name)
            .filter(|(at, _)| {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                !body[..*at].chars().next_back().is_some_and(is_part)
                    && !body[at + name.len()..].chars().next().is_some_and(is_part)
            })
            .count();
        if times > 0 {
            found.insert((std::cmp::Reverse(times), &relation.name), ());
        }
    }
    found.into_keys().map(|(_, name)| name.clone()).collect()
}
