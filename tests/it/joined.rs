//! Migrations that go to the server together do what they do one by one.

use crate::migration::{ASLEEP, LOCKS, apply, ask, folder, names, run, start_slow, wait_for};
use crate::support::empty_database;
use pgharness::catalog::Catalog;
use pgharness::migration::{Format, Migrations, Runner};
use pgharness::{Template, template};
use proptest::prelude::*;
use rstest::rstest;
use sqlx::{ConnectOptions, Executor, Row};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

static EMPTY: Template = template! {};

/// Files of migrations; `{n}` is their place.
const GOOD: &[&str] = &[
    "",
    ";",
    "-- nothing",
    "create table t{n} (a int, b text default 'é;''x'); -- commit é",
    "create table t{n} (a int); create index i{n} on t{n} (a);\ninsert into t{n} values ({n});",
    "create table t{n} (a int primary key, b int references t{n}); create rule r{n} as on delete to t{n} do instead nothing;",
    "create view v{n} as select {n} as a;",
    "create function f{n}() returns trigger language plpgsql as $$ begin return new; end $$; create table t{n} (a int);\n\
     create trigger g{n} before insert on t{n} for each row execute function f{n}(); insert into t{n} values (1);",
    "begin;\ncreate type e{n} as enum ('ü');\ncommit;",
    "create schema s{n}; create table s{n}.t (a int); grant select on s{n}.t to public;",
    "set search_path = pg_temp; create table public.t{n} (a int);",
    "set standard_conforming_strings = off; create table t{n} (a text);",
    "select 1; create table t{n} as select 'a\\b' as a;",
    "do $$ begin execute 'create table t{n} (a int)'; end $$;",
    "create temp table x{n} (a int); create table t{n} (like x{n}); listen x; prepare p{n} as select 1;",
    "create table t{n} (a int)",
    "-- no-transaction\ncreate table t{n} (a int);\ncreate index concurrently on t{n} (a);",
];

const BAD: &[&str] = &[
    "create table t{n} (a int);\n\tcreate tabel u{n} ();",
    "create table t{n} (a int); create table t{n} (a int);",
    "alter table nosuch add a int;",
    "insert into nosuch values ('é', 1);",
    "create view v{n} as select 'é', nosuch;",
    "create table t{n} (a int);\nalter table t{n} add check (nosuch > 0);",
    "create table t{n} (a nosuch);",
    "create table t{n} (a int unique deferrable initially deferred); insert into t{n} values (1), (1);",
    "create table t{n} (a int); select 'x",
    "create table t{n} (a int); commit; create table u{n} (a int);",
    "create type e{n} as enum ('a'); create table t{n} (a e{n} default 'z');",
    "create function f{n}() returns int language sql as $$ select nosuch $$;",
    "vacuum;",
];

/// What came of a run: the schema, the history with its order, and how it failed.
#[derive(Debug, PartialEq)]
struct Outcome {
    catalog: Catalog,
    history: Vec<String>,
    error: Option<String>,
}

async fn outcome(dir: &Path, files: &[String], are_together: bool) -> Outcome {
    let db = EMPTY.get().await.unwrap();
    let mut error = None;
    for place in 0..files.len() {
        fs::write(dir.join(format!("{place:04}_m.sql")), &files[place]).unwrap();
        if are_together && place + 1 < files.len() {
            continue;
        }
        let migrations = Migrations::load(dir, Format::Plain).unwrap();
        if let Err(failed) = Runner::new(&migrations).apply(&db.options()).await {
            error = Some(format!("{failed:?}").replace(&dir.display().to_string(), ""));
            break;
        }
    }
    let mut connection = db.options().connect().await.unwrap();
    let history = "select concat_ws(' ', version, name, checksum, duration_ms between 0 and 60000) \
                   from schema_migrations order by applied_at";
    let history = connection.fetch_all(history).await.unwrap().iter().map(|row| row.get(0)).collect();
    Outcome { catalog: Catalog::read(&mut connection).await.unwrap(), history, error }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_together_does_what_it_does_one_by_one(
        good in prop::collection::vec(prop::sample::select(GOOD), 2..9),
        bad in prop::option::weighted(0.75, (any::<prop::sample::Index>(), prop::sample::select(BAD))),
    ) {
        let mut texts = good;
        if let Some((place, text)) = bad {
            texts.insert(place.index(texts.len()), text);
        }
        let files: Vec<String> =
            texts.iter().enumerate().map(|(place, text)| text.replace("{n}", &place.to_string())).collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let [one_by_one, together] = [false, true].map(|are_together| {
            let dir = TempDir::new().unwrap();
            runtime.block_on(outcome(dir.path(), &files, are_together))
        });
        prop_assert_eq!(together, one_by_one);
    }
}

