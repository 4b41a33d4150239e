//! The commands that work on a database by URL, and the one that looks around.

use crate::checks::projects;
use crate::support::server_with;
use pgharness::process::{Finished, Program};
use pgharness::{Template, TestDb, template};
use rstest::rstest;
use std::fs;
use std::path::{Path, PathBuf};

static EMPTY: Template = template! {};

/// A project with two migrations.
fn project(root: &Path) -> PathBuf {
    let dir = root.join("project");
    fs::create_dir_all(dir.join("migrations")).unwrap();
    fs::write(dir.join("migrations/0001_users.sql"), "create table users (id int);\nselect 1;\n").unwrap();
    let index = "-- no-transaction\ncreate index concurrently i on users (id);\n";
    fs::write(dir.join("migrations/0002_index.sql"), index).unwrap();
    dir
}

fn door(dir: &Path, arguments: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_door")).current_dir(dir).args(arguments)
}

/// The exit code, and all that was said.
fn said(program: Program) -> (i32, String) {
    let finished: Finished = program.run().unwrap();
    (finished.status.code().unwrap(), format!("{}{}", finished.text(), finished.complaint()))
}

/// The URL of `db` over TCP, without its password, and the password.
async fn over_tcp(db: &TestDb) -> (String, String) {
    let url = db.url_tcp().await.unwrap();
    let (before, after) = url.split_once('@').unwrap();
    let (user, password) = before.rsplit_once(':').unwrap();
    (format!("{user}@{after}"), password.to_owned())
}

#[tokio::test]
async fn a_manifest_says_what_pending_migrations_will_do() {
    let root = projects();
    let dir = project(root.path());
    let drops = "alter table users add name text, alter id type smallint;\nalter table users drop name;\n\
                 drop table notes;\n";
    fs::write(dir.join("migrations/0003_drops.sql"), drops).unwrap();
    fs::write(
        dir.join("migrations/0001_users.sql"),
        "create table users (id int);\ncreate table notes ();\n",
    )
    .unwrap();
    let db = EMPTY.get().await.unwrap();
    let url = db.url();
    let (code, text) = said(door(&dir, &["plan", "--manifest"]).env("DATABASE_URL", ""));
    assert_eq!(code, 0, "{text}");
    for line in [
        "0001_users.sql, in a transaction\n  creates   table public.notes\n  creates   table public.users\n",
        "0002_index.sql, as one message; what fails halfway stays half done\n  creates   index public.i\n",
        "  unseen    locks of statements that do not run in a transaction: 1",
        "  changes   column public.users.id: type integer → smallint\n",
        "  drops     table public.notes\n",
        "  locks     public.users: AccessExclusiveLock, nobody can read or write it, and it waits for the lock without end\n",
        "  rewrites  public.users\n",
        "  loses     the rows of `public.notes`: it has no way back: before, `create table … as table public.notes`",
        "  loses     of column `public.users.id` what integer holds and smallint does not",
    ] {
        assert!(text.contains(line), "`{line}` is missing in\n{text}");
    }
    // The target is not touched, and what it has applied is left out.
    assert_eq!(said(door(&dir, &["plan", "--manifest", "--url", &url])).1, text);
    assert_eq!(said(door(&dir, &["migrate", "--url", &url])).0, 0);
    assert_eq!(
        said(door(&dir, &["plan", "--manifest", "--url", &url])),
        (0, "nothing is pending".to_owned())
    );
    let (_, json) = said(door(&dir, &["plan", "--manifest", "json"]).env("DATABASE_URL", ""));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["migrations"][2]["dropped"], serde_json::json!(["table public.notes"]));
    assert_eq!(json["migrations"][2]["locks"][1]["mode"], "AccessExclusiveLock");
    assert_eq!(json["migrations"][1]["is_atomic"], false);
}

