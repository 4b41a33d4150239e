//! Security labels: what a provider says of an object.

pub(super) const QUERIES: &[&str] = &[LABELS];

const LABELS: &str = r#"
    select 'security label' as kind,
           array[l.provider]::text[] as at,
           ' on ' || i.type || ' ' || i.identity as suffix,
           l.label
    from pg_seclabel l
    cross join lateral pg_identify_object(l.classoid, l.objoid, l.objsubid) i
    where not exists (
        select from pg_depend e
        where e.classid = l.classoid and e.objid = l.objoid and e.deptype = 'e')"#;