#[rstest]
#[case("create table t (id int);\ncreate table t (id int);", "0003_x.sql:2:1", "42P07")]
#[case("create table t (id int);\n\tcreate tabel u ();", "0003_x.sql:2:9", "42601")]
#[case("insert into a values ('é', nosuch);", "0003_x.sql:1:28", "42703")]
#[case("create view v as select 'é', nosuch;", "0003_x.sql:1:30", "42703")]
#[case("alter table nosuch add n int;", "0003_x.sql:1:1", "42P01")]
#[case(
    "create table t (n int unique deferrable initially deferred);\ninsert into t values (1), (1);",
    "",
    "23505"
)]
#[tokio::test]
async fn what_fails_among_several_is_told_as_if_it_came_alone(
    #[case] text: &str,
    #[case] place: &str,
    #[case] code: &str,
) {
    let target = empty_database().await;
    let dir = folder(&[
        ("0001_a.sql", "create table a (b text, c int); -- é"),
        ("0002_b.sql", "comment on table a is 'éé';\ninsert into a values ('x', 1), ('y', 2);\n"),
        ("0003_x.sql", text),
        ("0004_d.sql", "create table d ();"),
    ]);
    let error = apply(&dir, &target).await.unwrap_err();
    assert!(error.to_string().contains(place), "{error}");
    assert!(error.to_string().contains("`0003_x.sql`"), "{error}");
    assert_eq!(error.sqlstate().as_deref(), Some(code));
    assert_eq!(ask::<i64>(&target, "select count(*) from schema_migrations").await, 2);
    assert_eq!(ask::<i64>(&target, "select count(*) from a").await, 2);
    assert_eq!(ask::<i64>(&target, LOCKS).await, 0);
    fs::write(dir.path().join("0003_x.sql"), "create table mended ();").unwrap();
    assert_eq!(names(&apply(&dir, &target).await.unwrap()), ["0003_x.sql", "0004_d.sql"]);
}

#[tokio::test]
async fn rows_of_two_files_have_two_times() {
    let target = empty_database().await;
    let dir = folder(&[
        ("0001_a.sql", "create table a (b int, c timestamptz not null default now());"),
        ("0002_seed.sql", "insert into a (b) values (1);"),
        ("0003_seed.sql", "insert into a (b) values (2);"),
    ]);
    apply(&dir, &target).await.unwrap();
    assert_eq!(ask::<i64>(&target, "select count(distinct c) from a").await, 2);
}

#[tokio::test]
async fn each_of_several_has_its_own_time() {
    let target = empty_database().await;
    let dir = folder(&[
        ("0001_a.sql", "create table a (b int);\ninsert into a values (1);"),
        ("0002_slow.sql", "alter table a add c text default pg_sleep(0.2)::text;"),
        ("0003_d.sql", "create table d ();"),
    ]);
    let applied = apply(&dir, &target).await.unwrap();
    let slow = Duration::from_millis(200);
    let took: Vec<bool> = applied.applied.iter().map(|one| one.took >= slow).collect();
    assert_eq!(took, [false, true, false], "{applied:?}");
    let recorded =
        "select string_agg((duration_ms >= 200)::text, ' ' order by applied_at) from schema_migrations";
    assert_eq!(ask::<String>(&target, recorded).await, "false true false");
    assert_eq!(ask::<i64>(&target, "select count(distinct applied_at) from schema_migrations").await, 3);
}

#[tokio::test]
async fn a_run_that_ends_among_several_goes_on_behind_what_it_did() {
    let target = empty_database().await;
    let dir = folder(&[
        ("0001_a.sql", "create table a (b int);\ninsert into a values (1);"),
        ("0002_slow.sql", "alter table a add c text default pg_sleep(600)::text;"),
        ("0003_d.sql", "create table d ();"),
    ]);
    let slow = start_slow(&dir, &target).await;
    run(&target, &format!("select pg_terminate_backend(pid) {ASLEEP}")).await;
    let error = slow.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("`0002_slow.sql`"), "{error}");
    wait_for(&target, "the lock to be free", LOCKS, 0).await;
    assert_eq!(ask::<i64>(&target, "select count(*) from schema_migrations").await, 1);
    fs::write(dir.path().join("0002_slow.sql"), "alter table a add c text;").unwrap();
    assert_eq!(names(&apply(&dir, &target).await.unwrap()), ["0002_slow.sql", "0003_d.sql"]);
}
