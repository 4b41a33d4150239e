//! Databases that a process leaves to others when it ends, as under a runner that starts one per test.

use crate::field::{Field, assert_well};
use pgharness::Template;
use pgharness::process::Signal;
use pgharness::server::{Server, ServerConfig};
use pgharness::wait::{self, Look};
use pgharness_tests::{Participant, Story, Stunt};
use sqlx::{AssertSqlSafe, Executor};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

fn one(field: &Field) -> Participant {
    Participant::once(&field.workspace("app"))
}

/// Runs so many, one after the other.
fn run_some(field: &Field, participant: &Participant, count: usize) -> Vec<Story> {
    let stories: Vec<Story> = (0..count).map(|_| field.run(participant)).collect();
    assert_well(&stories);
    assert!(stories.iter().all(|story| story.databases == 1 && story.servers == stories[0].servers));
    stories
}

fn ids(stories: &[Story]) -> HashSet<u32> {
    stories.iter().flat_map(|story| story.ids.iter().copied()).collect()
}

/// Each participant counts what is not the template's, and adds, changes and deletes rows.
#[test]
fn a_process_gets_what_another_left_as_the_template_has_it() {
    let field = Field::new(5000);
    let stories = run_some(&field, &one(&field), 24);
    assert!(ids(&stories).len() < stories.len() / 2, "hardly any was handed on: {stories:#?}");
}

/// So most of them find one that is ready.
#[test]
fn where_processes_take_turns_several_databases_go_round() {
    let field = Field::new(5000).with("PGHARNESS_AHEAD", "3");
    let participant = one(&field);
    let mut stories = Vec::new();
    wait::until("several databases to go round", Duration::from_secs(60), || {
        stories.extend(run_some(&field, &participant, 1));
        Ok(if ids(&stories).len() > 2 { Look::Ready(()) } else { Look::NotYet(format!("{stories:?}")) })
    })
    .unwrap();
    stories.extend(run_some(&field, &participant, 16));
    // One that a test has, and twice three for those that come.
    assert!(ids(&stories).len() <= 7, "{stories:#?}");
}

#[test]
fn what_more_than_rows_was_done_to_is_not_handed_on() {
    let field = Field::new(5000);
    let altered = Participant { sql: Some("create table added (n int)".into()), ..one(&field) };
    let altered = run_some(&field, &altered, 6);
    let later = run_some(&field, &one(&field), 12);
    assert!(ids(&altered).is_disjoint(&ids(&later)), "{altered:#?} {later:#?}");
    assert_eq!(ids(&altered).len(), altered.len());
}

/// Where enough were ready nobody makes any, until those for which it waits turn out to be of no more use.
#[test]
fn a_process_that_waits_for_databases_which_cannot_be_put_back_gets_others() {
    let field = Field::new(5000);
    let many = Participant { count: 8, hold: 4, ..one(&field) };
    let altered = Participant { sql: Some("create table added (n int)".into()), ..many.clone() };
    for _ in 0..8 {
        assert_well(&[field.run(&many), field.run(&altered)]);
    }
}

#[test]
fn processes_at_once_share_no_database() {
    let field = Field::new(5000);
    let participant = one(&field);
    run_some(&field, &participant, 2);
    for _ in 0..3 {
        let started: Vec<_> = (0..16).map(|_| field.start(&participant)).collect();
        let stories: Vec<Story> = started.into_iter().map(|started| started.end()).collect();
        assert_well(&stories);
        assert!(stories.iter().all(|story| story.databases == 1), "{stories:#?}");
    }
}

/// At moments that are spread over all that a process does, the putting back of others' databases included.
#[test]
fn what_a_killed_process_had_is_never_handed_out() {
    let field = Field::new(5000);
    let participant = one(&field);
    run_some(&field, &participant, 2);
    for round in 0..40_u64 {
        let killed = field.start(&participant);
        std::thread::park_timeout(Duration::from_micros(round * 900));
        killed.kill(Signal::KILL);
        let _ = killed.end();
        run_some(&field, &participant, 1 + (round % 3) as usize);
    }
}

#[test]
fn a_process_that_exits_with_its_databases_leaves_none_that_is_dirty() {
    let field = Field::new(5000);
    let participant = one(&field);
    for stunt in [Stunt::Exit, Stunt::Fork, Stunt::Panic] {
        let _ = field.run(&Participant { stunt: Some(stunt), count: 3, ..participant.clone() });
        run_some(&field, &participant, 3);
    }
}

