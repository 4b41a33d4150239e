//! Two tenants with rows everywhere, so that one can be asked for the other's.

use super::setting::Setting;
use super::tables::Relation;
use crate::check::Tenancy;
use crate::digest::Digest;
use crate::error::{Attempt, ErrorKind, Result};
use crate::fixture::rows::{Like, Rows, Step, Wish};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// The tenant whose context is set, and the one whose rows it must not reach.
#[derive(Clone, Debug)]
pub(super) struct Tenants {
    pub(super) own: String,
    pub(super) other: String,
}

/// What was added so that there is something to see.
#[derive(Clone, Debug, Default)]
pub(super) struct Seeds {
    /// The statements, in the order in which they ran.
    pub(super) journal: Vec<Step>,
    /// How many relations were added to.
    pub(super) relations: usize,
    /// The tables that say nothing of tenants and had no row: what is in them was made up, and each tenant has its own. Who
    /// is in one team with another may be meant to see them.
    pub(super) apart: BTreeSet<QualifiedName>,
    /// Why a relation has not a row for each tenant.
    pub(super) lacking: BTreeMap<QualifiedName, String>,
}

/// The two values of the tenant's column that occur in most tables, or in the table of tenants; where there are
/// none, values of its type.
pub(super) async fn choose(
    connection: &mut PgConnection,
    tenancy: &Tenancy,
    relations: &[Relation],
) -> Result<Option<Tenants>> {
    let mut parts: Vec<String> = relations
        .iter()
        .filter(|relation| matches!(relation.kind, "table" | "partition"))
        .map(|relation| {
            format!("select distinct {}::text as value from {}", relation.column, relation.own_rows())
        })
        .collect();
    parts.extend(owners(connection, tenancy).await?);
    let mut found: Vec<String> = Vec::new();
    if !parts.is_empty() {
        let sql = format!(
            "select value from ({}) every where value <> '' group by value order by count(*) desc, value limit 2",
            parts.join(" union all ")
        );
        found = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut *connection)
            .await
            .attempt(ErrorKind::Database, || "failed to look for tenants in the data".into())?;
    }
    let Some(first) = relations.iter().find(|relation| relation.is_store() && !relation.is_of_tenants) else {
        return Ok(None);
    };
    for invented in invented(first) {
        if found.len() < 2 && !found.contains(&invented) {
            found.push(invented);
        }
    }
    found.sort();
    let mut found = found.into_iter();
    Ok(found.next().zip(found.next()).map(|(own, other)| Tenants { own, other }))
}

/// The tables that the tenant's column refers to, each as a query for its keys.
async fn owners(connection: &mut PgConnection, tenancy: &Tenancy) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "select distinct n.nspname::text as schema, p.relname::text as name, k.attname::text as key
         from pg_constraint c
         join pg_attribute a on a.attrelid = c.conrelid and a.attname = $1 and c.conkey = array[a.attnum]
         join pg_class p on p.oid = c.confrelid
         join pg_namespace n on n.oid = p.relnamespace
         join pg_attribute k on k.attrelid = p.oid and k.attnum = c.confkey[1]
         where c.contype = 'f' order by 1, 2, 3",
    )
    .bind(&tenancy.column)
    .fetch_all(connection)
    .await
    .attempt(ErrorKind::Database, || "failed to look for the table of tenants".into())?;
    rows.iter()
        .map(|row| {
            let table =
                QualifiedName::new(row.try_get::<String, _>("schema")?, row.try_get::<String, _>("name")?);
            Ok(format!(
                "select {}::text from {}",
                quote_ident(&row.try_get::<String, _>("key")?),
                table.sql()
            ))
        })
        .collect()
}

fn invented(relation: &Relation) -> [String; 2] {
    match (relation.category.as_str(), relation.type_name.as_str()) {
        (_, "uuid") => ["a", "b"].map(|letter| format!("{letter}0000000-0000-4000-8000-000000000000")),
        ("N", _) => ["1001", "1002"].map(String::from),
        _ => ["tenant-a", "tenant-b"].map(String::from),
    }
}

