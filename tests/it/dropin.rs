//! `#[pgharness::test]` in the place of `#[sqlx::test]`: each form runs under both, in processes of their own, and what
//! the tests see is compared.

mod forms;

use pgharness::process::Program;
use pgharness::{Isolation, Template, template};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where sqlx makes its databases.
static SERVER: Template = template! { isolation: Isolation::Cluster };

/// What the tests of a module saw, by their names.
fn seen(module: &str, environment: &[(&str, &str)], arguments: &[&str]) -> BTreeMap<String, String> {
    let mut program = Program::new(std::env::current_exe().unwrap())
        .args([&format!("dropin::forms::{module}::"), "--show-output", "--test-threads", "4"])
        .args(arguments)
        .deadline(Duration::from_secs(300));
    for (name, value) in environment {
        program = program.env(name, value);
    }
    let finished = program.run().unwrap();
    let text = finished.text();
    assert!(finished.status.success(), "{module}: {text}{}", finished.complaint());
    let saw = text.lines().filter_map(|line| line.strip_prefix("saw ")?.split_once(": "));
    saw.map(|(name, what)| (name.to_owned(), what.to_owned())).collect()
}

#[test]
fn every_form_sees_what_it_sees_under_sqlx() {
    let db = SERVER.get_blocking().unwrap();
    let theirs = seen("theirs", &[("DATABASE_URL", &db.url())], &["--ignored"]);
    // A server that is not there: what ours does not ask for cannot mislead it.
    let ours = seen("ours", &[("DATABASE_URL", "postgresql://nowhere.invalid/x")], &[]);
    assert_eq!(theirs.len(), 30, "{:#?}", theirs.keys());
    assert!(theirs["fixtures_by_name"].contains("hi; ho"), "{theirs:#?}");
    for (name, what) in &theirs {
        assert_eq!(ours.get(name), Some(what), "{name}");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[pgharness::test(fixtures("dropin/fixtures/broken.sql"))]
#[should_panic(expected = "--> tests/it/dropin/fixtures/broken.sql:2:13")]
async fn a_fixture_that_fails_is_shown(_pool: sqlx::PgPool) {}

#[pgharness::test]
async fn an_error_of_sqlx_is_an_outcome(pool: sqlx::PgPool) -> sqlx::Result<()> {
    assert!(sqlx::query("select nosuch").execute(&pool).await.is_err());
    Ok(())
}

#[pgharness::test]
#[should_panic(expected = "the test returned ExitCode")]
async fn a_code_is_an_outcome(_pool: sqlx::PgPool) -> Result<std::process::ExitCode, sqlx::Error> {
    Ok(std::process::ExitCode::FAILURE)
}

#[pgharness::test]
#[ignore = "never to be run: attributes that follow ours hold"]
async fn an_ignored_test_is_not_run(_pool: sqlx::PgPool) {
    unreachable!();
}

#[pgharness::test(migrator = forms::STATIC, fixtures("dropin/fixtures/people.sql"))]
async fn what_sqlx_does_not_have_goes_along(
    db: &pgharness::TestDb,
    pool: sqlx::PgPool,
) -> pgharness::Result<()> {
    let people: i64 = sqlx::query_scalar("select count(*) from people").fetch_one(&pool).await?;
    assert_eq!(people, 2);
    assert!(db.name().starts_with("pgh_c_"), "{}", db.name());
    forms::STATIC.run(&pool).await.unwrap();
    Ok(())
}

static OF_A_MIGRATOR: Template = template! { migrator: forms::STATIC };

#[tokio::test]
async fn a_template_takes_a_migrator() {
    let mut connection = OF_A_MIGRATOR.get().await.unwrap().connection().await.unwrap();
    sqlx::query("insert into people (name) values ('dora')").execute(&mut connection).await.unwrap();
}
