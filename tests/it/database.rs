//! Databases: isolation, what a clone keeps, keeping, servers of one's own.

use pgharness::database::TemplateBuilder;
use pgharness::process::Program;
use pgharness::server::ServerConfig;
use pgharness::wait::{self, Look};
use pgharness::{Isolation, Template, TestDb, template};
use pgharness_tests::Participant;
use sqlx::{AssertSqlSafe, Executor, Row};
use std::path::Path;
use std::time::Duration;

static EMPTY: Template = template! {};
static EMPTY_CLUSTER: Template = template! { isolation: Isolation::Cluster };

fn with_bootstrap(sql: &str) -> (tempfile::TempDir, TemplateBuilder) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bootstrap.sql"), sql).unwrap();
    let builder = Template::builder(dir.path()).with_bootstrap(["bootstrap.sql"]).with_server(here());
    (dir, builder)
}

/// The server of this workspace, for templates whose files lie elsewhere.
fn here() -> ServerConfig {
    ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test]
async fn a_role_that_is_missing_is_for_the_bootstrap() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("migrations")).unwrap();
    std::fs::write(
        dir.path().join("migrations/0001_a.sql"),
        "create table t ();\ngrant select on t to nobody_x;",
    )
    .unwrap();
    let builder = Template::builder(dir.path()).with_migrations("migrations").with_server(here());
    for (template, start) in [
        (builder.clone().with_migrator_role("nobody_x").build(), "failed to connect to `"),
        (builder.build(), "failed to apply migration `0001_a.sql`: role \"nobody_x\" does not exist"),
    ] {
        let error = template.get().await.unwrap_err();
        let text = error.report();
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.contains("help: create the role `nobody_x` first") && text.contains("`template!`"),
            "{text}"
        );
    }
}

async fn count(db: &TestDb, sql: &str) -> i64 {
    let mut connection = db.connection().await.unwrap();
    connection.fetch_one(AssertSqlSafe(sql.to_owned())).await.unwrap().get(0)
}

#[tokio::test]
async fn two_tests_do_not_see_one_another() {
    let (one, two) = (EMPTY.get().await.unwrap(), EMPTY.get().await.unwrap());
    assert_ne!(one.name(), two.name());
    one.connection().await.unwrap().execute("create table t (); ").await.unwrap();
    let tables = "select count(*) from pg_class where relname = 't'";
    assert_eq!((count(&one, tables).await, count(&two, tables).await), (1, 0));
}

#[test]
fn a_test_without_a_runtime_gets_a_database() {
    let db = EMPTY.get_blocking().unwrap();
    assert!(db.url().starts_with("postgresql:///pgh_c_"), "{}", db.url());
}

#[tokio::test]
async fn a_server_of_ones_own_has_the_template_and_its_own_roles() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b.sql"), "create role alone; create table seeded as select 7 as n")
        .unwrap();
    let template =
        Template::builder(dir.path()).with_bootstrap(["b.sql"]).with_isolation(Isolation::Cluster).build();
    for _ in 0..2 {
        let db = template.get().await.unwrap();
        assert_eq!(count(&db, "select n::bigint from seeded").await, 7);
        db.connection().await.unwrap().execute("drop role alone").await.unwrap();
    }
}

#[tokio::test]
async fn a_url_over_tcp_asks_for_its_password() {
    use sqlx::ConnectOptions;
    use std::str::FromStr;
    let db = EMPTY.get().await.unwrap();
    let url = db.url_tcp().await.unwrap();
    let options = sqlx::postgres::PgConnectOptions::from_str(&url).unwrap();
    assert_eq!(options.get_host(), "127.0.0.1");
    options.clone().connect().await.unwrap();
    let refused = options.password("wrong").connect().await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "28P01");
}

#[pgharness::test]
async fn the_attribute_hands_out_a_pool(pool: sqlx::PgPool) {
    pool.execute("create table t ()").await.unwrap();
}

#[pgharness::test(template = EMPTY)]
async fn the_attribute_takes_a_template(
    db: TestDb,
    one: sqlx::pool::PoolConnection<sqlx::Postgres>,
) -> pgharness::Result<()> {
    drop(one);
    assert!(db.name().starts_with("pgh_c_"));
    Ok(())
}

