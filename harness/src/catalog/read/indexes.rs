//! Indexes that back no constraint, and extended statistics.

pub(super) const QUERIES: &[&str] = &[INDEXES, STATISTICS];

const INDEXES: &str = r#"
    select 'index' as kind,
           array[n.nspname, c.relname]::text[] as at,
           array[tn.nspname, t.relname]::text[] as "name:table",
           pg_get_indexdef(c.oid) as "expr:definition",
           case when not (x.indisvalid and x.indisready and x.indislive) then 'no' end as valid,
           (select array[pn.nspname, p.relname]::text[]
            from pg_inherits i
            join pg_class p on p.oid = i.inhparent
            join pg_namespace pn on pn.oid = p.relnamespace
            where i.inhrelid = c.oid) as "name:partition of",
           (select string_agg(a.attnum || ': ' || a.attstattarget, ', ' order by a.attnum)
            from pg_attribute a
            where a.attrelid = c.oid and a.attstattarget >= 0) as "statistics targets",
           b.spcname::text as tablespace,
           d.description as comment
    from pg_index x
    join pg_class c on c.oid = x.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_class t on t.oid = x.indrelid
    join pg_namespace tn on tn.oid = t.relnamespace
    left join pg_tablespace b on b.oid = c.reltablespace
    left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
    where c.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (select from pg_constraint k where k.conindid = c.oid and k.contype in ('p', 'u', 'x'))
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = t.oid and e.deptype = 'e')"#;

const STATISTICS: &str = r#"
    select 'statistics' as kind,
           array[n.nspname, s.stxname]::text[] as at,
           array[tn.nspname, t.relname]::text[] as "name:table",
           pg_get_statisticsobjdef(s.oid) as "expr:definition",
           case when s.stxstattarget >= 0 then s.stxstattarget::text end as target,
           pg_get_userbyid(s.stxowner)::text as owner,
           d.description as comment
    from pg_statistic_ext s
    join pg_namespace n on n.oid = s.stxnamespace
    join pg_class t on t.oid = s.stxrelid
    join pg_namespace tn on tn.oid = t.relnamespace
    left join pg_description d
        on d.classoid = 'pg_statistic_ext'::regclass and d.objoid = s.oid and d.objsubid = 0
    where s.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = t.oid and e.deptype = 'e')"#;
