//! Sequences, also those that belong to an identity or a serial column; never how far they have come.

pub(super) const QUERIES: &[&str] = &[SEQUENCES];

/// The owner of a sequence that belongs to a column is always that of the table.
const SEQUENCES: &str = r#"
    select 'sequence' as kind,
           array[n.nspname, c.relname]::text[] as at,
           format_type(s.seqtypid, null) as type,
           case when s.seqstart <> case when s.seqincrement > 0 then s.seqmin else s.seqmax end
                then s.seqstart::text end as start,
           case when s.seqincrement <> 1 then s.seqincrement::text end as increment,
           case when s.seqmin <> case when s.seqincrement > 0 then 1 else y.least end
                then s.seqmin::text end as minimum,
           case when s.seqmax <> case when s.seqincrement > 0 then y.greatest else -1 end
                then s.seqmax::text end as maximum,
           case when s.seqcache <> 1 then s.seqcache::text end as cache,
           case when s.seqcycle then 'yes' end as cycle,
           case c.relpersistence when 'u' then 'unlogged' end as persistence,
           case when o.attrelid is not null then array[o.nspname, o.relname, o.attname]::text[] end
               as "name:owned by",
           case when o.deptype = 'i' then 'yes' end as identity,
           case when o.attrelid is null then pg_get_userbyid(c.relowner)::text end as owner,
           d.description as comment
    from pg_sequence s
    join pg_class c on c.oid = s.seqrelid
    join pg_namespace n on n.oid = c.relnamespace
    cross join lateral (
        select case s.seqtypid when 'smallint'::regtype then -32768
                    when 'integer'::regtype then -2147483648
                    else -9223372036854775808 end::bigint,
               case s.seqtypid when 'smallint'::regtype then 32767
                    when 'integer'::regtype then 2147483647
                    else 9223372036854775807 end::bigint) as y(least, greatest)
    left join lateral (
        select a.attrelid, a.attname, tc.relname, tn.nspname, w.deptype
        from pg_depend w
        join pg_attribute a on a.attrelid = w.refobjid and a.attnum = w.refobjsubid
        join pg_class tc on tc.oid = a.attrelid
        join pg_namespace tn on tn.oid = tc.relnamespace
        where w.classid = 'pg_class'::regclass and w.objid = c.oid and w.deptype in ('a', 'i')
          and w.refclassid = 'pg_class'::regclass and w.refobjsubid > 0) o on true
    left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
    where c.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"#;
