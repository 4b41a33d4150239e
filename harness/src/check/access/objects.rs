//! What privileges are granted on, and how each privilege is tried.

use crate::check::Privilege;
use crate::check::attempt::{Answer, Attempt, SCRATCH};
use crate::error::{Attempt as _, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// A table of whoever tries, which may refer to others.
pub(super) const PROBE: &str = "pgharness_scratch.probe";

/// What kind of object, as far as privileges go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Relation,
    Sequence,
    Routine,
    Schema,
}

/// An object that privileges are granted on.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) sort: Sort,
    /// Its object id, of a relation.
    pub(super) oid: Option<i64>,
    /// In the server's words.
    pub(super) kind: String,
    /// As people write it; a routine with the types of its arguments.
    pub(super) name: String,
    /// What it is a partition of, in the end.
    pub(super) root: Option<String>,
    /// As SQL writes it, for GRANT and REVOKE.
    pub(super) sql: String,
    /// Runs with its owner's rights.
    pub(super) is_definer: bool,
    pub(super) trials: Vec<Trial>,
}

/// A privilege, and a statement that needs it and changes nothing.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) privilege: Privilege,
    pub(super) sql: String,
}

impl Trial {
    fn new(privilege: Privilege, sql: String) -> Trial {
        Trial { privilege, sql }
    }

    pub(super) fn attempt(&self) -> Attempt {
        Attempt { sql: self.sql.clone(), watched: None }
    }

    /// Whether who got this answer has the privilege; `None`: nobody knows.
    pub(super) fn is_held(&self, answer: &Answer) -> Option<bool> {
        if answer.is_denied() {
            return Some(false);
        }
        match answer.code.as_deref() {
            // No view takes everything, and that is said before anybody asks for privileges.
            Some("55000" | "0A000" | "42809" | "428C9") if self.privilege != Privilege::Truncate => {
                Some(false)
            }
            Some(code) if code.starts_with("55P") || code.starts_with("57") || code.starts_with("53") => None,
            // Whatever else it ran into lies behind the privilege.
            _ => Some(true),
        }
    }

    /// Whether the answer came before anybody asked for the privilege: planning evaluates what policies say of
    /// settings, and fails where these are not set.
    pub(super) fn is_undecided(&self, answer: &Answer) -> bool {
        use Privilege::{Delete, Insert, Select, Update};
        !answer.went_through()
            && self.is_held(answer) == Some(true)
            && matches!(self.privilege, Select | Insert | Update | Delete)
    }
}

const NOT_OF_AN_EXTENSION: &str = "not exists (
    select from pg_catalog.pg_depend d where d.classid = '{class}'::regclass and d.objid = o.oid and d.deptype = 'e')";

const OURS: &str = "n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgharness_scratch')";

fn query(text: &str, class: &str) -> String {
    text.replace("{ours}", OURS)
        .replace("{own}", &NOT_OF_AN_EXTENSION.replace("{class}", &format!("pg_catalog.{class}")))
}

const RELATIONS: &str = "
    select o.oid::int8 as oid, n.nspname::text as schema, o.relname::text as name, o.relkind::text as kind, o.relispartition as is_partition,
        case when o.relispartition then (
            select format('%s.%s', rn.nspname, r.relname)
            from pg_catalog.pg_class r join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
            where r.oid = pg_catalog.pg_partition_root(o.oid)
        ) end as root,
        -- A column with privileges of its own, and one for all others.
        array(
            select a.attname::text from pg_catalog.pg_attribute a
            where a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
            order by a.attacl is null, a.attnum
            limit case when o.relkind = 'v' then 1000 else 1 end + (select count(*) from pg_catalog.pg_attribute p where p.attrelid = o.oid and p.attnum > 0
                and not p.attisdropped and p.attgenerated = '' and p.attacl is not null)
        ) as columns,
        array(
            select k.attname::text from pg_catalog.pg_index i
            join pg_catalog.pg_attribute k on k.attrelid = o.oid and k.attnum = any (i.indkey::int2[])
            where i.indexrelid = (
                select u.indexrelid from pg_catalog.pg_index u
                where u.indrelid = o.oid and u.indisunique and u.indimmediate and u.indpred is null and u.indexprs is null
                order by u.indisprimary desc, u.indexrelid limit 1
            ) and k.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        ) as keys
    from pg_catalog.pg_class o join pg_catalog.pg_namespace n on n.oid = o.relnamespace
    where o.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and {ours} and {own}
    order by 2, 3";

