//! Databases for tests of the rooms below `database`.

use pgharness::postgres::{Installation, Request};
use pgharness::server::ServerConfig;
use pgharness::{Isolation, Template, TestDb, env, notice, template};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

static EMPTY: Template = template! {};
static EMPTY_CLUSTER: Template = template! { isolation: Isolation::Cluster };

thread_local! {
    /// Every test has a thread of its own: its databases go with it.
    static HELD: RefCell<Vec<TestDb>> = const { RefCell::new(Vec::new()) };
}

fn hold(db: TestDb) -> PgConnectOptions {
    let options = db.options();
    HELD.with_borrow_mut(|held| held.push(db));
    options
}

/// A new empty database, as superuser; it lives as long as the test.
pub(crate) async fn empty_database() -> PgConnectOptions {
    hold(EMPTY.get().await.unwrap())
}

/// The same on a server of its own, for tests that change roles.
pub(crate) async fn empty_cluster() -> PgConnectOptions {
    hold(EMPTY_CLUSTER.get().await.unwrap())
}

/// An installation on this machine that has these extensions, of the version that is asked for. `None`, with a word of
/// it: there is none; with `PGHARNESS_REQUIRE=extensions` it is fetched, or the test fails.
pub(crate) fn installation_with(request: Request, extensions: &[&str]) -> Option<Installation> {
    let is_required = env::is_required("extensions");
    let is_offline = request.is_offline() || !is_required;
    match Installation::find(&request.with_extensions(extensions.to_vec()).with_offline(is_offline)) {
        Ok(found) => Some(found),
        Err(missing) => {
            assert!(!is_required, "{missing:?}");
            notice::skipped("extensions", &missing.to_string());
            None
        }
    }
}

/// A server of this major version from [such an installation](installation_with).
pub(crate) fn server_with(version: &str, extensions: &[&str]) -> Option<ServerConfig> {
    let found = installation_with(Request::from_env().unwrap().with_version(version), extensions)?;
    let here = ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (version, installation) = (Some(version.to_owned()), Some(found.bin().to_owned()));
    Some(ServerConfig { version, installation, ..here })
}

/// A client tool that fits the server, wherever there is one.
pub(crate) fn client_tool(name: &str) -> PathBuf {
    Installation::find(&Request::from_env().unwrap()).unwrap().client_tool(name).unwrap()
}

/// A digest of each of the server's catalogs in this database, whatever is in it; not of what statistics say.
pub(crate) async fn catalog_digest(connection: &mut PgConnection) -> String {
    let catalogs: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r' and not relisshared order by 1",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let queries: Vec<String> = catalogs
        .iter()
        .map(|name| {
            let row = match name.as_str() {
                "pg_class" => {
                    "(to_jsonb(t) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'::text[])::text"
                }
                _ => "t::text",
            };
            format!("select '{name} ' || md5(coalesce(string_agg({row}, E'\\n' order by {row}), '')) from pg_catalog.{name} t")
        })
        .collect();
    let mut digests: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(queries.join(" union all "))).fetch_all(connection).await.unwrap();
    // From 18 on they are read by several processes, and come as they are ready.
    digests.sort();
    digests.join("\n") + "\n"
}
