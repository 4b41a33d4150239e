//! Foreign data wrappers, servers and user mappings.

pub(super) const QUERIES: &[&str] = &[WRAPPERS, SERVERS, USER_MAPPINGS];

const WRAPPERS: &str = r#"
    select 'foreign data wrapper' as kind,
           array[w.fdwname]::text[] as at,
           nullif(w.fdwhandler, 0)::regproc::text as handler,
           nullif(w.fdwvalidator, 0)::regproc::text as validator,
           (select string_agg(entry, ', ' order by entry collate "C") from unnest(w.fdwoptions) entry) as options,
           pg_get_userbyid(w.fdwowner)::text as owner,
           d.description as comment
    from pg_foreign_data_wrapper w
    left join pg_description d
        on d.classoid = 'pg_foreign_data_wrapper'::regclass and d.objoid = w.oid and d.objsubid = 0
    where w.oid >= 16384
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_foreign_data_wrapper'::regclass and e.objid = w.oid and e.deptype = 'e')"#;

const SERVERS: &str = r#"
    select 'server' as kind,
           array[s.srvname]::text[] as at,
           w.fdwname::text as wrapper,
           s.srvtype as type,
           s.srvversion as version,
           (select string_agg(entry, ', ' order by entry collate "C") from unnest(s.srvoptions) entry) as options,
           pg_get_userbyid(s.srvowner)::text as owner,
           d.description as comment
    from pg_foreign_server s
    join pg_foreign_data_wrapper w on w.oid = s.srvfdw
    left join pg_description d
        on d.classoid = 'pg_foreign_server'::regclass and d.objoid = s.oid and d.objsubid = 0
    where s.oid >= 16384
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_foreign_server'::regclass and e.objid = s.oid and e.deptype = 'e')"#;

/// The view shows options to nobody but those who may see them; here not even their names are told, since
/// a snapshot should not depend on who reads.
const USER_MAPPINGS: &str = r#"
    select 'user mapping' as kind,
           array[u.srvname]::text[] as at,
           ' of ' || u.usename as suffix
    from pg_user_mappings u"#;
