//! Policies of row-level security. Whether they are in force is a fact of the table.

pub(super) const QUERIES: &[&str] = &[POLICIES];

const POLICIES: &str = r#"
    select 'policy' as kind,
           array[n.nspname, c.relname, p.polname]::text[] as at,
           case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                         when 'd' then 'delete' else 'all' end as command,
           case when p.polpermissive then 'permissive' else 'restrictive' end as form,
           (select string_agg(case role when 0 then 'public' else pg_get_userbyid(role)::text end, ', '
                              order by case role when 0 then 'public' else pg_get_userbyid(role)::text end collate "C")
            from unnest(p.polroles) role) as roles,
           pg_get_expr(p.polqual, p.polrelid) as "expr:using",
           pg_get_expr(p.polwithcheck, p.polrelid) as "expr:with check",
           d.description as comment
    from pg_policy p
    join pg_class c on c.oid = p.polrelid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_description d on d.classoid = 'pg_policy'::regclass and d.objoid = p.oid and d.objsubid = 0
    where n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"#;
