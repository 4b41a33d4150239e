//! Databases that are put back: whatever a test did, the next one gets what the template has.

use crate::support::{catalog_digest, server_with};
use pgharness::server::ServerConfig;
use pgharness::wait::{self, Look};
use pgharness::{Template, TestDb};
use proptest::prelude::*;
use rstest::rstest;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::path::Path;
use std::time::Duration;

const MIGRATIONS: &str = include_str!("recycling/schema.sql");

/// What only changes rows; any number of these in any order must be put back.
const ROWS: &[&str] = &[
    "insert into plain (note) values ('one'), ('two')",
    "insert into plain (note) select repeat(md5(i::text), 200) from generate_series(1, 50) i",
    "update plain set note = 'changed' where id = 1",
    "update plain set note = note",
    "delete from plain where id = 2",
    "delete from plain",
    "insert into plain (note) values ('kept'), ('gone'); delete from plain where note = 'gone'",
    "begin; update plain set note = 'never'; insert into child (plain_id) values (1); rollback",
    "begin; savepoint s; insert into plain (note) values ('sub'); release s; commit",
    "begin; savepoint s; delete from plain; rollback to s; commit",
    "insert into child (plain_id) values (1)",
    "insert into empty values (1, '{\"a\": 1}')",
    "insert into empty select i, '{}' from generate_series(1, 1000) i; delete from empty where n % 2 = 0",
    "insert into parted values (1, 'low'), (150, 'high')",
    "update parted set k = 190 where k = 50",
    "insert into unlogged values (7)",
    "update unlogged set n = n + 1",
    "insert into generated (base) values (21)",
    "insert into ruled values (9)",
    "insert into private values (1, 'x')",
    "merge into plain p using (values (1), (99)) v (id) on p.id = v.id when matched then update set note = 'merged' \
     when not matched then insert (note) values ('merged')",
    "select nextval('counter'), nextval('cached'), nextval('plain_id_seq')",
    "select setval('counter', 1000)",
    "select nextval('unlogged_counter')",
    "select * from plain for update",
    "select count(*) from plain, child, parted",
    "copy plain (note) from program 'printf a\\\\nb'",
    "select pg_advisory_lock(7)",
    "listen something; notify something, 'x'",
];

/// What is more than that, or might be: the next test gets what the template has, however it gets it.
const MORE: &[&str] = &[
    "begin; truncate only empty; rollback",
    "begin; create table undone (); rollback",
    "truncate empty",
    "truncate plain cascade",
    "create table added (n int)",
    "create index on plain (note)",
    "alter table plain add column more int",
    "alter table plain alter column note set default 'x'",
    "alter table plain disable trigger all",
    "drop view seen",
    "create or replace view seen as select id from plain",
    "create temp table passing (n int)",
    "comment on table plain is 'changed'",
    "comment on function pg_catalog.lower(text) is 'changed'",
    "grant select on plain to public",
    "revoke execute on function pg_catalog.lower(text) from public",
    "alter default privileges grant select on tables to public",
    "select lo_from_bytea(0, 'abc')",
    "select lo_put(4711, 0, 'changed')",
    "alter sequence counter restart with 5",
    "alter sequence counter increment 3",
    "refresh materialized view summed",
    "refresh materialized view concurrently summed",
    "insert into noisy values (1)",
    "alter table parted detach partition parted_low",
    "create table parted_new partition of parted for values from (200) to (300)",
    "analyze",
    "vacuum plain",
    "vacuum full plain",
    "cluster plain using plain_pkey",
    "reindex table plain",
    "insert into plain (note) select repeat(md5(i::text), 3) from generate_series(1, 30000) i",
    "do $$ begin execute format('alter database %I set work_mem = ''8MB''', current_database()); end $$",
    "do $$ begin execute format('alter role postgres in database %I set work_mem = ''8MB''', current_database()); end $$",
    "do $$ begin execute format('comment on database %I is ''mine''', current_database()); end $$",
    "do $$ begin execute format('revoke connect on database %I from public', current_database()); end $$",
    "do $$ begin execute format('alter database %I is_template true', current_database()); end $$",
    "do $$ begin execute format('alter database %I connection limit 3', current_database()); end $$",
    "set track_counts = off; insert into plain (note) values ('unseen')",
    "set track_counts = off; update plain set note = 'unseen'",
    "set track_counts = off; create table unseen ()",
    "insert into plain (note) values ('reset'); select pg_stat_reset()",
    "create extension if not exists plpgsql; drop extension plpgsql cascade",
    "create subscription s connection 'dbname=none' publication p with (connect = false, slot_name = none)",
    "create publication p for table plain; drop publication p",
    "create statistics on id, note from plain",
    "set session_replication_role = replica; insert into child (plain_id) values (4711)",
    "create policy p on plain; alter table plain enable row level security",
    "select pg_catalog.set_config('allow_system_table_mods', 'on', false); update pg_class set reloptions = '{fillfactor=50}' \
     where relname = 'plain'",
    "delete from pg_depend where refobjid = 'seen'::regclass",
];

