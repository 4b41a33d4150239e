//! Functions, procedures and aggregates, named with their argument types.

pub(super) const QUERIES: &[&str] = &[FUNCTIONS, AGGREGATES];

/// Left out are the constructors that come with a range type (an internal dependency).
const FUNCTIONS: &str = r#"
    select case p.prokind when 'p' then 'procedure' else 'function' end as kind,
           array[n.nspname, p.proname]::text[] as at,
           '(' || oidvectortypes(p.proargtypes) || ')' as suffix,
           pg_get_userbyid(p.proowner)::text as owner,
           nullif(pg_get_function_arguments(p.oid), '') as "expr:arguments",
           pg_get_function_result(p.oid) as returns,
           l.lanname::text as language,
           case p.prokind when 'w' then 'yes' end as "window",
           case p.provolatile when 'i' then 'immutable' when 's' then 'stable' end as volatility,
           case when p.proisstrict then 'yes' end as strict,
           case when p.prosecdef then 'definer' end as security,
           case when p.proleakproof then 'yes' end as leakproof,
           case p.proparallel when 's' then 'safe' when 'r' then 'restricted' end as parallel,
           case when p.procost <> case when l.lanname in ('c', 'internal') then 1 else 100 end
                then p.procost::text end as cost,
           case when p.proretset and p.prorows <> 1000 then p.prorows::text end as rows,
           nullif(p.prosupport::oid, 0)::regproc::text as support,
           (select string_agg(format_type(y, null), ', ') from unnest(p.protrftypes) y) as transforms,
           (select string_agg(entry, e'\n' order by entry collate "C") from unnest(p.proconfig) entry) as settings,
           coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) as body,
           p.probin as library,
           d.description as comment
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    join pg_language l on l.oid = p.prolang
    left join pg_description d on d.classoid = 'pg_proc'::regclass and d.objoid = p.oid and d.objsubid = 0
    where p.prokind <> 'a'
      and p.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype in ('e', 'i'))"#;

const AGGREGATES: &str = r#"
    select 'aggregate' as kind,
           array[n.nspname, p.proname]::text[] as at,
           '(' || oidvectortypes(p.proargtypes) || ')' as suffix,
           pg_get_userbyid(p.proowner)::text as owner,
           nullif(pg_get_function_arguments(p.oid), '') as arguments,
           pg_get_function_result(p.oid) as returns,
           case a.aggkind when 'o' then 'ordered set' when 'h' then 'hypothetical set' end as form,
           a.aggtransfn::text as transition,
           format_type(a.aggtranstype, null) as state,
           nullif(a.aggtransspace, 0)::text as "state size",
           a.agginitval as initial,
           nullif(a.aggfinalfn::oid, 0)::regproc::text as final,
           case when a.aggfinalextra then 'yes' end as "final takes arguments",
           case a.aggfinalmodify when 's' then 'shareable' when 'w' then 'read-write' end as "final modifies",
           nullif(a.aggcombinefn::oid, 0)::regproc::text as combine,
           nullif(a.aggserialfn::oid, 0)::regproc::text as serialize,
           nullif(a.aggdeserialfn::oid, 0)::regproc::text as deserialize,
           nullif(a.aggmtransfn::oid, 0)::regproc::text as "moving transition",
           nullif(a.aggminvtransfn::oid, 0)::regproc::text as "moving inverse",
           case when a.aggmtranstype <> 0 then format_type(a.aggmtranstype, null) end as "moving state",
           nullif(a.aggmtransspace, 0)::text as "moving state size",
           a.aggminitval as "moving initial",
           nullif(a.aggmfinalfn::oid, 0)::regproc::text as "moving final",
           case when a.aggmfinalextra then 'yes' end as "moving final takes arguments",
           nullif(a.aggsortop, 0)::regoperator::text as "sort operator",
           case p.proparallel when 's' then 'safe' when 'r' then 'restricted' end as parallel,
           d.description as comment
    from pg_aggregate a
    join pg_proc p on p.oid = a.aggfnoid
    join pg_namespace n on n.oid = p.pronamespace
    left join pg_description d on d.classoid = 'pg_proc'::regclass and d.objoid = p.oid and d.objsubid = 0
    where p.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e')"#;
