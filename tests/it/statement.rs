//! Named statements with values from data.

use crate::support::{client_tool, empty_cluster, empty_database};
use pgharness::process::Program;
use pgharness::statement::{Random, Source, Statement, parse};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::Path;

const TABLE: &str = "create schema s; create table s.t (u uuid, name text, at timestamptz, tags text[], doc jsonb, \
    kind text, price numeric(10, 2), raw bytea);
    insert into s.t select gen_random_uuid(), 'it''s \\ :' || n, now() - n * interval '1 day', array['a', n::text], \
    jsonb_build_object('n', n), 'k' || n % 3, n * 1.5, decode('ff', 'hex') from generate_series(1, 50) n";

fn statement(text: &str) -> Statement {
    parse(Path::new("queries/q.sql"), text).unwrap().remove(0)
}

/// Values of every type reach the server in their text form, and the server infers the types.
#[tokio::test]
async fn values_of_any_type_are_bound() {
    let options = empty_database().await;
    let mut session = PgConnection::connect_with(&options).await.unwrap();
    session.execute(TABLE).await.unwrap();
    for column in ["u", "name", "at", "tags", "doc", "price", "raw"] {
        let text = format!(
            "-- name: by_{column}\n-- param v: from s.t.{column}\nselect * from s.t where {column} = :v"
        );
        let source = Source::read(&statement(&text), &mut session).await.unwrap();
        session.execute(AssertSqlSafe(source.prepare_sql())).await.unwrap();
        let mut random = Random::new(1);
        for _ in 0..5 {
            let sql = source.execute_sql(&source.draw(&mut random));
            let rows = session.fetch_all(AssertSqlSafe(sql)).await.unwrap();
            assert!(!rows.is_empty(), "{column}");
        }
    }
}

#[tokio::test]
async fn the_same_seed_draws_the_same_values() {
    let options = empty_database().await;
    let mut session = PgConnection::connect_with(&options).await.unwrap();
    session.execute(TABLE).await.unwrap();
    let text = "-- name: q\n-- set: app.name = :n\n-- param n: from s.t.name\n-- param d: int = 3 + 4\n\
                select :d::int, :d + 1, current_setting('app.name')";
    let (one, two) = (
        Source::read(&statement(text), &mut session).await.unwrap(),
        Source::read(&statement(text), &mut session).await.unwrap(),
    );
    let draws = |source: &Source, seed| -> Vec<_> {
        let mut random = Random::new(seed);
        (0..20)
            .map(|_| {
                let draw = source.draw(&mut random);
                (source.settings_sql(&draw).unwrap(), source.execute_sql(&draw))
            })
            .collect()
    };
    assert_eq!(draws(&one, 7), draws(&two, 7));
    assert_ne!(draws(&one, 7), draws(&one, 8));
    assert!(draws(&one, 7).iter().all(|(_, execute)| execute == "execute \"q\" ('7')"));
    assert_eq!(
        one.prepare_sql(),
        "prepare \"q\" (int) as select $1::int, $1 + 1, current_setting('app.name')"
    );
}

#[tokio::test]
async fn an_empty_column_is_an_error_that_names_it() {
    let options = empty_database().await;
    let mut session = PgConnection::connect_with(&options).await.unwrap();
    session.execute("create table t (v int)").await.unwrap();
    let text = "-- name: q\n-- param v: from t.v\nselect :v";
    let error = Source::read(&statement(text), &mut session).await.unwrap_err();
    assert_eq!(error.to_string(), "queries/q.sql:1: `public.t.v` holds no value for the parameter `v`");
}

/// A transcript shows no value, and runs in psql as it stands.
#[tokio::test]
async fn a_transcript_pastes_into_psql_and_holds_no_value() {
    let options = empty_cluster().await;
    let mut session = PgConnection::connect_with(&options).await.unwrap();
    session.execute(TABLE).await.unwrap();
    let role = format!("reader_{}", options.get_database().unwrap());
    session
        .execute(AssertSqlSafe(format!(
            "create role {role}; grant usage on schema s to {role}; grant select on s.t to {role}"
        )))
        .await
        .unwrap();
    let text = format!(
        "-- name: q\n-- role: {role}\n-- set: app.kind = :kind\n-- param kind: from s.t.kind\n\
         -- param name: from s.t.name\nselect count(*) as found from s.t where name = :name \
         and :kind = current_setting('app.kind') -- the end"
    );
    let source = Source::read(&statement(&text), &mut session).await.unwrap();
    let draw = source.draw(&mut Random::new(3));
    let steps = source.transcript("postgres", &draw, "", "1 row");
    let script: String = steps.iter().map(|step| format!("{}\n", step.sql)).collect();
    assert!(!["it''s", "'k0'", "'k1'", "'k2'"].iter().any(|value| script.contains(value)), "{script}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script.sql");
    std::fs::write(&file, &script).unwrap();
    let finished = Program::new(client_tool("psql"))
        .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
        .arg(options.get_socket().unwrap())
        .args(["-p", &options.get_port().to_string(), "-d", options.get_database().unwrap(), "-f"])
        .arg(&file)
        .run()
        .unwrap();
    // The drawn name is one row's, and the setting reached it.
    let shown = String::from_utf8(finished.stdout).unwrap();
    assert!(shown.lines().any(|line| line == "1"), "{shown}\n{script}");
    session.execute(AssertSqlSafe(format!("drop owned by {role}; drop role {role}"))).await.unwrap();
}
