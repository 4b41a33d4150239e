//! Columns. The columns of a view follow from its definition, so that only those are told of which something
//! was said besides: a default, a comment, an option.

pub(super) const QUERIES: &[&str] = &[COLUMNS];

/// From 18 on a NOT NULL is a row of `pg_constraint` too. It is told as nullability, so that 15 agrees; what
/// only 18 knows of it (not validated, not inherited) is added. From 17 on partitions share the identity of
/// their parent, before they have none: it is told of the parent only.
const COLUMNS: &str = r#"
    select 'column' as kind,
           array[n.nspname, c.relname, a.attname]::text[] as at,
           format_type(a.atttypid, a.atttypmod) as type,
           case when not a.attnotnull then 'yes'
                else concat_ws(', ', 'no', case when not k.convalidated then 'not valid' end,
                                           case when k.connoinherit then 'no inherit' end) end as nullable,
           case when a.attgenerated = '' then pg_get_expr(v.adbin, v.adrelid) end as "expr:default",
           case when a.attgenerated <> '' then pg_get_expr(v.adbin, v.adrelid) end as "expr:generated",
           case a.attgenerated when 'v' then 'virtual' end as "kept",
           case when not c.relispartition
                then case a.attidentity when 'a' then 'always' when 'd' then 'by default' end end as identity,
           case when a.attcollation <> t.typcollation then a.attcollation::regcollation::text end as collation,
           case when a.attstorage <> t.typstorage
                then case a.attstorage when 'p' then 'plain' when 'e' then 'external'
                                       when 'm' then 'main' when 'x' then 'extended' end end as storage,
           case a.attcompression when 'p' then 'pglz' when 'l' then 'lz4' end as compression,
           case when a.attstattarget >= 0 then a.attstattarget::text end as "statistics target",
           (select string_agg(entry, ', ' order by entry collate "C") from unnest(a.attoptions) entry) as options,
           (select string_agg(entry, ', ' order by entry collate "C") from unnest(a.attfdwoptions) entry)
               as "foreign options",
           (select dn.description from pg_description dn
            where dn.classoid = 'pg_constraint'::regclass and dn.objoid = k.oid) as "comment of not null",
           d.description as comment
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef v on v.adrelid = c.oid and v.adnum = a.attnum
    left join pg_constraint k on k.conrelid = c.oid and k.contype = 'n' and k.conkey[1] = a.attnum
    left join pg_description d
        on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = a.attnum
    where c.oid >= 16384
      and n.nspname !~ '^pg_t'
      and (c.relkind in ('r', 'p', 'f')
           or c.relkind in ('v', 'm')
              and (d.description is not null or v.adbin is not null or a.attstattarget >= 0
                   or a.attoptions is not null or a.attstorage <> t.typstorage or a.attcompression <> ''))
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"#;
