//! Synthesised rows: whatever a table asks for.

use crate::support::empty_database;
use pgharness::Template;
use pgharness::fixture::rows::{Rows, Wish};
use pgharness::ident::QualifiedName;
use rstest::rstest;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::Path;

async fn count(connection: &mut PgConnection, table: &QualifiedName) -> i64 {
    let sql = format!("select count(*) from {}", table.sql());
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

/// Adds `many` rows to the table `t` of a schema; the reason if it took none.
async fn add(schema: &str, many: i64) -> Result<(), String> {
    let mut connection = PgConnection::connect_with(&empty_database().await).await.unwrap();
    connection.execute(AssertSqlSafe(schema)).await.unwrap();
    let mut rows = Rows::read(&mut connection).await.unwrap();
    let table = QualifiedName::parse("t");
    for _ in 0..many {
        let statements = rows.add(&mut connection, &table, &Wish::default()).await.unwrap()?;
        assert!(!statements.is_empty());
    }
    // A parent may have asked for one more.
    assert!(count(&mut connection, &table).await >= many);
    Ok(())
}

#[rstest]
#[case::nothing("create table t ()")]
#[case::defaults("create table t (id bigserial primary key, at timestamptz not null default now())")]
#[case::identity("create table t (id int generated always as identity primary key, n int not null)")]
#[case::generated("create table t (n int not null, m int generated always as (n * 2) stored)")]
#[case::types("create table t (a smallint not null, b numeric(5, 2) not null, c real not null, d money not null, e text not null,
    f varchar(2) not null, g char(3) not null, h bytea not null, i uuid not null, j json not null, k jsonb not null,
    l date not null, m time not null, n timetz not null, o timestamp not null, p interval not null, q boolean not null,
    r inet not null, s cidr not null, u macaddr not null, v int[] not null, w text[] not null, x int4range not null,
    y tstzrange not null, z point not null, aa box not null, ab circle not null, ac line not null, ad xml,
    ae tsvector not null, af bit(1) not null, ag bit varying(4) not null, ah oid not null, ai \"char\" not null,
    aj uuid[] not null, ak pg_lsn not null, al name not null, am polygon not null, an double precision not null)")]
#[case::many_columns(
    "do $$ begin execute 'create table t (' || (select string_agg(format('c%s int not null', n), ', ')
    from generate_series(1, 130) n) || ')'; end $$"
)]
#[case::enumeration(
    "create type e as enum ('b', 'a'); create table t (e e not null, f e not null check (f <> 'b'))"
)]
#[case::domain("create domain d as text not null check (value ~ '^[A-Z]{2}$'); create table t (d d)")]
#[case::domain_of_a_domain(
    "create domain d as int check (value > 1000); create domain dd as d check (value < 1002);
    create table t (d dd not null)"
)]
#[case::composite("create type c as (a int, b text); create table t (c c not null)")]
#[case::one_of("create table t (kind text not null check (kind in ('x', 'y')))")]
#[case::either("create table t (a int, b int, check (num_nonnulls(a, b) = 1))")]
#[case::ordered("create table t (a timestamptz not null, b timestamptz not null, check (b > a))")]
#[case::digest(
    "create table t (a text not null check (a ~ '^[0-9a-f]{64}$'), b bytea not null check (octet_length(b) = 20))"
)]
#[case::long("create table t (a text not null check (length(a) >= 300))")]
#[case::object(
    "create table t (a jsonb not null check (jsonb_typeof(a) = 'object'), b jsonb not null check (jsonb_typeof(b) = 'array'))"
)]
#[case::unique(
    "create table t (a text not null unique, b int not null unique, c uuid not null unique, d date not null unique)"
)]
#[case::unique_and_checked("create table t (slug text not null unique check (slug ~ '^[a-z0-9-]+$'))")]
#[case::unique_in_lower_case("create table t (email text not null); create unique index on t (lower(email))")]
#[case::parent(
    "create table p (id uuid primary key, name text not null unique); create table t (p uuid not null references p)"
)]
#[case::parents_of_parents(
    "create table a (id int primary key); create table b (a int references a, id int, primary key (a, id));
    create table t (a int not null, b int not null, foreign key (a, b) references b (a, id))"
)]
#[case::keys_that_overlap("create table l (id uuid primary key);
    create table x (l uuid references l, id uuid, primary key (l, id)); create table y (l uuid references l, id uuid, primary key (l, id));
    create table t (l uuid not null, x uuid not null, y uuid not null,
        foreign key (l, x) references x (l, id), foreign key (l, y) references y (l, id))")]