const ROUTINES: &str = "
    select n.nspname::text as schema, o.proname::text as name, o.prokind::text as kind, o.prosecdef as is_definer,
        pg_catalog.pg_get_function_identity_arguments(o.oid) as arguments,
        o.provariadic <> 0 as is_variadic,
        array(
            select case t.oid::regtype::text
                when 'anyelement' then 'integer' when 'anynonarray' then 'integer' when 'anycompatible' then 'integer'
                when 'anycompatiblenonarray' then 'integer' when 'anyarray' then 'integer[]'
                when 'anycompatiblearray' then 'integer[]' when 'anyrange' then 'int4range' when '\"any\"' then 'integer'
                when 'anymultirange' then 'int4multirange' when 'anyenum' then 'unknown'
                else pg_catalog.format_type(t.oid, null)
            end
            from unnest(o.proargtypes::oid[]) with ordinality as a (type, place)
            join pg_catalog.pg_type t on t.oid = a.type order by a.place
        ) as types
    from pg_catalog.pg_proc o join pg_catalog.pg_namespace n on n.oid = o.pronamespace
    left join pg_catalog.pg_aggregate g on g.aggfnoid = o.oid
    where {ours} and {own} and coalesce(g.aggkind, 'n') = 'n'
        -- Only the server calls these.
        and o.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype, 'language_handler'::regtype,
            'fdw_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype, 'tsm_handler'::regtype)
        and not o.proargtypes::oid[] && array['internal', 'record', 'cstring', 'anyenum']::regtype[]::oid[]
    order by 1, 2, 5";

const SCHEMAS: &str = "
    select n.nspname::text as name from pg_catalog.pg_namespace n
    where {ours} and not exists (
        select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
    order by 1";

/// The objects of a database that are the project's own, in the order of their names.
///
/// # Errors
/// The server is lost.
pub(super) async fn read(control: &mut PgConnection) -> Result<Vec<Object>> {
    let failed = || "failed to list what privileges are granted on".to_owned();
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut *control)
        .await?;
    let mut objects = Vec::new();
    let sql = query(RELATIONS, "pg_class");
    for row in
        sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *control).await.attempt(ErrorKind::Database, failed)?
    {
        let name = QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?);
        let kind: String = row.try_get("kind")?;
        let (columns, keys): (Vec<String>, Vec<String>) = (row.try_get("columns")?, row.try_get("keys")?);
        let sort = if kind == "S" { Sort::Sequence } else { Sort::Relation };
        objects.push(Object {
            sort,
            oid: Some(row.try_get("oid")?),
            kind: match (kind.as_str(), row.try_get("is_partition")?) {
                ("S", _) => "sequence",
                ("p", false) => "partitioned table",
                ("v", _) => "view",
                ("m", _) => "materialized view",
                ("f", _) => "foreign table",
                (_, true) => "partition",
                _ => "table",
            }
            .into(),
            root: row.try_get("root")?,
            sql: if sort == Sort::Sequence { format!("sequence {}", name.sql()) } else { name.sql() },
            is_definer: false,
            trials: match sort {
                Sort::Sequence => of_sequence(&name),
                _ => of_relation(&name, &kind, &columns, &keys, version),
            },
            name: name.to_string(),
        });
    }
    let sql = query(ROUTINES, "pg_proc");
    for row in
        sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *control).await.attempt(ErrorKind::Database, failed)?
    {
        let name = QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?);
        let (kind, arguments): (String, String) = (row.try_get("kind")?, row.try_get("arguments")?);
        let types: Vec<String> = row.try_get("types")?;
        let trial = Trial::new(Privilege::Execute, call(&name, &kind, &types, row.try_get("is_variadic")?));
        objects.push(Object {
            sort: Sort::Routine,
            oid: None,
            kind: match kind.as_str() {
                "p" => "procedure",
                "a" => "aggregate",
                _ => "function",
            }
            .into(),
            root: None,
            sql: format!("routine {}({arguments})", name.sql()),
            is_definer: row.try_get("is_definer")?,
            trials: vec![trial],
            name: format!("{name}({})", types.join(", ")),
        });
    }
    let sql = query(SCHEMAS, "pg_namespace");
    let schemas: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_all(control)
        .await
        .attempt(ErrorKind::Database, failed)?;
    objects.extend(schemas.into_iter().map(|name| {
        let inside = |name: &str, object: &str| QualifiedName::new(name, object).sql();
        let looks = format!("select {}::regclass", quote_literal(&inside(&name, "pgharness_absent")));
        Object {
            sort: Sort::Schema,
            oid: None,
            kind: "schema".into(),
            root: None,
            sql: format!("schema {}", quote_ident(&name)),
            is_definer: false,
            trials: vec![
                Trial::new(Privilege::Usage, looks),
                Trial::new(Privilege::Create, format!("create table {} ()", inside(&name, "pgharness_made"))),
            ],
            name,
        }
    }));
    // By the bytes of their names, whatever the database's collation is.
    objects.sort_by(|one, other| (one.sort, &one.name).cmp(&(other.sort, &other.name)));
    Ok(objects)
}

