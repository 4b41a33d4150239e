//! The forms that `#[sqlx::test]` has, each once for either attribute.

use sqlx::migrate::Migrator;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres};
use std::error::Error;
use std::process::ExitCode;
use std::sync::LazyLock;

pub(super) static STATIC: Migrator = sqlx::migrate!("./migrations");
const CONST: Migrator = sqlx::migrate!("./migrations");
static LAZY: LazyLock<Migrator> = LazyLock::new(|| sqlx::migrate!("it/dropin/migrations"));

type Db = PgPool;

/// Says what a test saw, for the test that compares.
#[expect(clippy::print_stdout, reason = "the test runner's output is read by another process")]
fn saw(name: &str, what: &str) {
    println!("saw {name}: {what}");
}

/// Everything that a test can see in its database, but for times and the name.
async fn everything(connection: &mut PgConnection) -> sqlx::Result<String> {
    let columns: String = sqlx::query_scalar(
        "select coalesce(string_agg(concat_ws(' ', table_schema, table_name, column_name, data_type), ', '
           order by table_schema, table_name, ordinal_position), '')
         from information_schema.columns where table_schema not in ('pg_catalog', 'information_schema')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let settings: String = sqlx::query_scalar(
        "select concat_ws(' ', current_setting('search_path'), current_setting('TimeZone'), current_setting('is_superuser'),
           pg_encoding_to_char(encoding)) from pg_database where datname = current_database()",
    )
    .fetch_one(&mut *connection)
    .await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema') order by 1",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut all = format!("{settings}; {columns}");
    for table in tables {
        let rows: String = sqlx::query_scalar(AssertSqlSafe(format!(
            "select coalesce(jsonb_agg(row order by row::text), '[]')::text
             from (select to_jsonb(t) - 'installed_on' - 'execution_time' as row from {table} t) r"
        )))
        .fetch_one(&mut *connection)
        .await?;
        all.push_str(&format!("; {table} {rows}"));
    }
    Ok(all)
}

async fn saw_pool(name: &str, pool: &PgPool) -> sqlx::Result<()> {
    saw(name, &everything(&mut *pool.acquire().await?).await?);
    Ok(())
}

fn settings(options: &PoolOptions<Postgres>) -> String {
    format!(
        "{} {} {:?} {:?} {:?} {}",
        options.get_max_connections(),
        options.get_min_connections(),
        options.get_acquire_timeout(),
        options.get_idle_timeout(),
        options.get_max_lifetime(),
        options.get_test_before_acquire()
    )
}