#[tokio::test]
async fn what_is_planned_is_what_is_done() {
    let root = projects();
    let dir = project(root.path());
    let db = EMPTY.get().await.unwrap();
    let url = db.url();
    let all = "2 of 2 pending on an empty database\n  \
               1  migrations/0001_users.sql  in a transaction  2 statements\n  \
               2  migrations/0002_index.sql  as one message    1 statement";
    assert_eq!(said(door(&dir, &["plan"]).env("DATABASE_URL", "")), (0, all.to_owned()));
    assert_eq!(
        said(door(&dir, &["plan", "--url", &url])),
        (0, all.replace("an empty database", "the database"))
    );
    assert_eq!(
        said(door(&dir, &["migrate", "--url", &url])),
        (0, "0001_users.sql\n0002_index.sql".to_owned())
    );
    assert_eq!(said(door(&dir, &["plan", "--url", &url])), (0, "0 of 2 pending on the database".to_owned()));
    let again = door(&dir, &["migrate"]).env("DATABASE_URL", &url);
    assert_eq!(said(again), (0, "nothing is pending: 2 applied before".to_owned()));
}

#[tokio::test]
async fn the_configuration_names_the_history_and_a_command() {
    let root = projects();
    let dir = project(root.path());
    let db = EMPTY.get().await.unwrap();
    fs::write(dir.join("pgharness.toml"), "[migrations]\nhistory = \"ops.applied\"\n").unwrap();
    assert_eq!(said(door(&dir, &["migrate", "--url", &db.url()])).0, 0);
    let mut connection = db.connection().await.unwrap();
    let count: i64 =
        sqlx::query_scalar("select count(*) from ops.applied").fetch_one(&mut connection).await.unwrap();
    assert_eq!(count, 2);
    fs::write(dir.join("pgharness.toml"), "[migrations]\ncommand = \"test -n \\\"$DATABASE_URL\\\"\"\n")
        .unwrap();
    let (code, text) = said(door(&dir, &["migrate", "--url", &db.url()]));
    assert_eq!((code, text.ends_with("` ran")), (0, true), "{text}");
    assert_eq!(said(door(&dir, &["plan", "--url", &db.url()])).0, 2);
}