#[pgharness::test(isolation = "cluster")]
async fn the_attribute_gives_a_server_of_ones_own(db: &TestDb) -> pgharness::Result<()> {
    assert_eq!(db.name(), "app");
    db.connection().await?.execute("create role lonely").await?;
    Ok(())
}

static MISSING: Template = template! { fixtures: ["no/such.sql"] };

#[pgharness::test(template = MISSING)]
#[should_panic(expected = "no/such.sql")]
async fn a_set_up_that_fails_is_told(_db: TestDb) {}

#[pgharness::test(template = EMPTY)]
#[should_panic(expected = "refused on purpose")]
async fn an_error_that_a_test_returns_is_told(_db: TestDb) -> Result<(), &'static str> {
    Err("refused on purpose")
}

/// Where a test panics.
fn place_of_panic(test: fn()) -> (String, u32) {
    use std::sync::mpsc::channel;
    const THREAD: &str = "panics on purpose";
    let (sender, receiver) = channel();
    let earlier = std::panic::take_hook();
    // All threads share the hook: those of other tests go the earlier way.
    std::panic::set_hook(Box::new(move |info| match (std::thread::current().name(), info.location()) {
        (Some(THREAD), Some(place)) => drop(sender.send((place.file().to_owned(), place.line()))),
        _ => earlier(info),
    }));
    let thread = std::thread::Builder::new().name(THREAD.into()).spawn(test).unwrap();
    thread.join().unwrap_err();
    receiver.recv().unwrap()
}

#[test]
fn a_failure_points_at_the_test() {
    let first = line!();
    let (file, line) = place_of_panic(a_set_up_that_fails_is_told);
    assert_eq!(file, file!());
    let (other_file, other_line) = place_of_panic(an_error_that_a_test_returns_is_told);
    assert_eq!(other_file, file!());
    // Each at its own attribute, above.
    assert!(line < other_line && other_line < first, "{line} {other_line} {first}");
}

#[tokio::test]
async fn a_blocking_get_works_within_a_runtime() {
    let db = EMPTY.get_blocking().unwrap();
    assert_eq!(count(&db, "select 1::bigint").await, 1);
    let db = EMPTY_CLUSTER.get_blocking().unwrap();
    assert_eq!((db.name(), count(&db, "select 1::bigint").await), ("app", 1));
}

/// Databases of the server that this process uses, by what `sql` says about them.
async fn databases(db: &TestDb, condition: &str) -> i64 {
    count(db, &format!("select count(*) from pg_database where {condition}")).await
}

