//! Enums, composite types, ranges, base types, domains and collations. A row type of a table is the table; an array type is
//! its element's.

pub(super) const QUERIES: &[&str] = &[TYPES, BASE_TYPES, DOMAINS, COLLATIONS];

const TYPES: &str = r#"
    select 'type' as kind,
           array[n.nspname, t.typname]::text[] as at,
           case t.typtype when 'e' then 'enum' when 'c' then 'composite' when 'r' then 'range' end as form,
           pg_get_userbyid(t.typowner)::text as owner,
           (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
            from pg_enum e where e.enumtypid = t.oid) as labels,
           (select string_agg(
                quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                    || case when a.attcollation <> y.typcollation
                            then ' collate ' || a.attcollation::regcollation else '' end,
                e'\n' order by a.attnum)
            from pg_attribute a join pg_type y on y.oid = a.atttypid
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as attributes,
           (select string_agg(quote_ident(a.attname) || ': ' || da.description, e'\n' order by a.attnum)
            from pg_attribute a
            join pg_description da
                on da.classoid = 'pg_class'::regclass and da.objoid = a.attrelid and da.objsubid = a.attnum
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as "attribute comments",
           format_type(r.rngsubtype, null) as subtype,
           (select ns.nspname || '.' || o.opcname
            from pg_opclass o join pg_namespace ns on ns.oid = o.opcnamespace
            where o.oid = r.rngsubopc and not o.opcdefault) as "operator class",
           case when r.rngcollation <> s.typcollation then r.rngcollation::regcollation::text end as collation,
           nullif(r.rngcanonical::oid, 0)::regproc::text as canonical,
           nullif(r.rngsubdiff::oid, 0)::regproc::text as "subtype difference",
           format_type(r.rngmultitypid, null) as multirange,
           coalesce(d.description, dc.description) as comment
    from pg_type t
    join pg_namespace n on n.oid = t.typnamespace
    left join pg_class c on c.oid = t.typrelid
    left join pg_range r on r.rngtypid = t.oid
    left join pg_type s on s.oid = r.rngsubtype
    left join pg_description d on d.classoid = 'pg_type'::regclass and d.objoid = t.oid and d.objsubid = 0
    left join pg_description dc on dc.classoid = 'pg_class'::regclass and dc.objoid = c.oid and dc.objsubid = 0
    where t.oid >= 16384
      and n.nspname !~ '^pg_t'
      and (t.typtype in ('e', 'r') or t.typtype = 'c' and c.relkind = 'c')
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_type'::regclass and e.objid = t.oid and e.deptype = 'e')
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = t.typrelid and e.deptype = 'e')"#;

/// What a library in C brings, or SQL on top of the server's own functions; and shells that wait for one.
const BASE_TYPES: &str = r#"
    select 'type' as kind,
           array[n.nspname, t.typname]::text[] as at,
           case when t.typisdefined then 'base' else 'shell' end as form,
           nullif(t.typinput::oid, 0)::regproc::text as input,
           nullif(t.typoutput::oid, 0)::regproc::text as output,
           nullif(t.typreceive::oid, 0)::regproc::text as receive,
           nullif(t.typsend::oid, 0)::regproc::text as send,
           nullif(t.typmodin::oid, 0)::regproc::text as "modifier input",
           nullif(t.typmodout::oid, 0)::regproc::text as "modifier output",
           nullif(t.typanalyze::oid, 0)::regproc::text as analyze,
           nullif(t.typsubscript::oid, 0)::regproc::text as subscript,
           concat_ws(', ', case t.typlen when -1 then 'variable' when -2 then 'text' else t.typlen::text end,
                           case when t.typbyval then 'by value' end) as length,
           case t.typalign when 'c' then 'char' when 's' then 'int2' when 'i' then 'int4' else 'double' end
               as alignment,
           case t.typstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main'
                             else 'extended' end as storage,
           nullif(t.typcategory, 'U')::text as category,
           case when t.typispreferred then 'yes' end as preferred,
           case when t.typelem <> 0 then format_type(t.typelem, null) end as element,
           nullif(t.typdelim, ',')::text as delimiter,
           case when t.typcollation <> 0 then 'yes' end as collatable,
           t.typdefault as default,
           pg_get_userbyid(t.typowner)::text as owner,
           d.description as comment
    from pg_type t
    join pg_namespace n on n.oid = t.typnamespace
    left join pg_description d on d.classoid = 'pg_type'::regclass and d.objoid = t.oid and d.objsubid = 0
    where t.oid >= 16384
      and n.nspname !~ '^pg_t'
      and (t.typtype = 'b' or t.typtype = 'p' and not t.typisdefined)
      and not exists (select from pg_type e where e.typarray = t.oid)
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_type'::regclass and e.objid = t.oid and e.deptype = 'e')"#;

const DOMAINS: &str = r#"
    select 'domain' as kind,
           array[n.nspname, t.typname]::text[] as at,
           format_type(t.typbasetype, t.typtypmod) as type,
           case when t.typnotnull then 'no' else 'yes' end as nullable,
           coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault) as "expr:default",
           case when t.typcollation <> b.typcollation then t.typcollation::regcollation::text end as collation,
           (select dn.description
            from pg_constraint k
            join pg_description dn on dn.classoid = 'pg_constraint'::regclass and dn.objoid = k.oid
            where k.contypid = t.oid and k.contype = 'n') as "comment of not null",
           pg_get_userbyid(t.typowner)::text as owner,
           d.description as comment
    from pg_type t
    join pg_namespace n on n.oid = t.typnamespace
    join pg_type b on b.oid = t.typbasetype
    left join pg_description d on d.classoid = 'pg_type'::regclass and d.objoid = t.oid and d.objsubid = 0
    where t.typtype = 'd'
      and t.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_type'::regclass and e.objid = t.oid and e.deptype = 'e')"#;

/// The column that holds the locale has been renamed in 17: hence the way over JSON.
const COLLATIONS: &str = r#"
    select 'collation' as kind,
           array[n.nspname, o.collname]::text[] as at,
           case o.collprovider when 'c' then 'libc' when 'i' then 'icu' when 'b' then 'builtin'
                when 'd' then 'default' else o.collprovider::text end as provider,
           coalesce(to_jsonb(o) ->> 'colllocale', to_jsonb(o) ->> 'colliculocale', o.collcollate) as locale,
           o.collctype as "character type",
           to_jsonb(o) ->> 'collicurules' as rules,
           case when not o.collisdeterministic then 'no' end as deterministic,
           pg_get_userbyid(o.collowner)::text as owner,
           d.description as comment
    from pg_collation o
    join pg_namespace n on n.oid = o.collnamespace
    left join pg_description d
        on d.classoid = 'pg_collation'::regclass and d.objoid = o.oid and d.objsubid = 0
    where o.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_collation'::regclass and e.objid = o.oid and e.deptype = 'e')"#;
