//! Operator classes and families, with their operators and functions.

pub(super) const QUERIES: &[&str] = &[CLASSES, FAMILIES];

/// What belongs to the class is what was created with it. The rest of its family is loose, and a fact of that one.
const CLASSES: &str = r#"
    select 'operator class' as kind,
           array[n.nspname, c.opcname]::text[] as at,
           ' using ' || m.amname as suffix,
           format_type(c.opcintype, null) as type,
           case when c.opcdefault then 'yes' end as default,
           case when c.opckeytype not in (0, c.opcintype) then format_type(c.opckeytype, null) end as storage,
           array[fn.nspname, f.opfname]::text[] as "name:family",
           (select string_agg(
                o.amopstrategy || ': ' || o.amopopr::regoperator
                    || case when o.amopsortfamily <> 0
                            then ' for order by ' || (
                                select quote_ident(sn.nspname) || '.' || quote_ident(sf.opfname)
                                from pg_opfamily sf join pg_namespace sn on sn.oid = sf.opfnamespace
                                where sf.oid = o.amopsortfamily)
                            else '' end,
                e'\n' order by o.amopstrategy, o.amopopr::regoperator::text collate "C")
            from pg_depend x join pg_amop o on o.oid = x.objid
            where x.classid = 'pg_amop'::regclass and x.refclassid = 'pg_opclass'::regclass
              and x.refobjid = c.oid) as operators,
           (select string_agg(p.amprocnum || ': ' || p.amproc::regprocedure, e'\n'
                              order by p.amprocnum, p.amproc::regprocedure::text collate "C")
            from pg_depend x join pg_amproc p on p.oid = x.objid
            where x.classid = 'pg_amproc'::regclass and x.refclassid = 'pg_opclass'::regclass
              and x.refobjid = c.oid) as functions,
           pg_get_userbyid(c.opcowner)::text as owner,
           d.description as comment
    from pg_opclass c
    join pg_namespace n on n.oid = c.opcnamespace
    join pg_am m on m.oid = c.opcmethod
    join pg_opfamily f on f.oid = c.opcfamily
    join pg_namespace fn on fn.oid = f.opfnamespace
    left join pg_description d on d.classoid = 'pg_opclass'::regclass and d.objoid = c.oid and d.objsubid = 0
    where c.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_opclass'::regclass and e.objid = c.oid and e.deptype = 'e')"#;

const FAMILIES: &str = r#"
    select 'operator family' as kind,
           array[n.nspname, f.opfname]::text[] as at,
           ' using ' || m.amname as suffix,
           (select string_agg(o.amopstrategy || ': ' || o.amopopr::regoperator, e'\n'
                              order by o.amopstrategy, o.amopopr::regoperator::text collate "C")
            from pg_depend x join pg_amop o on o.oid = x.objid
            where x.classid = 'pg_amop'::regclass and x.refclassid = 'pg_opfamily'::regclass
              and x.refobjid = f.oid) as operators,
           (select string_agg(p.amprocnum || ': ' || p.amproc::regprocedure, e'\n'
                              order by p.amprocnum, p.amproc::regprocedure::text collate "C")
            from pg_depend x join pg_amproc p on p.oid = x.objid
            where x.classid = 'pg_amproc'::regclass and x.refclassid = 'pg_opfamily'::regclass
              and x.refobjid = f.oid) as functions,
           pg_get_userbyid(f.opfowner)::text as owner,
           d.description as comment
    from pg_opfamily f
    join pg_namespace n on n.oid = f.opfnamespace
    join pg_am m on m.oid = f.opfmethod
    left join pg_description d on d.classoid = 'pg_opfamily'::regclass and d.objoid = f.oid and d.objsubid = 0
    where f.oid >= 16384
      and n.nspname !~ '^pg_t'
      and not exists (
          select from pg_depend e
          where e.classid = 'pg_opfamily'::regclass and e.objid = f.oid and e.deptype = 'e')"#;