#[case::one_per_parent(
    "create table p (id int primary key); create table t (p int primary key references p)"
)]
#[case::default_that_refers(
    "create table ref (code text primary key); create table t (code text not null default 'new' references ref)"
)]
#[case::oneself("create table t (id uuid primary key, parent uuid references t)")]
#[case::a_circle(
    "create table u (id int primary key, t int not null);
    create table t (id int primary key, u int not null references u deferrable initially deferred);
    alter table u add foreign key (t) references t deferrable initially deferred"
)]
#[case::range(
    "create table t (at timestamptz not null, n int) partition by range (at);
    create table t1 partition of t for values from ('2020-01-01') to ('2020-02-01')"
)]
#[case::list(
    "create table t (k text not null) partition by list (k); create table t1 partition of t for values in ('q', 'r')"
)]
#[case::hash("create table t (k uuid not null) partition by hash (k);
    create table t1 partition of t for values with (modulus 2, remainder 0); create table t2 partition of t for values with (modulus 2, remainder 1)")]
#[case::unbounded(
    "create table t (n int not null) partition by range (n); create table t1 partition of t for values from (minvalue) to (-7)"
)]
#[case::an_expression(
    "create table t (at date not null) partition by range (extract(year from at));
    create table t1 partition of t for values from (1990) to (3000)"
)]
#[case::exclusion("create table t (r int4range not null, exclude using gist (r with =))")]
#[case::a_balance("create table t (n int not null);
    create function f() returns trigger language plpgsql as $$ begin raise 'unbalanced'; end $$;
    create constraint trigger c after insert on t deferrable initially deferred for each row execute function f()")]
#[tokio::test]
async fn a_table_takes_three_rows(#[case] schema: &str) {
    assert_eq!(add(schema, 3).await, Ok(()));
}

/// Whose rows in `t` each parent has.
#[rstest]
#[case::a_parent_each("p (id)", "", "a | b")]
#[case::a_key_of_two_columns("p (id, kind)", "", "a | b")]
#[case::one_parent_for_all("p (id)", "alter table p add check (id = 1)", "a, b")]
#[case::a_row_that_takes_no_other_parent(
    "p (id)",
    "insert into p values (1, 1); alter table t add check (id = 1)",
    "a, b"
)]
#[tokio::test]
async fn parents_are_kept_apart_where_that_can_be(
    #[case] key: &str,
    #[case] condition: &str,
    #[case] expected: &str,
) {
    let mut connection = PgConnection::connect_with(&empty_database().await).await.unwrap();
    let columns = key.trim_start_matches("p ");
    let schema = format!(
        "create table p (id int primary key, kind int not null, unique (id, kind));
         create table t (whose text not null, id int not null, kind int not null, foreign key {columns} references {key});
         {condition};"
    );
    connection.execute(AssertSqlSafe(schema)).await.unwrap();
    let mut rows = Rows::read(&mut connection).await.unwrap();
    for whose in ["a", "b", "a"] {
        let everywhere = Some(("whose".to_owned(), whose.to_owned()));
        let wish = Wish { everywhere, apart: [QualifiedName::parse("p")].into(), ..Wish::default() };
        rows.add(&mut connection, &QualifiedName::parse("t"), &wish).await.unwrap().unwrap();
    }
    let found: String = sqlx::query_scalar(
        "select string_agg(whose, ' | ' order by whose)
         from (select string_agg(distinct whose, ', ') as whose from t group by id) each",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(found, expected);
}

#[rstest]
#[case::contradiction(
    "create table t (n int not null, constraint no check (n > n))",
    "SQLSTATE 23514, constraint `no` of `public.t`"
)]
#[case::no_partition(
    "create table t (n int not null) partition by range (n)",
    "SQLSTATE 23514 of `public.t`"
)]
#[tokio::test]
async fn a_table_that_takes_no_row_says_why(#[case] schema: &str, #[case] reason: &str) {
    assert_eq!(add(schema, 1).await, Err(reason.to_owned()));
}

/// The reference schema, with no fixture at all: all is made up.
#[tokio::test]
async fn every_table_of_the_reference_schema_takes_a_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let template = Template::builder(root)
        .with_bootstrap(["migrations/bootstrap/roles.sql"])
        .with_migrations("migrations")
        .with_history("public.schema_migrations")
        .with_migrator_role("app_migrator")
        .build();
    let db = template.get().await.unwrap();
    let mut connection = db.connection().await.unwrap();
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select schemaname::text, tablename::text from pg_tables
         where schemaname !~ '^pg_' and schemaname not in ('information_schema', 'public') order by 1, 2",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() > 60);
    let mut rows = Rows::read(&mut connection).await.unwrap();
    let mut refused = Vec::new();
    for (schema, name) in tables {
        let table = QualifiedName::new(schema, name);
        let before = count(&mut connection, &table).await;
        match rows.add(&mut connection, &table, &Wish::default()).await.unwrap() {
            Ok(_) => assert_eq!(count(&mut connection, &table).await, before + 1, "{table}"),
            Err(reason) => refused.push(format!("{table}: {reason}")),
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