macro_rules! forms {
    ($krate:ident $(, $ignored:meta)?) => {
        use super::*;

        #[$krate::test]
        $(#[$ignored])?
        async fn no_argument() {
            tokio::task::yield_now().await;
            saw("no_argument", "a runtime");
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn no_argument_and_a_result() -> Result<(), Box<dyn Error>> {
            let number: i32 = "7".parse()?;
            saw("no_argument_and_a_result", &number.to_string());
            Ok(())
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn no_argument_and_a_code() -> ExitCode {
            saw("no_argument_and_a_code", "a code");
            ExitCode::SUCCESS
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn a_pool(pool: PgPool) {
            saw_pool("a_pool", &pool).await.unwrap();
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn what_a_pool_is_set_to(pool: PgPool) {
            saw("what_a_pool_is_set_to", &settings(pool.options()));
        }

        /// With a doc comment.
        #[$krate::test]
        $(#[$ignored])?
        async fn a_connection(mut connection: PoolConnection<Postgres>) -> sqlx::Result<()> {
            saw("a_connection", &everything(&mut *connection).await?);
            Ok(())
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn the_pools_options(pool: PgPoolOptions, connect: PgConnectOptions) -> sqlx::Result<()> {
            let pool = pool
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        sqlx::query("set search_path = public, elsewhere").execute(connection).await?;
                        Ok(())
                    })
                })
                .connect_with(connect.application_name("a form"))
                .await?;
            let name: String = sqlx::query_scalar("show application_name").fetch_one(&pool).await?;
            assert_eq!(name, "a form");
            saw_pool("the_pools_options", &pool).await
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn a_lazy_pool(pool: PoolOptions<Postgres>, connect: PgConnectOptions) -> sqlx::Result<()> {
            let pool = pool.max_connections(2).connect_lazy_with(connect.clone());
            pool.set_connect_options(connect.application_name("set later"));
            let name: String = sqlx::query_scalar("show application_name").fetch_one(&pool).await?;
            saw("a_lazy_pool", &format!("{name} {}", settings(pool.options())));
            pool.close().await;
            Ok(())
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn options_alone(_: PgPoolOptions, connect: PgConnectOptions) -> Result<(), sqlx::Error> {
            let mut connection = connect.connect().await?;
            saw("options_alone", &everything(&mut connection).await?);
            connection.close().await
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn a_full_name(pool: sqlx::Pool<sqlx::Postgres>) -> Result<(), sqlx::Error> {
            saw_pool("a_full_name", &pool).await
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn a_fuller_name(pool: ::sqlx::postgres::PgPool) -> Result<(), Box<dyn Error + Send + Sync>> {
            Ok(saw_pool("a_fuller_name", &pool).await?)
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn an_alias(db: Db) -> sqlx::Result<()> {
            saw_pool("an_alias", &db).await
        }

        #[$krate::test()]
        $(#[$ignored])?
        fn a_function_that_is_not_async(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("a_function_that_is_not_async", &pool).await
        }

        #[$krate::test]
        $(#[$ignored])?
        #[should_panic(expected = "on purpose")]
        async fn a_panic(pool: PgPool) {
            saw_pool("a_panic", &pool).await.unwrap();
            panic!("on purpose");
        }

        #[$krate::test(migrations = false)]
        $(#[$ignored])?
        async fn no_migrations(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("no_migrations", &pool).await
        }

        #[$krate::test(migrations = "it/dropin/migrations")]
        $(#[$ignored])?
        async fn other_migrations(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("other_migrations", &pool).await
        }

        #[$krate::test(migrator = "STATIC")]
        $(#[$ignored])?
        async fn a_migrator(pool: PgPool) -> sqlx::Result<()> {
            STATIC.run(&pool).await?;
            saw_pool("a_migrator", &pool).await
        }

        #[$krate::test(migrator = "crate::dropin::forms::CONST")]
        $(#[$ignored])?
        async fn a_constant_migrator(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("a_constant_migrator", &pool).await
        }

        #[$krate::test(migrator = "LAZY")]
        $(#[$ignored])?
        async fn a_lazy_migrator(pool: PgPool) -> sqlx::Result<()> {
            LAZY.run(&pool).await?;
            saw_pool("a_lazy_migrator", &pool).await
        }

        #[$krate::test(fixtures("people", "posts"))]
        $(#[$ignored])?
        async fn fixtures_by_name(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("fixtures_by_name", &pool).await
        }

        #[$krate::test(fixtures("people.sql"))]
        $(#[$ignored])?
        async fn fixtures_by_file_name(mut connection: PoolConnection<Postgres>) -> sqlx::Result<()> {
            saw("fixtures_by_file_name", &everything(&mut connection).await?);
            Ok(())
        }

        #[$krate::test(fixtures("./elsewhere/more.sql", "../dropin/fixtures/people.sql"))]
        $(#[$ignored])?
        async fn fixtures_by_path(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("fixtures_by_path", &pool).await
        }

        #[$krate::test(fixtures(path = "./elsewhere", scripts("more")))]
        $(#[$ignored])?
        async fn fixtures_of_a_folder(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("fixtures_of_a_folder", &pool).await
        }

        #[$krate::test(fixtures(path = "../dropin/fixtures", scripts("people.sql", "posts",)))]
        $(#[$ignored])?
        async fn fixtures_of_another_folder(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("fixtures_of_another_folder", &pool).await
        }

        #[$krate::test(
            fixtures(path = "elsewhere", scripts("more")),
            migrator = "STATIC",
            fixtures("people"),
            fixtures("./fixtures/posts.sql"),
        )]
        $(#[$ignored])?
        async fn fixtures_in_several_places(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("fixtures_in_several_places", &pool).await
        }

        #[$krate::test(fixtures())]
        $(#[$ignored])?
        async fn no_fixtures(pool: PgPool) -> sqlx::Result<()> {
            saw_pool("no_fixtures", &pool).await
        }

        /// What another macro passes on.
        macro_rules! passed_on {
            ($migrations:literal, $fixture:literal) => {
                #[$krate::test(migrations = $migrations, fixtures($fixture))]
                $(#[$ignored])?
                async fn literals_of_another_macro(pool: PgPool) -> sqlx::Result<()> {
                    saw_pool("literals_of_another_macro", &pool).await
                }
            };
        }
        passed_on!("./migrations", "people");

        #[$krate::test]
        $(#[$ignored])?
        async fn a_transaction(pool: PgPool) -> sqlx::Result<()> {
            let mut transaction = pool.begin().await?;
            sqlx::query("insert into people (name) values ('eve')").execute(&mut *transaction).await?;
            saw("a_transaction", &everything(&mut transaction).await?);
            transaction.rollback().await
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn an_error_of_the_database(pool: PgPool) -> sqlx::Result<()> {
            let error = sqlx::query("insert into posts values (1, 'x')").execute(&pool).await.unwrap_err();
            saw("an_error_of_the_database", &error.to_string());
            Ok(())
        }

        #[$krate::test]
        $(#[$ignored])?
        async fn as_many_connections_as_there_may_be(pool: PgPool) -> sqlx::Result<()> {
            let mut held = Vec::new();
            while let Some(connection) = held_or_not(&pool, held.len()).await? {
                held.push(connection);
            }
            saw("as_many_connections_as_there_may_be", &held.len().to_string());
            Ok(())
        }
    };
}

/// One more connection; `None` once the pool has all that it may have.
async fn held_or_not(pool: &PgPool, held: usize) -> sqlx::Result<Option<PoolConnection<Postgres>>> {
    if held == pool.options().get_max_connections() as usize {
        assert!(pool.try_acquire().is_none());
        return Ok(None);
    }
    pool.acquire().await.map(Some)
}

mod theirs {
    forms!(sqlx, ignore = "run by `every_form_sees_what_it_sees_under_sqlx`");
}

mod ours {
    forms!(pgharness);
}