#[tokio::test]
async fn a_database_goes_with_its_handle() {
    let witness = EMPTY.get().await.unwrap();
    let name = EMPTY.get().await.unwrap().name().to_owned();
    wait::until_async("the drop", Duration::from_secs(10), async || {
        let left = databases(&witness, &format!("datname = '{name}'")).await;
        Ok(if left == 0 { Look::Ready(()) } else { Look::NotYet("there".into()) })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_panic_keeps_the_database_and_says_where() {
    let witness = EMPTY.get().await.unwrap();
    let db = EMPTY.get().await.unwrap();
    let name = db.name().to_owned();
    let panicked = std::thread::spawn(move || {
        let _db = db;
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    let comment: String = sqlx::query_scalar(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = $1",
    )
    .bind(&name)
    .fetch_one(&mut witness.connection().await.unwrap())
    .await
    .unwrap();
    assert!(comment.contains("\"since_ms\":"), "{comment}");
    assert!(comment.contains("a_panic_keeps_the_database"), "{comment}");
}

#[tokio::test]
async fn a_clone_equals_its_template() {
    let bootstrap = "
        create role reader login;
        do $$ begin
            execute format('alter database %I set search_path to app, \"Odd one\", public', current_database());
            execute format('alter database %I set work_mem to ''7MB''', current_database());
            execute format('alter database %I set app.greeting to ''it''''s, \"here\"''', current_database());
            execute format('alter role reader in database %I set statement_timeout to ''9s''', current_database());
            execute format('revoke all on database %I from public', current_database());
            execute format('grant connect on database %I to reader with grant option', current_database());
        end $$;";
    let (_dir, builder) = with_bootstrap(bootstrap);
    let template = builder.build();
    let (server, name) = template.build().await.unwrap();
    let facts = "
        select jsonb_pretty(jsonb_build_object(
            'acl', (select array_agg(a::text order by a::text) from unnest(datacl) a),
            'settings', (select jsonb_agg(jsonb_build_array(setrole::regrole, setconfig) order by setrole)
                         from pg_db_role_setting where setdatabase = d.oid)))
        from pg_database d where datname = $1";
    let mut control = server.connect("postgres").await.unwrap();
    let of_template: String = sqlx::query_scalar(facts).bind(&name).fetch_one(&mut control).await.unwrap();
    assert!(of_template.contains("work_mem=7MB"), "{of_template}");
    // One that is made for this test, and one that was made ahead.
    for _ in 0..2 {
        let clone = template.get().await.unwrap();
        let of_clone: String =
            sqlx::query_scalar(facts).bind(clone.name()).fetch_one(&mut control).await.unwrap();
        assert_eq!(of_clone, of_template);
        let mut reader = clone.connect_as("reader").await.unwrap();
        let path: String = sqlx::query_scalar("show search_path").fetch_one(&mut reader).await.unwrap();
        assert_eq!(path, "app, \"Odd one\", public");
    }
}

#[tokio::test]
async fn a_template_that_creates_roles_is_found_out_and_gets_a_server_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("seed.sql"), "create role stowaway").unwrap();
    let template = Template::builder(dir.path()).with_fixtures(["seed.sql"]).with_server(here()).build();
    let db = template.get().await.unwrap();
    let common = EMPTY.get().await.unwrap();
    assert_ne!(db.server().base(), common.server().base());
    let roles = "select count(*) from pg_roles where rolname = 'stowaway'";
    assert_eq!((count(&db, roles).await, count(&common, roles).await), (1, 0));
}

#[tokio::test]
async fn who_edits_what_creates_roles_does_not_wait_for_two_builds() {
    let dir = tempfile::tempdir().unwrap();
    let build = async |seed: &str| -> usize {
        // What is remembered of these files holds for this run alone.
        let seed = format!("{seed}; -- {}", dir.path().display());
        std::fs::write(dir.path().join("seed.sql"), seed).unwrap();
        let template = Template::builder(dir.path())
            .with_fixtures(["seed.sql"])
            .with_fixture_command("echo built >> builds")
            .with_server(here());
        template.build().get().await.unwrap();
        let builds = std::fs::read_to_string(dir.path().join("builds")).unwrap();
        std::fs::remove_file(dir.path().join("builds")).unwrap();
        builds.lines().count()
    };
    assert_eq!(build("create role late_stowaway").await, 2, "it is found out");
    assert_eq!(build("create role late_stowaway; create table once ()").await, 1, "it is remembered");
    assert_eq!(build("create table no_roles ()").await, 1, "it is needless now");
    assert_eq!(build("create table no_roles_either ()").await, 1, "it is on the common server again");
    assert_eq!(build("create role late_stowaway; create table again ()").await, 2, "it is found out again");
}

#[tokio::test]
async fn a_maker_lets_its_connection_go_when_nobody_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("migrations")).unwrap();
    std::fs::write(dir.path().join("migrations/0001_a.sql"), "create table makers_own ();").unwrap();
    let template = Template::builder(dir.path()).with_migrations("migrations").with_server(here()).build();
    let db = template.get().await.unwrap();
    let mut watcher = db.connection().await.unwrap();
    wait::until_async("the maker to close its connection", Duration::from_secs(20), async || {
        let made = format!("comment on database \"{}\"%", db.name());
        let sessions: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity where query like $1 and pid <> pg_backend_pid()",
        )
        .bind(made)
        .fetch_all(&mut watcher)
        .await?;
        let status = format!("{sessions:?}");
        Ok(if sessions.is_empty() { Look::Ready(()) } else { Look::NotYet(status) })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn scratch_work_is_rolled_back() {
    let db = EMPTY.get().await.unwrap();
    for _ in 0..3 {
        let mut scratch = db.scratch().await.unwrap();
        scratch.execute("create table t ()").await.unwrap();
        scratch.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_private_server_on_the_durable_profile_keeps_what_it_acknowledged() {
    use pgharness::postgres::{Profile, Settings};
    let config = here();
    let server = tokio::task::spawn_blocking(move || {
        config.backend().unwrap().start_private(None, &Settings::of(Profile::Durable)).unwrap()
    })
    .await
    .unwrap();
    let mut connection = server.connect("postgres").await.unwrap();
    connection.execute("create table ledger (n int)").await.unwrap();
    connection.execute("insert into ledger select generate_series(1, 500)").await.unwrap();
    let pid = i32::try_from(server.postmaster_pid().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    server.restart().await.unwrap();
    let mut connection = server.connect("postgres").await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("select count(*) from ledger").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 500);
}

#[tokio::test]
async fn a_private_server_recovers_data_whose_server_was_killed() {
    use pgharness::postgres::{Profile, Settings};
    use pgharness::process::{Program, User};
    let start = |data: Option<std::path::PathBuf>| async move {
        let backend = here().backend().unwrap();
        let start = move || backend.start_private(data.as_deref(), &Settings::of(Profile::Durable)).unwrap();
        tokio::task::spawn_blocking(start).await.unwrap()
    };
    let killed = start(None).await;
    let mut connection = killed.connect("postgres").await.unwrap();
    connection.execute("create table ledger as select generate_series(1, 500) as n").await.unwrap();
    let pid = i32::try_from(killed.postmaster_pid().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let dir = tempfile::tempdir().unwrap();
    if let Some(user) = User::for_server() {
        user.own(dir.path()).unwrap();
    }
    let copied = dir.path().join("data");
    let copy = Program::new("cp").arg("-R").arg(killed.base().unwrap().join("data")).arg(&copied);
    assert!(copy.as_user(User::for_server()).run().unwrap().status.success());
    let recovered = start(Some(copied)).await;
    let mut connection = recovered.connect("postgres").await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("select count(*) from ledger").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 500);
}

#[tokio::test]
async fn templates_with_one_bootstrap_share_a_server_on_which_it_runs_once() {
    // Not guarded: a second run on the same server would fail.
    let bootstrap = "create role shared_by_two login; create table marked ()";
    let ((_one, one), (_two, two)) = (with_bootstrap(bootstrap), with_bootstrap(bootstrap));
    std::fs::write(two.root().join("more.sql"), "create table more ()").unwrap();
    let (one, two) = (one.build(), two.with_fixtures(["more.sql"]).build());
    let (one, two) = (one.get().await.unwrap(), two.get().await.unwrap());
    assert_eq!(one.server().base(), two.server().base());
    let tables = "select count(*) from pg_class where relname in ('marked', 'more')";
    assert_eq!((count(&one, tables).await, count(&two, tables).await), (1, 2));
    one.connect_as("shared_by_two").await.unwrap();
}

#[tokio::test]
async fn a_template_that_a_living_process_uses_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    let built = pgharness_tests::lay_out(dir.path()).unwrap();
    let templates: Vec<Template> = (0..10)
        .map(|number| {
            let name = format!("number-{number}.sql");
            std::fs::write(dir.path().join(&name), format!("create table numbered as select {number} as n"))
                .unwrap();
            Template::builder(dir.path()).with_fixtures(["seed.sql", &name]).build()
        })
        .collect();
    let mut home = None;
    for template in &templates {
        home = Some(template.build().await.unwrap().0);
    }
    // Nobody swept a moment ago: the next process does.
    std::fs::remove_file(home.unwrap().base().unwrap().join("swept")).unwrap();
    let arguments = Participant::once(dir.path()).arguments();
    let other = Program::new(env!("CARGO_BIN_EXE_participant")).args(arguments).run().unwrap();
    assert!(other.status.success(), "{}", other.text());
    for (number, template) in templates.iter().enumerate() {
        let db = template.get().await.unwrap();
        assert_eq!(count(&db, "select n::int8 from numbered").await, number as i64);
    }
    assert_eq!(std::fs::read_to_string(built).unwrap().lines().count(), 11);
}
