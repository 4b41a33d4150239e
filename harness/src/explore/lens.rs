//! What the server says of a session's relations, and of a database in which statements do more than they say.

use crate::error::{Attempt, ErrorKind, Result};
use crate::script::{FUNCTIONS, connect};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::collections::HashMap;

const NAMES: &str = "select c.oid::int8, format('%I.%I', n.nspname, c.relname)
                     from pg_class c join pg_namespace n on n.oid = c.relnamespace
                     where c.oid >= 16384 and c.relkind <> 't'";

/// The first thing in the database for which what a statement does cannot be told from its words and its locks. The trees of
/// defaults, constraints and indexes name the functions that they call.
const HINDRANCE: &str = r"
    with tree (place, tree) as (
        select 'the default of a column of ' || adrelid::regclass, adbin::text from pg_attrdef where oid >= 16384
        union all
        select 'a constraint of ' || conrelid::regclass, conbin::text from pg_constraint
        where oid >= 16384 and conbin is not null
        union all
        select 'the index ' || indexrelid::regclass, concat(indexprs::text, indpred::text) from pg_index
        where indexrelid >= 16384
    ), called (place, function) as (
        select place, (regexp_matches(tree, ':(?:funcid|opfuncid) (\d+)', 'g'))[1]::oid from tree
    )
    select hindrance from (
        select 1, format('%s is neither a table nor an index', oid::regclass) from pg_class
        where oid >= 16384 and relkind not in ('r', 'i', 'S', 't')
        union all
        select 2, format('%s has row-level security', oid::regclass) from pg_class
        where oid >= 16384 and relrowsecurity
        union all
        select 3, format('%s has a trigger', tgrelid::regclass) from pg_trigger
        where oid >= 16384 and (not tgisinternal or tgdeferrable)
        union all
        select 4, format('%s has a rule', ev_class::regclass) from pg_rewrite where oid >= 16384
        union all
        select 5, format('%s has a column of type %s', attrelid::regclass, atttypid::regtype)
        from pg_attribute join pg_class c on c.oid = attrelid
        where c.oid >= 16384 and relkind = 'r' and attnum > 0 and not attisdropped and atttypid <> all (
            '{bool,bytea,int2,int4,int8,text,varchar,bpchar,float4,float8,numeric,uuid,json,jsonb}'::regtype[])
        union all
        select 6, format('%s calls %s', place, function::regprocedure) from called join pg_proc p on p.oid = function
        where p.oid <> 'nextval(regclass)'::regprocedure and (p.oid >= 16384 or provolatile <> 'i')
        union all
        select 7, place || ' depends on more than its arguments' from tree
        where tree ~ '\{(SQLVALUEFUNCTION|COERCEVIAIO)'
        union all
        select 8, format('there is an operator of its own: %s', oid::regoperator) from pg_operator where oid >= 16384
        union all
        select 9, format('there is a cast of its own: %s to %s', castsource::regtype, casttarget::regtype) from pg_cast
        where oid >= 16384
        union all
        select 10, format('there is a function that may be called without parentheses or in the place of another: %s',
                          p.oid::regprocedure)
        from pg_proc p
        where p.oid >= 16384 and (proname = any ($1) or exists (
            select from pg_type t where t.oid = any (proargtypes) and typtype in ('c', 'p')))
        union all
        select 11, format('there is an event trigger: %I', evtname) from pg_event_trigger
        union all
        select 12, format('there is an access method of its own: %I', amname) from pg_am where oid >= 16384
    ) as found (place, hindrance)
    order by place, hindrance limit 1";

/// Knows the relations of the database that is explored.
#[derive(Debug)]
pub(super) struct Lens {
    /// Between schedules too; `None`: nobody may stay in a database that is cloned.
    reader: Option<PgConnection>,
    is_cloned: bool,
    names: HashMap<i64, String>,
}

impl Lens {
    pub(super) fn new(is_cloned: bool) -> Lens {
        Lens { reader: None, is_cloned, names: HashMap::new() }
    }

    /// Learns what relations are called in this schedule. The first time it gives what there is in the database for which
    /// nothing is certain.
    pub(super) async fn focus(&mut self, options: &PgConnectOptions) -> Result<Option<String>> {
        let is_first = self.names.is_empty();
        // A clone has the numbers of what it was cloned from.
        if self.is_cloned && !is_first {
            return Ok(None);
        }
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => connect(options).await?,
        };
        let failed = || "failed to read the catalog of the database that is explored".into();
        let names: Vec<(i64, String)> =
            sqlx::query_as(NAMES).fetch_all(&mut reader).await.attempt(ErrorKind::Database, failed)?;
        self.names = names.into_iter().collect();
        let mut hindrance = None;
        if is_first {
            hindrance = sqlx::query_scalar(HINDRANCE)
                .bind(FUNCTIONS)
                .fetch_optional(&mut reader)
                .await
                .attempt(ErrorKind::Database, failed)?;
        }
        if self.is_cloned {
            reader.close().await.attempt(ErrorKind::Database, failed)?;
        } else {
            self.reader = Some(reader);
        }
        Ok(hindrance)
    }

    /// What a relation is called that was there when the schedule began, and is none of the server's own.
    pub(super) fn name(&self, relation: i64) -> Option<&String> {
        self.names.get(&relation)
    }
}
