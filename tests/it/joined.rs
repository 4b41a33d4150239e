//! Migrations that go to the server together do what they do one by one.

use pgharness::catalog::Catalog;
use pgharness::migration::{Format, Migrations, Runner};
use pgharness::{Template, template};
use proptest::prelude::*;
use sqlx::{ConnectOptions, Executor, Row};
use std::fs;
use std::path::Path;
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

async fn run(dir: &Path, files: &[String], are_together: bool) -> Outcome {
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
            runtime.block_on(run(dir.path(), &files, are_together))
        });
        prop_assert_eq!(together, one_by_one);
    }
}
