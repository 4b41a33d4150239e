//! `structure.fk-index`: foreign keys whose check reads the whole table.

use crate::check::{Check, Context, Example, Explanation, Running, Story, Verdict};
use crate::error::{Attempt, ErrorKind, Result};
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::ident::{QualifiedName, quote_ident};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// Every foreign key has an index on the side that refers.
pub(in crate::check) struct FkIndex;

const ID: &str = "structure.fk-index";

impl Check for FkIndex {
    fn id(&self) -> &'static str {
        ID
    }

    fn summary(&self) -> &'static str {
        "every foreign key has an index on the side that refers"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "For every foreign key there is an index that begins with one of its columns and has them all. Where \
                     there is none, the server is asked how it would look for the rows that refer to one that is \
                     deleted, with all else forbidden: a partial index that serves is found, a scan is shown.",
            matters: "The server looks for those rows with each DELETE of the other side and each UPDATE of its key. \
                      Without an index it reads the whole table each time, and holds the lock on the row that goes; \
                      deleting a thousand tenants reads it a thousand times.",
            remedy: "`create index concurrently` on the columns of the foreign key. Where rows of the other side are never \
                     deleted and their keys never change, allow the finding and say so.",
        }
    }

    fn story(&self) -> Option<Story> {
        Some(Story {
            connects: "support, to remove a customer",
            runs: "delete from customers where id = 1",
            gets: "minutes of reading all orders, with the customer's row locked",
            because: "`orders.customer_id` refers to it and has no index: a foreign key brings none",
            fix: "create index on orders (customer_id)",
        })
    }

    fn examples(&self) -> &'static [Example] {
        super::examples::FK_INDEX
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(run(context))
    }
}

/// Foreign keys without a whole index that begins with their columns.
const BARE: &str = "
    select k.conname::text as name, n.nspname::text as schema, c.relname::text as table, c.relkind = 'p' as is_partitioned,
        pn.nspname::text as parent_schema, p.relname::text as parent,
        array(select a.attname::text from unnest(k.conkey) with ordinality u (number, place)
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.number order by u.place) as columns,
        array(select pg_catalog.format_type(a.atttypid, null) from unnest(k.conkey) with ordinality u (number, place)
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.number order by u.place) as types,
        array(select pg_catalog.quote_ident(ic.relname) from pg_catalog.pg_index i
            join pg_catalog.pg_class ic on ic.oid = i.indexrelid
            where i.indrelid = c.oid and i.indisvalid and i.indpred is not null and (i.indkey::int2[])[0] = any (k.conkey)
                and k.conkey <@ i.indkey::int2[]) as partial
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_class p on p.oid = k.confrelid join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
    where k.contype = 'f' and k.conparentid = 0 and not c.relispartition and n.nspname !~ '^pg_'
        and not exists (select from pg_catalog.pg_index i
            where i.indrelid = c.oid and i.indisvalid and i.indpred is null and (i.indkey::int2[])[0] = any (k.conkey)
                and k.conkey <@ (i.indkey::int2[])[0:i.indnkeyatts - 1])
        and not exists (select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    order by n.nspname collate \"C\", c.relname collate \"C\", k.conname collate \"C\"";

async fn run(context: &Context) -> Result<Verdict> {
    let db = context.database().await?;
    let mut control = db.connection().await?;
    let rows = sqlx::query(BARE)
        .fetch_all(&mut control)
        .await
        .attempt(ErrorKind::Database, || "failed to list the foreign keys without an index".into())?;
    let admin = db.server().endpoint().role();
    let mut findings = Vec::new();
    for row in rows {
        let named = |schema: &str, name: &str| -> Result<QualifiedName> {
            Ok(QualifiedName::new(row.try_get::<String, _>(schema)?, row.try_get::<String, _>(name)?))
        };
        let (table, parent) = (named("schema", "table")?, named("parent_schema", "parent")?);
        let (columns, types): (Vec<String>, Vec<String>) = (row.try_get("columns")?, row.try_get("types")?);
        let only = if row.try_get("is_partitioned")? { "" } else { "only " };
        let (steps, plan) = plan(&mut control, &format!("{only}{}", table.sql()), &columns, &types).await?;
        // One of another index reads all rows that have its first column alike.
        let partial: Vec<String> = row.try_get("partial")?;
        if plan.split_whitespace().any(|word| partial.iter().any(|index| index == word)) {
            continue;
        }
        let constraint: String = row.try_get("name")?;
        let shown = columns.join(", ");
        let list: Vec<String> = columns.iter().map(|column| quote_ident(column)).collect();
        let mut evidence: Vec<Evidence> =
            steps.into_iter().map(|sql| Evidence::as_role(admin, sql, "")).collect();
        if let Some(last) = evidence.last_mut() {
            last.result = plan;
        }
        evidence.push(Evidence::as_role(admin, "rollback", ""));
        findings.push(Finding {
            check: ID.into(),
            class: Class::Mistake,
            severity: Severity::Warning,
            subject: Subject::new("foreign key", format!("{table}.{constraint}")),
            message: format!(
                "whoever deletes a row of `{parent}` reads all of `{table}`: ({shown}) refers to it and has no index"
            ),
            help: format!("`create index concurrently on {} ({})`", table.sql(), list.join(", ")),
            evidence,
        });
    }
    Ok(Verdict::of(findings))
}

/// How the server looks for rows that refer to one: the steps, and the plan.
async fn plan(
    control: &mut PgConnection,
    table: &str,
    columns: &[String],
    types: &[String],
) -> Result<(Vec<String>, String)> {
    let conditions: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| format!("x.{} = ${}", quote_ident(column), place + 1))
        .collect();
    let nulls = vec!["null"; types.len()].join(", ");
    let steps = vec![
        "begin".to_owned(),
        "set local enable_seqscan = off".to_owned(),
        "set local plan_cache_mode = force_generic_plan".to_owned(),
        format!(
            "prepare pgharness_refers ({}) as select 1 from {table} x where {} for key share of x",
            types.join(", "),
            conditions.join(" and ")
        ),
        format!("explain (costs off) execute pgharness_refers ({nulls})"),
    ];
    let (explain, before) =
        steps.split_last().map_or((String::new(), &[][..]), |(last, all)| (last.clone(), all));
    sqlx::raw_sql(AssertSqlSafe(before.join("; ")))
        .execute(&mut *control)
        .await
        .attempt(ErrorKind::Database, || format!("failed to ask how rows of {table} are looked for"))?;
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *control).await;
    control.execute("rollback").await?;
    control.execute("deallocate pgharness_refers").await?;
    let rows =
        rows.attempt(ErrorKind::Database, || format!("failed to ask how rows of {table} are looked for"))?;
    let lines: Result<Vec<String>, sqlx::Error> = rows.iter().map(|row| row.try_get(0)).collect();
    Ok((steps, lines?.join("\n")))
}
