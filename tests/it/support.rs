//! Databases for tests of the rooms below `database`.

use pgharness::postgres::{Installation, Request};
use pgharness::{Isolation, Template, TestDb, template};
use sqlx::postgres::PgConnectOptions;
use std::cell::RefCell;
use std::path::PathBuf;

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

/// A client tool that fits the server, wherever there is one.
pub(crate) fn client_tool(name: &str) -> PathBuf {
    Installation::find(&Request::from_env().unwrap()).unwrap().client_tool(name).unwrap()
}
