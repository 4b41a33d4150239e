//! What is set for this database, by `ALTER DATABASE` or by `ALTER ROLE … IN DATABASE`. The database's own name
//! appears nowhere, since a clone has another one.

pub(super) const QUERIES: &[&str] = &[SETTINGS];

const SETTINGS: &str = r#"
    select 'setting' as kind,
           array[split_part(entry, '=', 1)] as at,
           case when s.setrole <> 0 then ' of role ' || pg_get_userbyid(s.setrole) end as suffix,
           substr(entry, strpos(entry, '=') + 1) as value
    from pg_db_role_setting s
    join pg_database b on b.oid = s.setdatabase and b.datname = current_database()
    cross join lateral unnest(s.setconfig) as entry"#;
