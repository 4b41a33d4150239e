//! Extensions: found in files, taken from an installation that has them, and told where they are missing.

use crate::support::server_with;
use pgharness::postgres::{Installation, Request};
use pgharness::secret::Secret;
use pgharness::server::{ServerConfig, ServerSource};
use pgharness::{Error, ErrorKind, Isolation, Template};
use rstest::rstest;
use sqlx::Executor;
use std::fs;
use std::path::Path;

const ITEMS: &str = "-- What is for sale.
CREATE EXTENSION IF NOT EXISTS vector;
create table items (id int primary key, embedding vector(3) not null);
create index on items using hnsw (embedding vector_cosine_ops);
insert into items select i, format('[%s,%s,1]', i, 100 - i)::vector from generate_series(1, 100) i;";

/// A folder with migrations of these texts, in order.
fn folder(texts: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let migrations = dir.path().join("migrations");
    fs::create_dir(&migrations).unwrap();
    for (number, text) in (1..).zip(texts) {
        fs::write(migrations.join(format!("{number:04}_step.up.sql")), text).unwrap();
    }
    dir
}

fn here() -> ServerConfig {
    ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn template(dir: &Path, server: ServerConfig) -> Template {
    Template::builder(dir).with_migrations("migrations").with_server(server).build()
}

/// Nobody says which installation: the version and the files decide.
async fn neighbours_on(version: Option<&str>) -> u32 {
    let dir = folder(&[ITEMS]);
    let version = version.map(str::to_owned);
    let template = template(dir.path(), ServerConfig { version, ..here() });
    let db = template.get().await.unwrap();
    let mut connection = db.connection().await.unwrap();
    connection.execute("set enable_seqscan = off").await.unwrap();
    let nearest = "select id from items order by embedding <=> '[3,97,1]' limit 3";
    let found: Vec<i32> = sqlx::query_scalar(nearest).fetch_all(&mut connection).await.unwrap();
    assert_eq!(found[0], 3);
    assert_eq!(found.len(), 3);
    let explained = format!("explain {nearest}");
    let plan: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(explained)).fetch_all(&mut connection).await.unwrap();
    assert!(plan.iter().any(|line| line.contains("Index Scan using items_embedding_idx")), "{plan:?}");
    db.server().installation().unwrap().version().major
}

#[rstest]
#[case("16")]
#[case("18")]
#[tokio::test]
async fn a_migration_that_creates_vector_runs_where_it_is(#[case] version: &str) {
    if server_with(version, &["vector"]).is_some() {
        assert_eq!(neighbours_on(Some(version)).await.to_string(), version);
    }
}

/// This machine's own may lack it.
#[tokio::test]
async fn without_a_version_any_that_has_it_will_do() {
    if server_with("18", &["vector"]).is_some() && here().version.is_none() {
        neighbours_on(None).await;
    }
}

#[tokio::test]
async fn templates_that_need_nothing_special_share_the_usual_server() {
    let usual = template(folder(&["create table t ()"]).path(), here()).get().await.unwrap();
    let dir = folder(&["create extension if not exists plpgsql; create table t ()"]);
    let other = template(dir.path(), here()).get().await.unwrap();
    assert_eq!(usual.server().base(), other.server().base());
    assert!(usual.server().base().is_some());
}

#[tokio::test]
async fn what_no_installation_has_is_told_with_who_needs_it() {
    let dir = folder(&["create table t ()", "\n\ncreate extension \"no such\";"]);
    let template = Template::builder(dir.path())
        .with_migrations("migrations")
        .with_extensions(["nor_this"])
        .with_server(here())
        .build();
    let error = template.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    let report = error.report();
    for part in [
        "a template that needs `no such` (`0002_step.up.sql`, line 3), `nor_this` (`extensions`)",
        "with the extensions `no such`, `nor_this`",
        "lacks the extensions `no such`, `nor_this`",
        "can be named by PGHARNESS_INSTALLATION",
    ] {
        assert!(report.contains(part), "`{part}` is missing in\n{report}");
    }
}