/// Sees to it that each of `relations` that somebody can reach has rows of both tenants, and of none where the
/// column admits that, each with parents of its own in the tables that are kept [`apart`](Seeds::apart). Where a table has
/// texts, some of each tenant's rows hold its [`canary`].
pub(super) async fn seed(
    connection: &mut PgConnection,
    tenancy: &Tenancy,
    setting: &Setting,
    tenants: &Tenants,
    relations: &[Relation],
    apart: BTreeSet<QualifiedName>,
) -> Result<Seeds> {
    let mut seeds = Seeds { apart, ..Seeds::default() };
    let is_reached = |relation: &Relation| !relation.readers.is_empty() || !relation.writers.is_empty();
    let is_shown = |relation: &Relation| {
        relations.iter().any(|view| is_reached(view) && view.shows.contains(&relation.name))
    };
    let reached: Vec<&Relation> =
        relations.iter().filter(|relation| is_reached(relation) || is_shown(relation)).collect();
    let is_filled = |relation: &&&Relation| relation.is_store() && !relation.is_of_tenants;
    let stores: Vec<&Relation> = reached.iter().filter(is_filled).copied().collect();
    let mut rows = Rows::read(connection).await?;
    for (relation, present) in stores.iter().zip(present(connection, tenants, &stores).await?) {
        let before = seeds.journal.len();
        let mut wishes: Vec<(String, bool, Wish)> = Vec::new();
        for (tenant, is_there) in [(&tenants.own, present.own), (&tenants.other, present.other)] {
            // A partition that has rows of its own needs no mark: its parent's is enough.
            let is_to_be_marked = relation.ancestors.is_empty() && rows.can_be_marked(&relation.name);
            if !is_there || is_to_be_marked {
                let wish = of_tenant(tenancy, setting, tenant, &seeds);
                wishes.push((format!("tenant {}", quote_literal(tenant)), !is_there, wish));
            }
        }
        if relation.is_nullable && !present.nobody {
            wishes.push(("no tenant".into(), false, of_nobody(tenancy, "null")));
        }
        // Where the column refers to the tenants, no tenant is called "".
        if relation.is_text() && !relation.is_reference && !present.blank {
            wishes.push(("the tenant ''".into(), false, of_nobody(tenancy, "''")));
        }
        for (whose, is_needed, wish) in wishes {
            match add(connection, &mut rows, relation, wish, is_needed).await? {
                Ok(steps) => seeds.journal.extend(steps),
                Err(reason) if is_needed => {
                    let reason = format!("it took no row for {whose} ({reason})");
                    seeds.lacking.insert(relation.name.clone(), reason);
                }
                // A table that refuses rows of nobody has none to leak; one with rows that refuses a mark does without.
                Err(_) => {}
            }
        }
        seeds.relations += usize::from(seeds.journal.len() > before);
    }
    for relation in reached.iter().filter(|relation| relation.kind == "materialized view") {
        let sql = format!("refresh materialized view {}", relation.name.sql());
        match connection.execute(AssertSqlSafe(sql.as_str())).await {
            Ok(_) => {
                let (table, reads) = (relation.name.clone(), relation.shows.iter().cloned().collect());
                seeds.journal.push(Step { table, sql, reads });
            }
            Err(sqlx::Error::Database(answer)) => {
                let code = answer.code().unwrap_or_default();
                let reason = format!("it could not be refreshed (SQLSTATE {code})");
                seeds.lacking.insert(relation.name.clone(), reason);
            }
            Err(lost) => return Err(lost.into()),
        }
    }
    Ok(seeds)
}

/// Whose rows a relation has.
struct Present {
    own: bool,
    other: bool,
    nobody: bool,
    blank: bool,
}

async fn present(
    connection: &mut PgConnection,
    tenants: &Tenants,
    stores: &[&Relation],
) -> Result<Vec<Present>> {
    if stores.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<String> = stores
        .iter()
        .enumerate()
        .map(|(place, relation)| {
            let (table, column) = (relation.own_rows(), &relation.column);
            let has = |condition: String| format!("exists (select from {table} where {condition})");
            format!(
                "select {place} as place, {}, {}, {}, {}",
                has(format!("{column} = {}", quote_literal(&tenants.own))),
                has(format!("{column} = {}", quote_literal(&tenants.other))),
                has(format!("{column} is null")),
                if relation.is_text() { has(format!("{column} = ''")) } else { "false".into() },
            )
        })
        .collect();
    let sql = format!("{} order by place", parts.join(" union all "));
    let rows: Vec<(i32, bool, bool, bool, bool)> = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || "failed to look whose rows there are".into())?;
    let present = |(_, own, other, nobody, blank)| Present { own, other, nobody, blank };
    Ok(rows.into_iter().map(present).collect())
}

/// The text by which rows of `tenant` that were made up are known.
pub(super) fn canary(tenant: &str) -> String {
    format!("canary-{}", Digest::of(tenant).short(8))
}

pub(super) fn of_tenant(tenancy: &Tenancy, setting: &Setting, tenant: &str, seeds: &Seeds) -> Wish {
    Wish {
        everywhere: Some((tenancy.column.clone(), tenant.to_owned())),
        apart: seeds.apart.clone(),
        canary: Some(canary(tenant)),
        settings: vec![(setting.name.clone(), setting.value(tenant))],
        ..Wish::default()
    }
}

fn of_nobody(tenancy: &Tenancy, value: &str) -> Wish {
    Wish { values: [(tenancy.column.clone(), value.to_owned())].into(), ..Wish::default() }
}

/// Adds a row like one that is there, in the table or in what it is a part of; or else one that is made up. If one
/// is needed, it may do without a mark.
pub(super) async fn add(
    connection: &mut PgConnection,
    rows: &mut Rows,
    relation: &Relation,
    wish: Wish,
    is_needed: bool,
) -> Result<Result<Vec<Step>, String>> {
    let mut likes: Vec<Option<Like>> = Vec::new();
    for table in std::iter::once(&relation.name).chain(relation.ancestors.last()) {
        let like = Like::of(table, format!("r.{} is not null", relation.column));
        let sql = format!("select exists (select from {} r where {})", table.sql(), like.which);
        let is_there = sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql))
            .fetch_one(&mut *connection)
            .await
            .attempt(ErrorKind::Database, || format!("failed to look for a row of `{table}`"))?;
        if is_there {
            likes.push(Some(like));
        }
    }
    likes.push(None);
    let mut wishes: Vec<Wish> = likes.into_iter().map(|like| Wish { like, ..wish.clone() }).collect();
    if is_needed && wish.canary.is_some() {
        let unmarked: Vec<Wish> = wishes.iter().map(|wish| Wish { canary: None, ..wish.clone() }).collect();
        wishes.extend(unmarked);
    }
    let mut reasons = Vec::new();
    for wish in wishes {
        match rows.add(connection, &relation.name, &wish).await? {
            Ok(steps) => return Ok(Ok(steps)),
            Err(reason) => reasons.push(reason),
        }
    }
    Ok(Err(reasons.pop().unwrap_or_default()))
}
