//! Triggers, event triggers and rules, each with whether it fires.

pub(super) const QUERIES: &[&str] = &[TRIGGERS, EVENT_TRIGGERS, RULES];

const TRIGGERS: &str = r#"
    select 'trigger' as kind,
           array[n.nspname, c.relname, g.tgname]::text[] as at,
           pg_get_triggerdef(g.oid) as "expr:definition",
           case g.tgenabled when 'O' then 'origin' when 'D' then 'disabled'
                            when 'R' then 'replica' when 'A' then 'always' end as fires,
           case when g.tgparentid <> 0 then 'yes' end as inherited,
           d.description as comment
    from pg_trigger g
    join pg_class c on c.oid = g.tgrelid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_description d on d.classoid = 'pg_trigger'::regclass and d.objoid = g.oid and d.objsubid = 0
    where not g.tgisinternal
      and g.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.deptype = 'e'
            and (e.classid = 'pg_class'::regclass and e.objid = c.oid
                 or e.classid = 'pg_trigger'::regclass and e.objid = g.oid))"#;

const EVENT_TRIGGERS: &str = r#"
    select 'event trigger' as kind,
           array[g.evtname]::text[] as at,
           g.evtevent::text as event,
           (select string_agg(tag, ', ' order by tag collate "C") from unnest(g.evttags) tag) as tags,
           g.evtfoid::regprocedure::text as function,
           case g.evtenabled when 'O' then 'origin' when 'D' then 'disabled'
                             when 'R' then 'replica' when 'A' then 'always' end as fires,
           pg_get_userbyid(g.evtowner)::text as owner,
           d.description as comment
    from pg_event_trigger g
    left join pg_description d
        on d.classoid = 'pg_event_trigger'::regclass and d.objoid = g.oid and d.objsubid = 0
    where g.oid >= 16384
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_event_trigger'::regclass and e.objid = g.oid and e.deptype = 'e')"#;

const RULES: &str = r#"
    select 'rule' as kind,
           array[n.nspname, c.relname, r.rulename]::text[] as at,
           pg_get_ruledef(r.oid) as "expr:definition",
           case r.ev_enabled when 'O' then 'origin' when 'D' then 'disabled'
                             when 'R' then 'replica' when 'A' then 'always' end as fires,
           d.description as comment
    from pg_rewrite r
    join pg_class c on c.oid = r.ev_class
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_description d on d.classoid = 'pg_rewrite'::regclass and d.objoid = r.oid and d.objsubid = 0
    where r.rulename <> '_RETURN'
      and r.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.deptype = 'e'
            and (e.classid = 'pg_class'::regclass and e.objid = c.oid
                 or e.classid = 'pg_rewrite'::regclass and e.objid = r.oid))"#;