#[tokio::test]
async fn a_failure_points_into_the_file() {
    let root = projects();
    let dir = project(root.path());
    fs::write(dir.join("migrations/0001_users.sql"), "create table users (\n  id nosuch\n);\n").unwrap();
    let db = EMPTY.get().await.unwrap();
    let (code, text) = said(door(&dir, &["migrate", "--url", &db.url()]));
    assert_eq!(code, 2, "{text}");
    for part in ["type \"nosuch\" does not exist (SQLSTATE 42704)", "0001_users.sql:2:6", "id nosuch"] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

#[tokio::test]
async fn the_password_may_lie_in_a_file() {
    let root = projects();
    let dir = project(root.path());
    let db = EMPTY.get().await.unwrap();
    let (url, password) = over_tcp(&db).await;
    let file = root.path().join("password");
    let with_file = |arguments: &[&str]| said(door(&dir, arguments).env("PGPASSWORD_FILE", &file));
    let (code, text) = with_file(&["migrate", "--url", &url]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("the file of PGPASSWORD_FILE"), "{text}");
    fs::write(&file, "\n").unwrap();
    assert!(with_file(&["plan", "--url", &url]).1.contains("is empty"));
    fs::write(&file, "wrong\n").unwrap();
    let (code, text) = with_file(&["doctor", "--url", &url]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("✗ user") && text.contains("password for"), "{text}");
    assert!(text.contains("✓ host, port"), "{text}");
    fs::write(&file, format!("{password}\n")).unwrap();
    let (code, text) = with_file(&["migrate", "--url", &url]);
    assert_eq!((code, text.as_str()), (0, "0001_users.sql\n0002_index.sql"));
    let (code, text) = with_file(&["doctor", "--url", &url]);
    assert_eq!(code, 0, "{text}");
    for part in [
        "✓ secret",
        "the file of PGPASSWORD_FILE",
        "✓ host, port",
        "✓ user",
        "✓ TLS               the connection is not encrypted (mode prefer)",
        "✓ server            Postgres 1",
        "✓ advisory lock",
        "✓ installation",
        "✓ tmpfs",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    assert!(!text.contains(&password), "{text}");
}

#[rstest]
#[case::no_url(&["migrate"], 2, "no database is named")]
#[case::no_format(&["plan", "--dir", "migrations", "--format", "squirrel"], 2, "there is no migration format `squirrel`")]
#[case::format_of_nothing(&["plan", "--format", "sqlx"], 2, "--dir <FOLDER>")]
#[case::no_folder(&["plan", "--dir", "none"], 2, "failed to read the migrations folder `none`")]
#[case::bad_url(&["migrate", "--url", "nonsense"], 2, "`--url` is no URL of a database")]
#[case::nobody(&["migrate", "--url", "postgres://a@127.0.0.1:1/a"], 3, "failed to connect")]
#[case::nobody_there(&["doctor", "--url", "postgres://a@127.0.0.1:1/a"], 3, "✗ host, port        nobody answers at `127.0.0.1:1`")]
#[case::nobody_asked(&["doctor"], 0, "– database          no URL")]
fn what_is_wrong_is_told(#[case] arguments: &[&str], #[case] expected: i32, #[case] part: &str) {
    let root = projects();
    let dir = project(root.path());
    let (code, text) = said(door(&dir, arguments).env("DATABASE_URL", ""));
    assert_eq!(code, expected, "{text}");
    assert!(text.contains(part), "{text}");
}

#[tokio::test]
async fn the_doctor_tells_which_extensions_are_needed_and_where_they_are() {
    let root = projects();
    let dir = project(root.path());
    let looked_at = |arguments: &[&str]| said(door(&dir, arguments).env("DATABASE_URL", ""));
    let (code, text) = looked_at(&["doctor"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("✓ extensions        the project needs none"), "{text}");
    fs::write(dir.join("migrations/0003_more.sql"), "\ncreate extension if not exists \"no such\";").unwrap();
    let (code, text) = looked_at(&["doctor"]);
    assert_eq!(code, 3, "{text}");
    for part in [
        "✗ extensions        the project needs `no such` (`0003_more.sql`, line 2)",
        "lacks the extension `no such`",
        "npm: brings no `no such`",
        "can be named by PGHARNESS_INSTALLATION",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let db = EMPTY.get().await.unwrap();
    let (code, text) = looked_at(&["doctor", "--url", &db.url()]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("✗ its extensions    Postgres 1"), "{text}");
    if server_with("18", &["vector"]).is_some() {
        fs::write(dir.join("migrations/0003_more.sql"), "create extension vector;").unwrap();
        let (code, text) =
            said(door(&dir, &["doctor"]).env("DATABASE_URL", "").env("PGHARNESS_VERSION", "18"));
        assert_eq!(code, 0, "{text}");
        assert!(
            text.contains("✓ extensions        `vector` (`0003_more.sql`, line 1): from Postgres 18."),
            "{text}"
        );
    }
}

#[test]
fn what_the_backend_needs_decides() {
    let root = projects();
    let dir = project(root.path());
    let closed = |backend: &str| {
        said(
            door(&dir, &["doctor"])
                .env("DATABASE_URL", "")
                .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
                .env("PGHARNESS_BACKEND", backend),
        )
    };
    let (code, text) = closed("container");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("✗ container engine  no container engine answers at `unix:///nowhere"), "{text}");
    let (code, text) = closed("embedded");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("– container engine  no container engine answers"), "{text}");
    let nowhere = door(&dir, &["doctor"]).env("DATABASE_URL", "").env("PGHARNESS_INSTALLATION", "/nowhere");
    let (code, text) = said(nowhere);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("✗ installation      `/nowhere` is no Postgres installation"), "{text}");
}
