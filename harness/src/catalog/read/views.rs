//! Views and materialized views. Whether a materialized view is filled is a matter of data, not of structure.

pub(super) const QUERIES: &[&str] = &[VIEWS];

const VIEWS: &str = r#"
    select case c.relkind when 'm' then 'materialized view' else 'view' end as kind,
           array[n.nspname, c.relname]::text[] as at,
           pg_get_userbyid(c.relowner)::text as owner,
           pg_get_viewdef(c.oid) as "query:definition",
           (select string_agg(entry, ', ' order by entry collate "C") from unnest(c.reloptions) entry) as options,
           case when m.amname <> 'heap' then m.amname::text end as "access method",
           b.spcname::text as tablespace,
           d.description as comment
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_am m on m.oid = c.relam
    left join pg_tablespace b on b.oid = c.reltablespace
    left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
    where c.relkind in ('v', 'm')
      and c.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"#;