/// What a migration says, the SQLSTATE, and the extension that has what it misses.
const MISSING: &[(&str, &str, &str)] = &[
    ("do $$ begin create extension citext; end $$", "0A000", "citext"),
    ("do $$ begin create extension vector; end $$", "0A000", "vector"),
    ("create table t (embedding vector(3))", "42704", "vector"),
    ("select uuid_generate_v4()", "42883", "uuid-ossp"),
    ("select gen_random_bytes(8)", "42883", "pgcrypto"),
    ("create table t (a text); create index on t using gin (a gin_trgm_ops)", "42704", "pg_trgm"),
    ("create table t (a citext)", "42704", "citext"),
    ("create table t (a hstore)", "42704", "hstore"),
    ("create table t (a ltree)", "42704", "ltree"),
    ("create table t (a geometry(point, 4326))", "42704", "postgis"),
    ("select 'a' % 'b'::text", "42883", "pg_trgm"),
    ("select soundex('a')", "42883", "fuzzystrmatch"),
    ("create table t (a int, exclude using gist (a with =))", "42704", "btree_gist"),
    ("select * from pg_stat_statements", "42P01", "pg_stat_statements"),
    ("create server s foreign data wrapper postgres_fdw", "42704", "postgres_fdw"),
];

async fn failure(texts: &[&str], server: &ServerConfig) -> Error {
    template(folder(texts).path(), server.clone()).get().await.unwrap_err()
}

#[rstest]
#[case("15", "citext")]
#[case("16", "vector")]
#[case("16", "citext")]
#[case("18", "vector")]
#[case("18", "citext")]
#[tokio::test]
async fn an_error_names_the_extension_and_where_it_is(#[case] version: &str, #[case] with: &str) {
    let Some(config) = server_with(version, &[with]) else { return };
    let request = Request::from_env().unwrap().with_explicit(config.installation.as_ref().unwrap());
    let installation = Installation::find(&request).unwrap();
    for (sql, code, extension) in MISSING {
        let is_there = installation.has_extension(extension).unwrap();
        if is_there && *code == "0A000" {
            continue;
        }
        // A contrib script tells all; of what is not here only the usual names are known.
        let is_known =
            is_there || !["fuzzystrmatch", "pg_trgm"].contains(extension) || !sql.starts_with("select");
        let error = failure(&[sql], &config).await;
        assert_eq!(error.sqlstate().as_deref(), Some(*code), "{error:?}");
        let help = error.help().unwrap_or_default().to_owned();
        let expect = match (is_there, *code) {
            _ if !is_known => continue,
            (true, _) => {
                format!("it comes with the extension `{extension}`: `CREATE EXTENSION \"{extension}\"` first")
            }
            (false, "0A000") => format!(
                "the extension `{extension}` is not installed on this server\nname it in `extensions`"
            ),
            (false, _) => {
                format!("it comes with the extension `{extension}`, which is not installed on this server")
            }
        };
        assert!(help.starts_with(&expect), "of `{sql}`, not `{expect}`, but\n{help}");
        if !is_there {
            let major = installation.version().major;
            let image = match *extension {
                "vector" => format!("`pgvector/pgvector:pg{major}`"),
                "postgis" => format!("`postgis/postgis:{major}-3.5`"),
                _ => format!("`postgres:{major}`"),
            };
            assert!(help.contains(&image), "{help}");
        }
    }
}

#[rstest]
#[case("15", "file_fdw")]
#[case("16", "vector")]
#[case("18", "file_fdw")]
#[tokio::test]
async fn a_right_that_the_migrator_lacks_is_had_by_a_declaration(
    #[case] version: &str,
    #[case] extension: &str,
) {
    let Some(config) = server_with(version, &[extension]) else { return };
    let dir = folder(&[&format!("do $$ begin create extension if not exists {extension}; end $$")]);
    fs::write(
        dir.path().join("roles.sql"),
        "create role migrator login; grant create on schema public to migrator",
    )
    .unwrap();
    let builder = Template::builder(dir.path())
        .with_bootstrap(["roles.sql"])
        .with_migrations("migrations")
        .with_migrator_role("migrator")
        .with_isolation(Isolation::Cluster)
        .with_server(config);
    let error = builder.clone().build().get().await.unwrap_err();
    assert_eq!(error.sqlstate().as_deref(), Some("42501"), "{error:?}");
    let expect = format!("only a superuser may create the extension `{extension}`: name it in `extensions`");
    assert!(error.help().unwrap_or_default().starts_with(&expect), "{error:?}");
    builder.with_extensions([extension]).build().get().await.unwrap();
}

