//! The catalog against the server's own lists: of objects that it knows by name, and of what `pg_dump` writes.

use crate::catalog::{ZOO, database, program, read};
use pgharness::catalog::{Catalog, Kind};
use pgharness::error::ErrorKind;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;

/// What the zoo cannot hold, since it is made by a library in C or keeps a database from being dropped.
const MORE: &str = "
    create conversion public.c for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8;
    create language other handler plpgsql_call_handler;
    create access method rows type table handler heap_tableam_handler;
    create text search parser public.p (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end,
                                        lextypes = prsd_lextype);
    create text search template public.t (lexize = dsimple_lexize);
    create subscription s connection 'dbname=nowhere' publication p with (connect = false, slot_name = none);";

/// The server's words for what has an object of its own in the model: each is told exactly once.
const OBJECTS: &[(&str, &[Kind])] = &[
    ("access method", &[Kind::AccessMethod]),
    ("aggregate", &[Kind::Aggregate]),
    ("cast", &[Kind::Cast]),
    ("collation", &[Kind::Collation]),
    ("conversion", &[Kind::Conversion]),
    ("event trigger", &[Kind::EventTrigger]),
    ("extension", &[Kind::Extension]),
    ("foreign table", &[Kind::ForeignTable]),
    ("foreign-data wrapper", &[Kind::ForeignDataWrapper]),
    ("function", &[Kind::Function]),
    ("index", &[Kind::Index]),
    ("language", &[Kind::Language]),
    ("materialized view", &[Kind::MaterializedView]),
    ("operator", &[Kind::Operator]),
    ("operator class", &[Kind::OperatorClass]),
    ("operator family", &[Kind::OperatorFamily]),
    ("policy", &[Kind::Policy]),
    ("procedure", &[Kind::Procedure]),
    ("publication", &[Kind::Publication]),
    ("rule", &[Kind::Rule]),
    ("schema", &[Kind::Schema]),
    ("sequence", &[Kind::Sequence]),
    ("server", &[Kind::Server]),
    ("statistics object", &[Kind::Statistics]),
    ("subscription", &[Kind::Subscription]),
    ("table", &[Kind::Table]),
    ("text search configuration", &[Kind::TextSearchConfiguration]),
    ("text search dictionary", &[Kind::TextSearchDictionary]),
    ("text search parser", &[Kind::TextSearchParser]),
    ("text search template", &[Kind::TextSearchTemplate]),
    ("transform", &[Kind::Transform]),
    ("trigger", &[Kind::Trigger]),
    ("type", &[Kind::Type, Kind::Domain]),
    ("user mapping", &[Kind::UserMapping]),
    ("view", &[Kind::View]),
];

/// What is told as a fact of another object, or as several objects.
const FACTS: &[&str] = &[
    "default acl",
    "default value",
    "domain constraint",
    "function of access method",
    "operator of access method",
    "publication namespace",
    "publication relation",
    "table constraint",
];

/// Every object of the database as the server describes it, by kind. What belongs to another one internally (a row
/// type, the index of a constraint, a trigger of a foreign key) is that one's; the sequence of an identity is not.
async fn described(connection: &mut PgConnection) -> BTreeMap<String, i64> {
    let catalogs: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'oid'
         where c.relkind = 'r' and not c.relisshared and c.relnamespace = 'pg_catalog'::regnamespace
           and c.relname not in ('pg_enum', 'pg_largeobject_metadata')",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let queries: Vec<String> = catalogs
        .iter()
        .map(|name| {
            format!("select '{name}'::regclass, oid from pg_catalog.{name} where oid >= 16384 or '{name}' = 'pg_extension'")
        })
        .chain([
            "select 'pg_subscription'::regclass, s.oid
             from pg_subscription s join pg_database b on b.oid = s.subdbid and b.datname = current_database()"
                .into(),
            // The one that `initdb` makes, and which everybody uses.
            "select 'pg_namespace'::regclass, oid from pg_namespace where nspname = 'public'".into(),
        ])
        .collect();
    let sql = format!(
        "select i.type, count(*)
         from ({}) as o(class, oid)
         cross join lateral pg_identify_object(o.class, o.oid, 0) i
         where not exists (
             select from pg_depend d
             where d.classid = o.class and d.objid = o.oid and d.refobjid <> o.oid
               and (d.deptype = 'e'
                    or d.deptype = 'i' and not exists (select from pg_sequence s where s.seqrelid = o.oid)))
           and coalesce(i.schema, '') !~ '^pg_t'
         group by i.type",
        queries.join(" union all ")
    );
    let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.into_iter().collect()
}

fn count(catalog: &Catalog, kinds: &[Kind]) -> i64 {
    i64::try_from(kinds.iter().map(|kind| catalog.of_kind(*kind).count()).sum::<usize>()).unwrap()
}

