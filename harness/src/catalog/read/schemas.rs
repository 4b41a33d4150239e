//! Schemas and extensions.

pub(super) const QUERIES: &[&str] = &[SCHEMAS, EXTENSIONS];

const SCHEMAS: &str = r#"
    select 'schema' as kind,
           array[n.nspname]::text[] as at,
           pg_get_userbyid(n.nspowner)::text as owner,
           d.description as comment
    from pg_namespace n
    left join pg_description d
        on d.classoid = 'pg_namespace'::regclass and d.objoid = n.oid and d.objsubid = 0
    where (n.oid >= 16384 or n.nspname = 'public')
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_namespace'::regclass and e.objid = n.oid and e.deptype = 'e')"#;

/// Each server brings its own default version of an extension, so that only another one is told.
const EXTENSIONS: &str = r#"
    select 'extension' as kind,
           array[x.extname]::text[] as at,
           n.nspname::text as schema,
           case when x.extversion is distinct from a.default_version then x.extversion end as version,
           nullif(d.description, a.comment) as comment
    from pg_extension x
    join pg_namespace n on n.oid = x.extnamespace
    left join pg_available_extensions() a on a.name = x.extname
    left join pg_description d
        on d.classoid = 'pg_extension'::regclass and d.objoid = x.oid and d.objsubid = 0"#;
