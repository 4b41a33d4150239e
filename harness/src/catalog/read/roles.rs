//! Roles, as far as they belong to the database, and what was granted to them besides. Roles are shared by all
//! databases of a server: those that this one has nothing to do with are left out.

pub(super) const QUERIES: &[&str] = &[ROLES, PARAMETERS];

/// The roles that own something here, were granted something or stand in a policy, and what they are members of.
macro_rules! used {
    () => {
        r#"
    with recursive used(oid) as (
        select d.refobjid
        from pg_shdepend d
        join pg_database b on b.oid = d.dbid and b.datname = current_database()
        where d.refclassid = 'pg_authid'::regclass
          and not exists (
              select from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where d.classid = 'pg_class'::regclass and c.oid = d.objid and n.nspname ~ '^pg_t')
        union
        select m.roleid from used u join pg_auth_members m on m.member = u.oid
    )"#
    };
}

/// Passwords may not be read. Up to 15 a role inherits from all that it is a member of or from none, from 16 on each
/// membership says so. From 16 on, too, whoever creates a role may grant it, but neither inherits from it nor
/// acts as it: that is no membership before.
const ROLES: &str = concat!(
    used!(),
    r#"
    select 'role' as kind,
           array[r.rolname]::text[] as at,
           nullif(concat_ws(', ', case when r.rolsuper then 'superuser' end,
                                  case when r.rolcreaterole then 'createrole' end,
                                  case when r.rolcreatedb then 'createdb' end,
                                  case when r.rolcanlogin then 'login' end,
                                  case when r.rolreplication then 'replication' end,
                                  case when r.rolbypassrls then 'bypassrls' end), '') as attributes,
           case when r.rolconnlimit >= 0 then r.rolconnlimit::text end as "connection limit",
           r.rolvaliduntil::text as "valid until",
           (select string_agg(distinct line, e'\n')
            from (select quote_ident(pg_get_userbyid(m.roleid))
                             || case when m.admin_option then ', with admin' else '' end
                             || case when not j.inherits then ', without inherit' else '' end
                             || case when not j.sets then ', without set' else '' end
                  from pg_auth_members m
                  cross join lateral (
                      select coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit),
                             coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)) as j(inherits, sets)
                  where m.member = r.oid and not (m.admin_option and not j.inherits and not j.sets)) x(line))
               as "member of",
           (select string_agg(entry, e'\n' order by entry collate "C")
            from pg_db_role_setting s cross join lateral unnest(s.setconfig) entry
            where s.setrole = r.oid and s.setdatabase = 0) as settings,
           d.description as comment
    from used u
    join pg_roles r on r.oid = u.oid
    left join pg_shdescription d on d.classoid = 'pg_authid'::regclass and d.objoid = r.oid
    where r.oid >= 16384"#
);

/// Who may set a parameter, or change it for the whole server.
const PARAMETERS: &str = concat!(
    used!(),
    r#"
    select 'grant' as kind,
           array[]::text[] as at,
           'parameter ' || quote_ident(p.parname) || ' to ' || quote_ident(pg_get_userbyid(g.grantee)) as suffix,
           string_agg(distinct g.privilege_type, ', ') as privileges,
           string_agg(distinct g.privilege_type, ', ') filter (where g.is_grantable) as grantable
    from pg_parameter_acl p
    cross join lateral aclexplode(p.paracl) g
    where g.grantee in (select oid from used) and g.grantee >= 16384
    group by p.parname, g.grantee"#
);