struct Subject {
    _dir: tempfile::TempDir,
    template: Template,
    /// A fresh clone's state.
    first: String,
}

impl Subject {
    /// A template of its own, so that nobody else's databases come between.
    async fn new(test: &str) -> Subject {
        Subject::on(ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap(), test).await
    }

    async fn on(server: ServerConfig, test: &str) -> Subject {
        Subject::with(server, test, MIGRATIONS).await
    }

    async fn with(server: ServerConfig, test: &str, schema: &str) -> Subject {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("migrations")).unwrap();
        let sql = format!("{schema}\ncomment on schema public is '{test}';\n");
        std::fs::write(dir.path().join("migrations/0001_schema.up.sql"), sql).unwrap();
        let builder = Template::builder(dir.path()).with_migrations("migrations").with_server(server);
        let fresh = builder.clone().with_recycling(false).build().get().await.unwrap();
        let first = state(&fresh).await;
        Subject { _dir: dir, template: builder.build(), first }
    }

    /// Runs each script in a session of its own on one database, and says whether that was put back; checks that it is
    /// the template's then, or else that the next one is.
    async fn is_put_back_after(&self, scripts: &[&str]) -> bool {
        let db = self.template.get().await.unwrap();
        for script in scripts {
            let mut connection = db.connection().await.unwrap();
            // Some fail after others: a failure is a change of rows like any other.
            let _ = connection.execute(AssertSqlSafe((*script).to_owned())).await;
        }
        let mut control = db.server().connect("postgres").await.unwrap();
        let id = object_id(&mut control, db.name()).await;
        let name = db.name().to_owned();
        drop(db);
        let mut held = Vec::new();
        let (next, is_put_back) = wait::until_async(
            "the database to be put back or dropped",
            Duration::from_secs(20),
            async || {
                let next = self.template.get().await?;
                if object_id(&mut control, next.name()).await == id {
                    assert_ne!(next.name(), name, "whoever has the old name meets another test");
                    return Ok(Look::Ready((next, true)));
                }
                let is_there =
                    sqlx::query_scalar("select exists (select from pg_database where oid::int8 = $1)");
                if !is_there.bind(id).fetch_one(&mut control).await? {
                    return Ok(Look::Ready((next, false)));
                }
                held.push(next);
                Ok(Look::NotYet("neither".into()))
            },
        )
        .await
        .unwrap();
        let found = state(&next).await;
        assert_eq!(differing_lines(&self.first, &found), "", "after {scripts:?}, put back: {is_put_back}");
        is_put_back
    }
}

async fn object_id(control: &mut PgConnection, database: &str) -> Option<i64> {
    let id = sqlx::query_scalar("select oid::int8 from pg_database where datname = $1");
    id.bind(database).fetch_optional(control).await.unwrap()
}

fn differing_lines(expected: &str, found: &str) -> String {
    let differ = |a: &str, b: &str, sign: char| {
        let kept: std::collections::HashSet<&str> = b.lines().collect();
        let lines = a.lines().filter(|line| !kept.contains(line));
        lines.map(|line| format!("{sign}{line:.200}\n")).collect::<String>()
    };
    differ(expected, found, '-') + &differ(found, expected, '+')
}

/// Everything that a client can see in a database.
async fn state(db: &TestDb) -> String {
    let mut connection = db.connection().await.unwrap();
    let mut text = catalog_digest(&mut connection).await;
    text.push_str(&rows(&mut connection).await);
    let facts = "
        select concat_ws(E'\\n', d.datacl::text, d.datconnlimit, d.datallowconn,
          (select string_agg(s.setrole || s.setconfig::text, ',' order by s.setrole) from pg_db_role_setting s
           where s.setdatabase = d.oid),
          (select count(*) from pg_subscription where subdbid = d.oid),
          (select count(*) from pg_locks where locktype = 'advisory' and database = d.oid),
          (select count(*) from pg_listening_channels()),
          (select count(*) from pg_stat_activity where datname = current_database()))
        from pg_database d where datname = current_database()";
    let facts: String = sqlx::query_scalar(facts).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    text + &facts
}

