//! Publications and subscriptions.

pub(super) const QUERIES: &[&str] = &[PUBLICATIONS, SUBSCRIPTIONS];

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

/// How it connects holds a password: it is not told, and only superusers may read it. What newer servers know
/// besides (origin and rights from 16, failover from 17) is taken from `newer` where the catalog lacks the column.
const SUBSCRIPTIONS: &str = r#"
    select 'subscription' as kind,
           array[s.subname]::text[] as at,
           (select string_agg(quote_ident(p), ', ' order by p collate "C") from unnest(s.subpublications) p)
               as publications,
           case when not s.subenabled then 'no' end as enabled,
           case when s.subslotname is distinct from s.subname then coalesce(s.subslotname::text, 'none') end as slot,
           case when s.subbinary then 'yes' end as binary,
           case s.substream::text when 'p' then 'parallel' when 't' then 'on' when 'true' then 'on' end as streaming,
           case when s.subtwophasestate <> 'd' then 'yes' end as "two phases",
           case when s.subdisableonerr then 'yes' end as "disable on error",
           nullif(s.subsynccommit, 'off') as "synchronous commit",
           nullif(o.origin, 'any') as origin,
           case when not o.password_required then 'no' end as "password required",
           case when o.run_as_owner then 'yes' end as "run as owner",
           case when o.failover then 'yes' end as failover,
           pg_get_userbyid(s.subowner)::text as owner,
           d.description as comment
    from pg_subscription s
    join pg_database b on b.oid = s.subdbid and b.datname = current_database()
    cross join (
        select 'any' as suborigin, true as subpasswordrequired, false as subrunasowner, false as subfailover) newer
    cross join lateral (
        select (select suborigin from pg_subscription y where y.oid = s.oid),
               (select subpasswordrequired from pg_subscription y where y.oid = s.oid),
               (select subrunasowner from pg_subscription y where y.oid = s.oid),
               (select subfailover from pg_subscription y where y.oid = s.oid))
        as o(origin, password_required, run_as_owner, failover)
    left join pg_description d
        on d.classoid = 'pg_subscription'::regclass and d.objoid = s.oid and d.objsubid = 0"#;
