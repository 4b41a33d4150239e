//! Constraints of tables and domains, each with the index behind it.

pub(super) const QUERIES: &[&str] = &[OF_TABLES, OF_DOMAINS];

/// Left out are: NOT NULL, which is a fact of the column; constraint triggers, which are triggers; and the
/// rows with which the server spreads a foreign key over the partitions of the table that it refers to.
const OF_TABLES: &str = r#"
    select 'constraint' as kind,
           array[n.nspname, c.relname, k.conname]::text[] as at,
           regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') as "expr:definition",
           case when not k.convalidated then 'no' end as valid,
           case when k.coninhcount > 0 then case when k.conislocal then 'yes, and local' else 'yes' end end
               as inherited,
           case when k.contype in ('p', 'u', 'x') and not x.indisvalid then 'invalid' end as "index",
           case when k.contype in ('p', 'u', 'x')
                then (select string_agg(entry, ', ' order by entry collate "C") from unnest(i.reloptions) entry) end
               as "index options",
           case when k.contype in ('p', 'u', 'x') then b.spcname::text end as "index tablespace",
           case when k.contype in ('p', 'u', 'x') then di.description end as "index comment",
           (select string_agg(distinct case g.tgenabled when 'D' then 'disabled' when 'R' then 'replica'
                                                        when 'A' then 'always' else 'origin' end, ', ')
            from pg_trigger g
            where g.tgconstraint = k.oid and k.contype = 'f'
            having bool_or(g.tgenabled <> 'O')) as enforcement,
           d.description as comment
    from pg_constraint k
    join pg_class c on c.oid = k.conrelid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_index x on x.indexrelid = k.conindid
    left join pg_class i on i.oid = k.conindid
    left join pg_tablespace b on b.oid = i.reltablespace
    left join pg_description di on di.classoid = 'pg_class'::regclass and di.objoid = i.oid and di.objsubid = 0
    left join pg_description d
        on d.classoid = 'pg_constraint'::regclass and d.objoid = k.oid and d.objsubid = 0
    where k.contype not in ('n', 't')
      and k.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_constraint p where p.oid = k.conparentid and p.conrelid = k.conrelid)
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"#;

/// From 17 on a domain's NOT NULL is a row here; it is a fact of the domain.
const OF_DOMAINS: &str = r#"
    select 'constraint' as kind,
           array[n.nspname, t.typname, k.conname]::text[] as at,
           regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') as "expr:definition",
           case when not k.convalidated then 'no' end as valid,
           d.description as comment
    from pg_constraint k
    join pg_type t on t.oid = k.contypid
    join pg_namespace n on n.oid = t.typnamespace
    left join pg_description d
        on d.classoid = 'pg_constraint'::regclass and d.objoid = k.oid and d.objsubid = 0
    where k.contype <> 'n'
      and k.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_type'::regclass and e.objid = t.oid and e.deptype = 'e')"#;
