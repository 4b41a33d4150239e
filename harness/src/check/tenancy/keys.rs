//! Keys that are unique across tenants, and so tell one about another.

use super::probe::ROW;
use super::tables::Relation;
use super::tried::Reach;
use super::writing::{Actor, Writing};
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{QualifiedName, quote_ident, quote_literal};
use sqlx::{PgConnection, Row};
use std::collections::BTreeSet;

/// A unique key or an exclusion constraint that does not include the tenant.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// It is a constraint, and no mere index.
    pub(super) is_constraint: bool,
    /// The columns that it speaks of, not quoted.
    pub(super) columns: Vec<String>,
}

/// What cannot be guessed tells nobody anything: a value of this type, or of a column of such a name.
const RANDOM: &str = "uuid|bytea";
const RANDOM_NAME: &str =
    "(^|_)(hash|hashed|digest|token|secret|nonce|fingerprint|checksum|sha[0-9]+|uuid|ulid|guid)(_|$)";

const KEYS: &str = "
    with used as (
        -- The columns of the key, and those that its expressions and its condition mention.
        select i.indexrelid, u.number from pg_index i, unnest(i.indkey::int2[]) as u (number) where u.number > 0
        union
        select i.indexrelid, d.refobjsubid::int2
        from pg_index i join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
            and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid and d.refobjsubid > 0
    ),
    columns as (
        select used.indexrelid, a.attname::text as name, a.attnum,
            b.typname::text ~ ('^(' || $2 || ')$') or a.attname::text ~* $3 as is_random,
            -- A number that the server draws says no more than the next one does; and what refers to a row of another
            -- tenant has a check of its own.
            a.attidentity <> '' or pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname) is not null
                or exists (
                    select from pg_constraint f
                    where f.conrelid = c.oid and f.contype = 'f' and a.attnum = any (f.conkey)
                        and exists (select from pg_attribute t where t.attrelid = f.confrelid and t.attname = $4)
                ) as is_drawn,
            a.attname = $4 as is_tenant
        from used
        join pg_index i on i.indexrelid = used.indexrelid
        join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = used.number
        join pg_type t on t.oid = a.atttypid
        join pg_type b on b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
    )
    select x.relname::text as name, exists (select from pg_constraint k where k.conindid = x.oid
            and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')) as is_constraint,
        array_agg(columns.name order by columns.attnum) as columns
    from pg_index i
    join pg_class x on x.oid = i.indexrelid
    join columns on columns.indexrelid = x.oid
    where i.indrelid = $1::regclass and (i.indisunique or i.indisexclusion) and i.indisvalid
        -- Those of partitions are their parents'.
        and not x.relispartition
    group by x.oid, x.relname, i.indrelid
    having not bool_or(columns.is_random or columns.is_drawn or columns.is_tenant)
    order by 1";

/// The keys of `relation` that can be guessed and do not include the tenant.
pub(super) async fn read(
    connection: &mut PgConnection,
    tenant: &str,
    relation: &Relation,
) -> Result<Vec<Key>> {
    let rows = sqlx::query(KEYS)
        .bind(relation.name.sql())
        .bind(RANDOM)
        .bind(RANDOM_NAME)
        .bind(tenant)
        .fetch_all(connection)
        .await
        .attempt(ErrorKind::Database, || format!("failed to list the keys of `{}`", relation.name))?;
    rows.iter()
        .map(|row| {
            Ok(Key {
                name: row.try_get("name")?,
                is_constraint: row.try_get("is_constraint")?,
                columns: row.try_get("columns")?,
            })
        })
        .collect()
}

/// A row of the attacker's with the key of a row of the other tenant.
pub(super) struct Twin {
    /// The statement that inserts it; the row travels in a setting.
    pub(super) insert: String,
    /// The row, as an SQL expression of type jsonb, and what it is.
    pub(super) json: String,
    pub(super) row: String,
    pub(super) reads: BTreeSet<QualifiedName>,
}

impl Key {
    /// Puts together such a row for who may insert, or says why there is none. A row like it with a key of its own goes
    /// in: else nothing is learned. `None` where the role has no say in the key.
    pub(super) async fn twin(
        &self,
        writing: &mut Writing,
        actor: &mut Actor,
        relation: &Relation,
    ) -> Result<Option<Result<Twin, String>>> {
        let Some(columns) = relation.writers.get(&actor.role) else { return Ok(None) };
        if !self.columns.iter().all(|column| columns.contains(column)) {
            return Ok(None);
        }
        let (own, other) = (writing.attack.tenants.own.clone(), writing.tenants().1);
        let plan = match writing.plan(relation, Some(columns), &own).await? {
            Ok(plan) => plan,
            Err(reason) => return Ok(Some(Err(format!("it took no row of its own tenant ({reason})")))),
        };
        let travelling = format!("current_setting({})::jsonb", quote_literal(ROW));
        let insert = plan.insert(&relation.name, &travelling);
        let Some(honest) = writing.evaluate(&plan.json).await? else {
            return Ok(Some(Err("the row to copy is gone".into())));
        };
        match writing.control(&mut actor.own, &insert, Some(&honest)).await? {
            Reach::Rows(_) => {}
            Reach::Nothing => return Ok(Some(Err("a row of its own tenant does not go in".into()))),
            Reach::Stopped(refusal) | Reach::Refused(refusal) | Reach::Unknown(refusal) => {
                return Ok(Some(Err(format!("it refuses a row of its own tenant ({refusal})"))));
            }
        }
        let pairs: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{}, q.{}", quote_literal(column), quote_ident(column)))
            .collect();
        let json = format!(
            "{} || (select jsonb_build_object({}) from {} q where q.{} = {other} limit 1)",
            plan.json,
            pairs.join(", "),
            relation.name.sql(),
            relation.column
        );
        let Some(row) = writing.evaluate(&json).await? else {
            return Ok(Some(Err("it has no row of another tenant".into())));
        };
        let mut twin = plan.clone();
        let missing = self.columns.iter().filter(|column| !plan.columns.contains(column));
        twin.columns.extend(missing.cloned());
        let mut reads = plan.reads;
        reads.insert(relation.name.clone());
        Ok(Some(Ok(Twin { insert: twin.insert(&relation.name, &travelling), json, row, reads })))
    }
}