#[tokio::test]
async fn every_object_that_the_server_describes_is_told() {
    let (_, mut connection) = database(&[ZOO, MORE]).await;
    let catalog = read(&mut connection).await;
    let mut described = described(&mut connection).await;
    sqlx::raw_sql("drop subscription s").execute(&mut connection).await.unwrap();
    assert_eq!(catalog.unmodelled(), []);
    for (kind, ours) in OBJECTS {
        let theirs = described.remove(*kind);
        assert_eq!(Some(count(&catalog, ours)), theirs, "{kind}");
    }
    let rest: Vec<_> = described.into_keys().collect();
    assert_eq!(rest, FACTS, "each is a fact of another object, or a kind that the model must hold");
}

/// The entries of `pg_dump`'s table of contents, and what is told of each: an object of these kinds, or, with
/// none, a fact.
const DUMPED: &[(&str, &[Kind])] = &[
    ("ACCESS METHOD", &[Kind::AccessMethod]),
    ("ACL", &[]),
    ("AGGREGATE", &[Kind::Aggregate]),
    ("CAST", &[Kind::Cast]),
    ("CHECK CONSTRAINT", &[]),
    ("COLLATION", &[Kind::Collation]),
    ("COMMENT", &[]),
    ("CONSTRAINT", &[]),
    ("CONVERSION", &[Kind::Conversion]),
    ("DEFAULT", &[]),
    ("DEFAULT ACL", &[]),
    ("DOMAIN", &[Kind::Domain]),
    ("EVENT TRIGGER", &[Kind::EventTrigger]),
    ("FK CONSTRAINT", &[]),
    ("FOREIGN DATA WRAPPER", &[Kind::ForeignDataWrapper]),
    ("FOREIGN TABLE", &[Kind::ForeignTable]),
    ("FUNCTION", &[Kind::Function]),
    ("INDEX", &[Kind::Index]),
    ("INDEX ATTACH", &[]),
    ("MATERIALIZED VIEW", &[Kind::MaterializedView]),
    ("OPERATOR", &[Kind::Operator]),
    ("OPERATOR CLASS", &[Kind::OperatorClass]),
    ("OPERATOR FAMILY", &[]),
    ("POLICY", &[Kind::Policy]),
    ("PROCEDURAL LANGUAGE", &[Kind::Language]),
    ("PROCEDURE", &[Kind::Procedure]),
    ("PUBLICATION", &[Kind::Publication]),
    ("PUBLICATION TABLE", &[]),
    ("PUBLICATION TABLES IN SCHEMA", &[]),
    ("ROW SECURITY", &[]),
    ("RULE", &[Kind::Rule]),
    ("SCHEMA", &[]),
    ("SEQUENCE", &[]),
    ("SEQUENCE OWNED BY", &[]),
    ("SERVER", &[Kind::Server]),
    ("SHELL TYPE", &[]),
    ("STATISTICS", &[Kind::Statistics]),
    ("SUBSCRIPTION", &[Kind::Subscription]),
    ("TABLE", &[Kind::Table]),
    ("TABLE ATTACH", &[]),
    ("TEXT SEARCH CONFIGURATION", &[Kind::TextSearchConfiguration]),
    ("TEXT SEARCH DICTIONARY", &[Kind::TextSearchDictionary]),
    ("TEXT SEARCH PARSER", &[Kind::TextSearchParser]),
    ("TEXT SEARCH TEMPLATE", &[Kind::TextSearchTemplate]),
    ("TRANSFORM", &[Kind::Transform]),
    ("TRIGGER", &[Kind::Trigger]),
    ("TYPE", &[]),
    ("USER MAPPING", &[Kind::UserMapping]),
    ("VIEW", &[Kind::View]),
];

#[tokio::test]
async fn everything_that_a_dump_holds_is_told() {
    let (options, mut connection) = database(&[ZOO, MORE]).await;
    let catalog = read(&mut connection).await;
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    let dumped =
        program("pg_dump", &options).args(["--schema-only", "--format=custom", "--file"]).arg(&archive);
    let dumped = dumped.run().unwrap().check(ErrorKind::Server, || "failed to dump".into());
    sqlx::raw_sql("drop subscription s").execute(&mut connection).await.unwrap();
    dumped.unwrap();
    let listed = pgharness::process::Program::new(crate::support::client_tool("pg_restore"))
        .arg("--list")
        .arg(&archive)
        .run()
        .unwrap()
        .check(ErrorKind::Server, || "failed to list".into())
        .unwrap();
    // `215; 1259 16389 TABLE crm tenants postgres`
    let mut entries: BTreeMap<&str, i64> = BTreeMap::new();
    let text = listed.text();
    for line in text.lines().filter(|line| !line.starts_with(';')) {
        let rest = line.splitn(4, ' ').nth(3).unwrap();
        let known = DUMPED.iter().map(|(name, _)| *name);
        let name = known
            .filter(|name| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))
            .max_by_key(|name| name.len());
        *entries.entry(name.unwrap_or_else(|| panic!("nothing is told of `{rest}`"))).or_default() += 1;
    }
    for (name, kinds) in DUMPED {
        let found = entries.get(name).copied().unwrap_or_default();
        assert!(found > 0, "the dump has no `{name}`");
        if !kinds.is_empty() {
            assert_eq!(count(&catalog, kinds), found, "{name}");
        }
    }
}