fn of_relation(
    name: &QualifiedName,
    kind: &str,
    columns: &[String],
    keys: &[String],
    version: i32,
) -> Vec<Trial> {
    let table = name.sql();
    let is_table = matches!(kind, "r" | "p");
    // A foreign server need not be there.
    let explain = if kind == "f" { "explain " } else { "" };
    let mut trials = vec![Trial::new(Privilege::Select, format!("{explain}select 1 from {table} limit 0"))];
    if kind != "m" {
        // An identity column takes no value without these words, and a view does not take them.
        let overriding = if is_table { " overriding system value" } else { "" };
        for column in columns {
            let column = quote_ident(column);
            trials.push(Trial::new(
                Privilege::Insert,
                format!("{explain}insert into {table} ({column}){overriding} select null where false"),
            ));
            trials.push(Trial::new(
                Privilege::Update,
                format!("{explain}update {table} set {column} = default where false"),
            ));
        }
        trials.push(Trial::new(Privilege::Delete, format!("{explain}delete from {table} where false")));
        let when = if kind == "v" { "instead of insert" } else { "after insert" };
        let each = if kind == "v" { "row" } else { "statement" };
        trials.push(Trial::new(
            Privilege::Trigger,
            format!(
                "create trigger pgharness {when} on {table} for each {each} execute function {SCRATCH}.nothing()"
            ),
        ));
    }
    if is_table {
        trials.push(Trial::new(Privilege::Truncate, format!("truncate {table}")));
        if !keys.is_empty() {
            let keys: Vec<String> = keys.iter().map(|key| quote_ident(key)).collect();
            // Who refers is asked for the privilege before the columns are compared.
            trials.push(Trial::new(
                Privilege::References,
                format!("alter table {PROBE} add foreign key (c) references {table} ({})", keys.join(", ")),
            ));
        }
    }
    if version >= 170_000 {
        match kind {
            // A partitioned one is reindexed outside of transactions only.
            "r" => trials.push(Trial::new(Privilege::Maintain, format!("reindex table {table}"))),
            "m" => trials.push(Trial::new(
                Privilege::Maintain,
                format!("refresh materialized view {table} with no data"),
            )),
            _ => {}
        }
    }
    trials
}

fn of_sequence(name: &QualifiedName) -> Vec<Trial> {
    let literal = quote_literal(&name.sql());
    vec![
        Trial::new(Privilege::Select, format!("select 1 from {} limit 0", name.sql())),
        Trial::new(Privilege::Usage, format!("select nextval({literal})")),
        Trial::new(Privilege::Update, format!("select setval({literal}, 1)")),
    ]
}

/// A call that is allowed or not, and never comes to be made.
fn call(name: &QualifiedName, kind: &str, types: &[String], is_variadic: bool) -> String {
    let last = types.len().saturating_sub(1);
    let spread = |place: usize| if is_variadic && place == last { "variadic " } else { "" };
    if kind == "p" {
        // The privilege is asked for before the arguments are evaluated, and these cannot be.
        let absent = types
            .iter()
            .enumerate()
            .map(|(place, of)| format!("{}current_setting('pgharness.absent')::{of}", spread(place)));
        let arguments: Vec<String> = absent.collect();
        let guard = if types.is_empty() { "set local transaction_read_only = on; " } else { "" };
        return format!("{guard}call {}({})", name.sql(), arguments.join(", "));
    }
    let over = if kind == "w" { " over ()" } else { "" };
    let arguments: Vec<String> = (0..types.len()).map(|place| format!("{}a{place}", spread(place))).collect();
    let nulls: Vec<String> =
        types.iter().enumerate().map(|(place, of)| format!("null::{of} as a{place}")).collect();
    // OFFSET 0 keeps the planner from knowing the arguments, and so from calling a function ahead or not at all.
    let from = if nulls.is_empty() {
        String::new()
    } else {
        format!(" from (select {} offset 0) a", nulls.join(", "))
    };
    format!("select {}({}){over}{from} where false", name.sql(), arguments.join(", "))
}
