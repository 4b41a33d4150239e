//! Publications. Subscriptions are not modelled: they hold passwords, and belong to one server.

pub(super) const QUERIES: &[&str] = &[PUBLICATIONS];

/// Generated columns are published on request from 18 on: hence the way over JSON.
const PUBLICATIONS: &str = r#"
    select 'publication' as kind,
           array[p.pubname]::text[] as at,
           case when p.puballtables then 'all' else (
               select string_agg(
                   r.prrelid::regclass::text
                       || coalesce(' (' || (
                              select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                              from pg_attribute a
                              where a.attrelid = r.prrelid and a.attnum = any (r.prattrs::int2[])) || ')', '')
                       || coalesce(' where ' || pg_get_expr(r.prqual, r.prrelid), ''),
                   e'\n' order by r.prrelid::regclass::text collate "C")
               from pg_publication_rel r where r.prpubid = p.oid) end as tables,
           (select string_agg(quote_ident(n.nspname), ', ' order by n.nspname)
            from pg_publication_namespace s join pg_namespace n on n.oid = s.pnnspid
            where s.pnpubid = p.oid) as schemas,
           concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
                           case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end)
               as publishes,
           case when p.pubviaroot then 'yes' end as "by root",
           case to_jsonb(p) ->> 'pubgencols' when 's' then 'stored' end as "generated columns",
           pg_get_userbyid(p.pubowner)::text as owner,
           d.description as comment
    from pg_publication p
    left join pg_description d
        on d.classoid = 'pg_publication'::regclass and d.objoid = p.oid and d.objsubid = 0
    where p.oid >= 16384
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_publication'::regclass and e.objid = p.oid and e.deptype = 'e')"#;