/// Several in one process: those are put back in it, and handed on at its end.
#[test]
fn a_process_of_many_tests_hands_on_what_it_put_back() {
    let field = Field::new(5000);
    let many = Participant { count: 20, hold: 3, ..one(&field) };
    let stories: Vec<Story> = (0..3).map(|_| field.run(&many)).collect();
    assert_well(&stories);
    let [first, second, _] = stories.as_slice() else { panic!("there are three") };
    assert!(!ids(std::slice::from_ref(first)).is_disjoint(&ids(std::slice::from_ref(second))));
}

/// The databases that are ready on the shelf of the server of `template`, which has no other.
async fn ready(template: &Template) -> (Server, Vec<String>) {
    // A template that one test alone uses has none ready.
    let (one, _another) = (template.get().await.unwrap(), template.get().await.unwrap());
    let server = one.server().clone();
    let dir = server.base().unwrap().join("data/pgharness.shelf");
    let names = wait::until_async("a database on the shelf", Duration::from_secs(20), async || {
        let mut names = Vec::new();
        for file in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if std::fs::read(file.path()).is_ok_and(|label| label.starts_with(b"+")) {
                names.push(file.file_name().into_string().unwrap());
            }
        }
        Ok(if names.is_empty() { Look::NotYet("there is none".into()) } else { Look::Ready(names) })
    });
    let names = names.await.unwrap();
    (server, names)
}

fn template(server: ServerConfig, dir: &Path) -> Template {
    std::fs::create_dir(dir.join("migrations")).unwrap();
    std::fs::write(dir.join("migrations/0001_one.up.sql"), "create table one (n int)").unwrap();
    Template::builder(dir).with_migrations("migrations").with_server(server).build()
}

/// A server of one's own.
fn server(setting: &str) -> ServerConfig {
    let mut here = ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    here.settings = here.settings.with("application_name", setting);
    here
}

/// Every clone that is made brings a checkpoint with it, and so does a stop: the log of what is on the shelf is gone soon.
#[tokio::test]
async fn what_was_ready_before_a_checkpoint_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut own = server("checkpoint");
    own.settings = own.settings.with("wal_keep_size", "0");
    let template = template(own, dir.path());
    let (server, names) = ready(&template).await;
    let mut control = server.connect("postgres").await.unwrap();
    for _ in 0..3 {
        control.execute("select pg_switch_wal(), pg_logical_emit_message(true, '', '')").await.unwrap();
        control.execute("checkpoint").await.unwrap();
    }
    let mut held = Vec::new();
    let db = loop {
        let db = template.get().await.unwrap();
        if names.iter().any(|name| name == db.name()) {
            break db;
        }
        held.push(db);
    };
    let sql = "select oid::int8 from pg_database where datname = $1";
    let id: i64 = sqlx::query_scalar(sql).bind(db.name()).fetch_one(&mut control).await.unwrap();
    db.connection().await.unwrap().execute("insert into one values (1)").await.unwrap();
    let name = db.name().to_owned();
    drop(db);
    let new = wait::until_async("the database to be put back", Duration::from_secs(20), async || {
        let sql = "select datname::text from pg_database where oid::int8 = $1 and datname <> $2";
        let new: Option<String> =
            sqlx::query_scalar(sql).bind(id).bind(&name).fetch_optional(&mut control).await?;
        Ok(new.map_or_else(|| Look::NotYet("it is not".into()), Look::Ready))
    });
    new.await.unwrap();
    // It got another name first: whether it can be put back is found out after that.
    wait::until_async("the database to be handed out again", Duration::from_secs(20), async || {
        let db = template.get().await?;
        let sql = "select oid::int8 from pg_database where datname = $1";
        let got: i64 = sqlx::query_scalar(sql).bind(db.name()).fetch_one(&mut control).await?;
        let is_there = sqlx::query("select from pg_database where oid::int8 = $1").bind(id);
        assert!(is_there.fetch_optional(&mut control).await?.is_some(), "it was dropped");
        held.push(db);
        Ok(if got == id { Look::Ready(()) } else { Look::NotYet("it is another one".into()) })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_was_dropped_by_hand_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let template = template(server("by hand"), dir.path());
    let (server, names) = ready(&template).await;
    let mut control = server.connect("postgres").await.unwrap();
    for name in &names {
        let sql = format!("drop database if exists {} with (force)", pgharness::ident::quote_ident(name));
        control.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..names.len() + 1 {
        let db = template.get().await.unwrap();
        db.connection().await.unwrap().execute("insert into one values (1)").await.unwrap();
        held.push(db);
    }
}
