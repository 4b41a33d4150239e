//! Grants and default privileges: one object for each grantee, where it may do other things than by default.

pub(super) const QUERIES: &[&str] = &[GRANTS, DEFAULTS];

/// No list of privileges at all means the default, which `acldefault` tells; for members of extensions and
/// for what `initdb` made, what they were given at birth counts as the default. Of the information schema
/// the server does not remember that: it is left out. `ALL` is what the owner has
/// by default, so that it includes MAINTAIN where the server knows that (17). Who granted is left out.
///
/// What is left of `ALL` after a REVOKE is told as `ALL except`, or else it would differ by MAINTAIN. It is known
/// by its REFERENCES and TRIGGER, which hardly anybody grants by name.
const GRANTS: &str = r#"
    with object(kind, at, suffix, form, owner, acl, class, oid, part) as (
        select case c.relkind when 'S' then 'sequence' when 'v' then 'view' when 'm' then 'materialized view'
                              when 'f' then 'foreign table' else 'table' end,
               array[n.nspname, c.relname]::text[], '',
               case c.relkind when 'S' then 's' else 'r' end::"char",
               c.relowner, c.relacl, 'pg_class'::regclass::oid, c.oid, 0
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relacl is not null and n.nspname !~ '^(pg_t|information_schema$)'
        union all
        select 'column', array[n.nspname, c.relname, a.attname]::text[], '', 'c',
               c.relowner, a.attacl, 'pg_class'::regclass, c.oid, a.attnum
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid
        join pg_namespace n on n.oid = c.relnamespace
        where a.attacl is not null and not a.attisdropped and n.nspname !~ '^(pg_t|information_schema$)'
        union all
        select case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
               array[n.nspname, p.proname]::text[], '(' || oidvectortypes(p.proargtypes) || ')', 'f',
               p.proowner, p.proacl, 'pg_proc'::regclass, p.oid, 0
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where p.proacl is not null and n.nspname !~ '^(pg_t|information_schema$)'
        union all
        select 'schema', array[n.nspname]::text[], '', 'n',
               n.nspowner, n.nspacl, 'pg_namespace'::regclass, n.oid, 0
        from pg_namespace n
        where n.nspacl is not null and n.nspname !~ '^(pg_t|information_schema$)'
        union all
        select case t.typtype when 'd' then 'domain' else 'type' end,
               array[n.nspname, t.typname]::text[], '', 'T',
               t.typowner, t.typacl, 'pg_type'::regclass, t.oid, 0
        from pg_type t join pg_namespace n on n.oid = t.typnamespace
        where t.typacl is not null and n.nspname !~ '^(pg_t|information_schema$)'
        union all
        select 'language', array[l.lanname]::text[], '', 'l',
               l.lanowner, l.lanacl, 'pg_language'::regclass, l.oid, 0
        from pg_language l
        where l.lanacl is not null
        union all
        select 'foreign data wrapper', array[w.fdwname]::text[], '', 'F',
               w.fdwowner, w.fdwacl, 'pg_foreign_data_wrapper'::regclass, w.oid, 0
        from pg_foreign_data_wrapper w
        where w.fdwacl is not null
        union all
        select 'server', array[s.srvname]::text[], '', 'S',
               s.srvowner, s.srvacl, 'pg_foreign_server'::regclass, s.oid, 0
        from pg_foreign_server s
        where s.srvacl is not null
        union all
        select 'database', array[]::text[], '', 'd',
               b.datdba, b.datacl, 'pg_database'::regclass, b.oid, 0
        from pg_database b
        where b.datacl is not null and b.datname = current_database()
    )
    select 'grant' as kind,
           o.kind || case when o.at <> '{}' then ' ' else '' end as prefix,
           o.at,
           o.suffix || ' to '
               || case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end as suffix,
           case when g.now is null then 'none'
                when g.now @> v.owned and cardinality(v.owned) > 1 then 'ALL'
                when g.grantee = o.owner and v.owned <> '{}' or g.now @> '{REFERENCES,TRIGGER}'
                then 'ALL except ' || (select string_agg(p, ', ' order by p collate "C")
                                       from unnest(v.owned) p where p <> all (g.now))
                else array_to_string(g.now, ', ') end as privileges,
           case when g.grantable = g.now then 'each' else array_to_string(g.grantable, ', ') end as grantable
    from object o
    left join pg_init_privs i
        on i.classoid = o.class and i.objoid = o.oid and i.objsubid = o.part
           and not (o.kind = 'schema' and o.at = '{public}')
    cross join lateral (
        select x.grantee,
               array_agg(distinct x.privilege_type) filter (where x.is_now) as now,
               array_agg(distinct x.privilege_type) filter (where x.is_now and x.is_grantable) as grantable,
               array_agg(distinct x.privilege_type) filter (where not x.is_now) as initially,
               array_agg(distinct x.privilege_type) filter (where not x.is_now and x.is_grantable)
                   as initially_grantable
        from (select true as is_now, a.* from aclexplode(o.acl) a
              union all
              select false, a.* from aclexplode(coalesce(i.initprivs, acldefault(o.form, o.owner))) a) x
        group by x.grantee) g
    cross join lateral (
        select coalesce(array_agg(a.privilege_type), '{}') as owned
        from aclexplode(acldefault(o.form, o.owner)) a
        where a.grantee = o.owner) v
    -- Most of the server's own objects are as they were born.
    where i.initprivs is distinct from o.acl
      and (g.now is distinct from g.initially or g.grantable is distinct from g.initially_grantable)"#;

/// Those of one schema add to the default; those of all schemas take its place.
const DEFAULTS: &str = r#"
    select 'default privilege' as kind,
           array[]::text[] as at,
           'of ' || quote_ident(pg_get_userbyid(d.defaclrole))
               || coalesce(' in ' || quote_ident(n.nspname), '')
               || ' on ' || case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences'
                                 when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas'
                                 when 'L' then 'large objects' else d.defaclobjtype::text end
               || ' to '
               || case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end as suffix,
           case when g.now is null then 'none'
                when g.now @> v.owned and cardinality(v.owned) > 1 then 'ALL'
                when g.grantee = d.defaclrole and d.defaclnamespace = 0 or g.now @> '{REFERENCES,TRIGGER}'
                then 'ALL except ' || (select string_agg(p, ', ' order by p collate "C")
                                       from unnest(v.owned) p where p <> all (g.now))
                else array_to_string(g.now, ', ') end as privileges,
           case when g.grantable = g.now then 'each' else array_to_string(g.grantable, ', ') end as grantable
    from pg_default_acl d
    left join pg_namespace n on n.oid = d.defaclnamespace
    cross join lateral (
        select acldefault(case d.defaclobjtype when 'S' then 's' else d.defaclobjtype end::"char", d.defaclrole)
            as acl) i
    cross join lateral (
        select x.grantee,
               array_agg(distinct x.privilege_type) filter (where x.is_now) as now,
               array_agg(distinct x.privilege_type) filter (where x.is_now and x.is_grantable) as grantable,
               array_agg(distinct x.privilege_type) filter (where not x.is_now) as initially
        from (select true as is_now, a.* from aclexplode(d.defaclacl) a
              union all
              select false, a.* from aclexplode(i.acl) a where d.defaclnamespace = 0) x
        group by x.grantee) g
    cross join lateral (
        select coalesce(array_agg(a.privilege_type), '{}') as owned
        from aclexplode(i.acl) a where a.grantee = d.defaclrole) v
    where g.now is distinct from g.initially or g.grantable is not null"#;
