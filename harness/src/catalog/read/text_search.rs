//! Text search: parsers, templates, dictionaries and configurations.

pub(super) const QUERIES: &[&str] = &[PARSERS, TEMPLATES, DICTIONARIES, CONFIGURATIONS];

const PARSERS: &str = r#"
    select 'text search parser' as kind,
           array[n.nspname, p.prsname]::text[] as at,
           p.prsstart::text as start,
           p.prstoken::text as token,
           p.prsend::text as "end",
           nullif(p.prsheadline::oid, 0)::regproc::text as headline,
           p.prslextype::text as types,
           d.description as comment
    from pg_ts_parser p
    join pg_namespace n on n.oid = p.prsnamespace
    left join pg_description d on d.classoid = 'pg_ts_parser'::regclass and d.objoid = p.oid and d.objsubid = 0
    where p.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_ts_parser'::regclass and e.objid = p.oid and e.deptype = 'e')"#;

const TEMPLATES: &str = r#"
    select 'text search template' as kind,
           array[n.nspname, t.tmplname]::text[] as at,
           nullif(t.tmplinit::oid, 0)::regproc::text as init,
           t.tmpllexize::text as lexize,
           d.description as comment
    from pg_ts_template t
    join pg_namespace n on n.oid = t.tmplnamespace
    left join pg_description d
        on d.classoid = 'pg_ts_template'::regclass and d.objoid = t.oid and d.objsubid = 0
    where t.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_ts_template'::regclass and e.objid = t.oid and e.deptype = 'e')"#;

const DICTIONARIES: &str = r#"
    select 'text search dictionary' as kind,
           array[n.nspname, y.dictname]::text[] as at,
           array[tn.nspname, t.tmplname]::text[] as "name:template",
           y.dictinitoption as options,
           pg_get_userbyid(y.dictowner)::text as owner,
           d.description as comment
    from pg_ts_dict y
    join pg_namespace n on n.oid = y.dictnamespace
    join pg_ts_template t on t.oid = y.dicttemplate
    join pg_namespace tn on tn.oid = t.tmplnamespace
    left join pg_description d on d.classoid = 'pg_ts_dict'::regclass and d.objoid = y.oid and d.objsubid = 0
    where y.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_ts_dict'::regclass and e.objid = y.oid and e.deptype = 'e')"#;

const CONFIGURATIONS: &str = r#"
    select 'text search configuration' as kind,
           array[n.nspname, c.cfgname]::text[] as at,
           array[pn.nspname, p.prsname]::text[] as "name:parser",
           (select string_agg(line, e'\n' order by line collate "C")
            from (select k.alias || ': ' || string_agg(m.mapdict::regdictionary::text, ', ' order by m.mapseqno)
                  from pg_ts_config_map m
                  join ts_token_type(p.oid) k on k.tokid = m.maptokentype
                  where m.mapcfg = c.oid
                  group by k.alias) as x(line)) as mappings,
           pg_get_userbyid(c.cfgowner)::text as owner,
           d.description as comment
    from pg_ts_config c
    join pg_namespace n on n.oid = c.cfgnamespace
    join pg_ts_parser p on p.oid = c.cfgparser
    join pg_namespace pn on pn.oid = p.prsnamespace
    left join pg_description d on d.classoid = 'pg_ts_config'::regclass and d.objoid = c.oid and d.objsubid = 0
    where c.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_ts_config'::regclass and e.objid = c.oid and e.deptype = 'e')"#;
