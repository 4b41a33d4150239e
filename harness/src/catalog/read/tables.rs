//! Tables: plain, partitioned, partitions and foreign ones.

pub(super) const QUERIES: &[&str] = &[TABLES];

const TABLES: &str = r#"
    select case c.relkind when 'f' then 'foreign table' else 'table' end as kind,
           array[n.nspname, c.relname]::text[] as at,
           pg_get_userbyid(c.relowner)::text as owner,
           (select array_agg(a.attname::text order by a.attnum)
            from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as "list:columns",
           case c.relpersistence when 'u' then 'unlogged' end as persistence,
           case when m.amname <> 'heap' then m.amname::text end as "access method",
           nullif(c.reloftype, 0)::regtype::text as "of type",
           pg_get_partkeydef(c.oid) as "partition key",
           case when c.relispartition then (
               select array[pn.nspname, p.relname]::text[]
               from pg_inherits i
               join pg_class p on p.oid = i.inhparent
               join pg_namespace pn on pn.oid = p.relnamespace
               where i.inhrelid = c.oid) end as "name:partition of",
           pg_get_expr(c.relpartbound, c.oid) as "expr:bounds",
           (select 'pending' from pg_inherits i where i.inhrelid = c.oid and i.inhdetachpending) as detach,
           case when not c.relispartition then (
               select string_agg(i.inhparent::regclass::text, ', ' order by i.inhseqno)
               from pg_inherits i where i.inhrelid = c.oid) end as inherits,
           case case when c.relkind <> 'f' then c.relreplident end
               when 'f' then 'full'
               when 'n' then 'nothing'
               when 'i' then (
                   select 'index ' || ic.relname
                   from pg_index x join pg_class ic on ic.oid = x.indexrelid
                   where x.indrelid = c.oid and x.indisreplident)
           end as "replica identity",
           (select ic.relname::text
            from pg_index x join pg_class ic on ic.oid = x.indexrelid
            where x.indrelid = c.oid and x.indisclustered) as "clustered on",
           nullif(concat_ws(', ', case when c.relrowsecurity then 'enabled' end,
                                  case when c.relforcerowsecurity then 'forced' end), '') as "row security",
           (select string_agg(entry, ', ' order by entry collate "C")
            from (select unnest(c.reloptions) as entry
                  union all select 'toast.' || unnest(t.reloptions)) o) as options,
           b.spcname::text as tablespace,
           s.srvname::text as server,
           (select string_agg(entry, ', ' order by entry collate "C") from unnest(f.ftoptions) entry) as "foreign options",
           d.description as comment
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_am m on m.oid = c.relam
    left join pg_class t on t.oid = c.reltoastrelid
    left join pg_tablespace b on b.oid = c.reltablespace
    left join pg_foreign_table f on f.ftrelid = c.oid
    left join pg_foreign_server s on s.oid = f.ftserver
    left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
    where c.relkind in ('r', 'p', 'f')
      and c.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"#;
