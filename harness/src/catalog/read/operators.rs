//! Casts, transforms, operators, conversions, languages and access methods.

pub(super) const QUERIES: &[&str] = &[CASTS, TRANSFORMS, OPERATORS, CONVERSIONS, LANGUAGES, ACCESS_METHODS];

const CASTS: &str = r#"
    select 'cast' as kind,
           array[]::text[] as at,
           '(' || format_type(k.castsource, null) || ' as ' || format_type(k.casttarget, null) || ')' as suffix,
           case k.castcontext when 'i' then 'implicit' when 'a' then 'assignment' else 'explicit' end as context,
           case k.castmethod when 'b' then 'binary' when 'i' then 'in and out'
                else k.castfunc::regprocedure::text end as method,
           d.description as comment
    from pg_cast k
    left join pg_description d on d.classoid = 'pg_cast'::regclass and d.objoid = k.oid and d.objsubid = 0
    where k.oid >= 16384
      -- The casts between a range and its multirange come with the type.
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_cast'::regclass and e.objid = k.oid and e.deptype in ('e', 'i'))"#;

const TRANSFORMS: &str = r#"
    select 'transform' as kind,
           array[]::text[] as at,
           format_type(f.trftype, null) || ' for ' || quote_ident(l.lanname) as suffix,
           nullif(f.trffromsql::oid, 0)::regprocedure::text as "from sql",
           nullif(f.trftosql::oid, 0)::regprocedure::text as "to sql",
           d.description as comment
    from pg_transform f
    join pg_language l on l.oid = f.trflang
    left join pg_description d
        on d.classoid = 'pg_transform'::regclass and d.objoid = f.oid and d.objsubid = 0
    where f.oid >= 16384
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_transform'::regclass and e.objid = f.oid and e.deptype = 'e')"#;

const OPERATORS: &str = r#"
    select 'operator' as kind,
           array[n.nspname]::text[] as at,
           '.' || o.oprname || '(' || case o.oprleft when 0 then 'none' else format_type(o.oprleft, null) end
               || ', ' || format_type(o.oprright, null) || ')' as suffix,
           o.oprcode::regprocedure::text as function,
           format_type(o.oprresult, null) as returns,
           nullif(o.oprcom, 0)::regoperator::text as commutator,
           nullif(o.oprnegate, 0)::regoperator::text as negator,
           nullif(o.oprrest::oid, 0)::regproc::text as restriction,
           nullif(o.oprjoin::oid, 0)::regproc::text as join,
           nullif(concat_ws(', ', case when o.oprcanhash then 'hashes' end,
                                  case when o.oprcanmerge then 'merges' end), '') as joins,
           pg_get_userbyid(o.oprowner)::text as owner,
           d.description as comment
    from pg_operator o
    join pg_namespace n on n.oid = o.oprnamespace
    left join pg_description d on d.classoid = 'pg_operator'::regclass and d.objoid = o.oid and d.objsubid = 0
    where o.oid >= 16384
      -- What only another operator names so far (a commutator to come) has no function yet.
      and o.oprcode <> 0
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_operator'::regclass and e.objid = o.oid and e.deptype = 'e')"#;

const CONVERSIONS: &str = r#"
    select 'conversion' as kind,
           array[n.nspname, k.conname]::text[] as at,
           pg_encoding_to_char(k.conforencoding)::text || ' to ' || pg_encoding_to_char(k.contoencoding)
               as encodings,
           k.conproc::text as function,
           case when k.condefault then 'yes' end as default,
           pg_get_userbyid(k.conowner)::text as owner,
           d.description as comment
    from pg_conversion k
    join pg_namespace n on n.oid = k.connamespace
    left join pg_description d
        on d.classoid = 'pg_conversion'::regclass and d.objoid = k.oid and d.objsubid = 0
    where k.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_conversion'::regclass and e.objid = k.oid and e.deptype = 'e')"#;

const LANGUAGES: &str = r#"
    select 'language' as kind,
           array[l.lanname]::text[] as at,
           nullif(l.lanplcallfoid, 0)::regproc::text as handler,
           nullif(l.laninline, 0)::regproc::text as inline,
           nullif(l.lanvalidator, 0)::regproc::text as validator,
           case when l.lanpltrusted then 'yes' end as trusted,
           pg_get_userbyid(l.lanowner)::text as owner,
           d.description as comment
    from pg_language l
    left join pg_description d on d.classoid = 'pg_language'::regclass and d.objoid = l.oid and d.objsubid = 0
    where l.oid >= 16384
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_language'::regclass and e.objid = l.oid and e.deptype = 'e')"#;

const ACCESS_METHODS: &str = r#"
    select 'access method' as kind,
           array[m.amname]::text[] as at,
           case m.amtype when 't' then 'table' when 'i' then 'index' end as form,
           m.amhandler::text as handler,
           d.description as comment
    from pg_am m
    left join pg_description d on d.classoid = 'pg_am'::regclass and d.objoid = m.oid and d.objsubid = 0
    where m.oid >= 16384
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_am'::regclass and e.objid = m.oid and e.deptype = 'e')"#;