/// Transactions that were prepared need a setting of the server.
#[tokio::test]
async fn prepared_transactions_are_not_left_behind() {
    let mut here = ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    here.settings = here.settings.with("max_prepared_transactions", "4");
    let subject = Subject::on(here, "prepared").await;
    let begin = "begin; insert into plain (note) values ('prepared'); prepare transaction 'one'";
    assert!(subject.is_put_back_after(&[begin, "commit prepared 'one'"]).await);
    assert!(subject.is_put_back_after(&[begin, "rollback prepared 'one'"]).await);
    assert!(!subject.is_put_back_after(&[begin]).await);
}

async fn rows(connection: &mut PgConnection) -> String {
    let relations: Vec<(String, String)> = sqlx::query_as(
        "select format('%I.%I', relnamespace::regnamespace, relname), relkind::text from pg_class
         where oid >= 16384 and relkind in ('r', 'm', 'S') order by 1",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut text = String::new();
    for (name, kind) in relations {
        let columns = if kind == "S" { "(t.last_value, t.is_called)::text" } else { "t::text" };
        let sql =
            format!("select coalesce(string_agg({columns}, E'\\n' order by {columns}), '') from {name} t");
        let rows: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await.unwrap();
        text.push_str(&format!("{name}:\n{rows}\n"));
    }
    text
}

#[tokio::test]
async fn changes_of_rows_are_put_back() {
    let subject = Subject::new("rows").await;
    for script in ROWS {
        assert!(subject.is_put_back_after(&[script]).await, "not put back after `{script}`");
    }
}

#[tokio::test]
async fn what_is_more_than_rows_is_not_there_afterwards() {
    let subject = Subject::new("more").await;
    for script in MORE {
        subject.is_put_back_after(&[script]).await;
    }
}

/// A search of pgvector's `hnsw` ends when it has seen so many neighbours, rows that are gone among them: put back
/// twelve times, the table gave 20 of 35 neighbours. Vectors without one are rows like any other.
#[rstest]
#[case("16")]
#[case("18")]
#[tokio::test]
async fn vectors_are_put_back_but_for_those_in_an_index_of_their_own_kind(#[case] version: &str) {
    let Some(server) = server_with(version, &["vector"]) else { return };
    let subject = Subject::with(server, "vectors", include_str!("recycling/vectors.sql")).await;
    let neighbours = async || {
        let mut connection = subject.template.get().await.unwrap().connection().await.unwrap();
        connection.execute("set enable_seqscan = off; set enable_sort = off").await.unwrap();
        let sql = "select id from indexed order by embedding <-> '[0,0,0]' limit 35";
        sqlx::query_scalar::<_, i32>(sql).fetch_all(&mut connection).await.unwrap()
    };
    let first = neighbours().await;
    assert_eq!(first, (1..=35).collect::<Vec<i32>>());
    for (script, is_put_back) in [
        ("insert into plain (embedding) values ('[7,7,7]')", true),
        (
            "delete from plain where id < 4; update plain set embedding = '[0.1,2.5e-7,3e20]' where id = 9",
            true,
        ),
        ("update halved set embedding = '[1,1,1]'", true),
        ("select * from indexed order by embedding <-> '[1,2,3]' limit 3", true),
        (
            "insert into indexed (embedding) select format('[0,0,%s]', i / 1000.0)::vector from generate_series(1, 60) i",
            false,
        ),
        ("delete from indexed", false),
        ("update indexed set label = 'x' where id = 3", false),
        ("insert into listed (embedding) values ('[1,1,1]')", false),
    ] {
        // On a busy machine a session may leave too late, and its database is dropped; none is put back wrongly.
        let mut was_put_back = false;
        for _ in 0..if is_put_back { 5 } else { 1 } {
            was_put_back = subject.is_put_back_after(&[script]).await;
            assert_eq!(neighbours().await, first, "after `{script}`");
            if was_put_back {
                break;
            }
        }
        assert_eq!(was_put_back, is_put_back, "after `{script}`");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_mixture_is_put_back_or_thrown_away(picks in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..6)) {
        static SUBJECT: once_cell::sync::Lazy<(tokio::runtime::Runtime, Subject)> = once_cell::sync::Lazy::new(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let subject = runtime.block_on(Subject::new("mixture"));
            (runtime, subject)
        });
        let (runtime, subject) = &*SUBJECT;
        // Rows twice as often, so that whole mixtures of them occur.
        let scripts: Vec<&str> = picks.iter().enumerate().map(|(place, (is_more, pick))| match *is_more && place % 2 == 1 {
            true => *pick.get(MORE),
            false => *pick.get(ROWS),
        }).collect();
        runtime.block_on(subject.is_put_back_after(&scripts));
    }
}