#[tokio::test]
async fn an_extension_out_of_sight_is_told_with_its_schema() {
    let Some(config) = server_with("15", &["citext"]) else { return };
    let apart = "create schema ext; create extension citext schema ext";
    let error = failure(&[apart, "create table t (email citext)"], &config).await;
    let help = error.help().unwrap();
    assert!(
        help.starts_with("the extension `citext` is in the schema `ext`, which is not on the `search_path`"),
        "{help}"
    );
    // It is there and in sight, so that the types must be wrong: nobody is told to create it.
    let error = failure(&["create extension fuzzystrmatch", "select soundex(1, 2)"], &config).await;
    assert!(!error.help().unwrap_or_default().contains("extension"), "{error:?}");
}

/// A tool of the project's own shows what the server told it.
#[tokio::test]
async fn a_command_that_misses_an_extension_is_explained_too() {
    let Some(config) = server_with("15", &["citext"]) else { return };
    let dir = folder(&[]);
    let builder = Template::builder(dir.path()).with_server(config);
    let failing = |line: &str| builder.clone().with_migration_command(line).build();
    let line = r#"psql -qv ON_ERROR_STOP=1 -c "create table t (email citext)" "$DATABASE_URL""#;
    let error = failing(line).get().await.unwrap_err();
    let help = error.help().unwrap_or_default();
    assert!(help.starts_with("it comes with the extension `citext`: `CREATE EXTENSION"), "{error:?}");
    let error = builder.with_fixture_command(line).build().get().await.unwrap_err();
    assert!(error.help().unwrap_or_default().contains("`citext`"), "{error:?}");
}

/// With a schema of its own it is created where roles are.
#[rstest]
#[case("15", "citext", "citext")]
#[case("18", "vector", "vector(3)")]
#[tokio::test]
async fn the_bootstrap_may_create_it_in_a_schema(
    #[case] version: &str,
    #[case] extension: &str,
    #[case] column: &str,
) {
    if server_with(version, &[extension]).is_none() {
        return;
    }
    let dir = folder(&[&format!("create table t (a ext.{column})")]);
    let sql = format!("create schema ext; create extension {extension} schema ext;");
    fs::write(dir.path().join("extensions.sql"), sql).unwrap();
    let template = Template::builder(dir.path())
        .with_bootstrap(["extensions.sql"])
        .with_migrations("migrations")
        .with_server(ServerConfig { version: Some(version.to_owned()), ..here() })
        .build();
    let db = template.get().await.unwrap();
    db.connection().await.unwrap().execute("insert into t values (null)").await.unwrap();
}

/// Nothing is known of its installation but what it says itself.
#[tokio::test]
async fn a_server_by_url_is_asked_what_it_has() {
    let Some(config) = server_with("15", &["citext"]) else { return };
    let db = Template::builder(env!("CARGO_MANIFEST_DIR"))
        .with_isolation(Isolation::Cluster)
        .with_server(config)
        .build()
        .get()
        .await
        .unwrap();
    let url = db.server().url_tcp("postgres").await.unwrap();
    let external = ServerConfig { source: ServerSource::External { url: Secret::new(url) }, ..here() };
    let dir = folder(&["create extension citext; create table t (email citext)"]);
    template(dir.path(), external.clone()).get().await.unwrap();
    let dir = folder(&["create extension citext; create extension postgis; create extension vector;"]);
    let error = template(dir.path(), external).get().await.unwrap_err();
    let report = error.report();
    for part in [
        "`vector` (`0001_step.up.sql`, line 1)",
        "Postgres 15 lacks the extensions `postgis`, `vector`",
        "`pgvector/pgvector:pg15`",
        "of Debian's packages, `postgresql-15-postgis-3`, `postgresql-15-pgvector`",
    ] {
        assert!(report.contains(part), "`{part}` is missing in\n{report}");
    }
}
