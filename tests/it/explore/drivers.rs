//! Clients of other drivers, and programs.

use super::{after, ask, deposit};
use crate::raw::Raw;
use crate::support::client_tool;
use pgharness::explore::{Access, Outcome, ensure};
use pgharness::process::Program;
use sqlx::Connection;

const ACCOUNT: &str = "drop table if exists account; create table account as select 0 as balance";

#[tokio::test]
async fn tokio_postgres_loses_an_update_too() {
    let deposit = async |db: Access| {
        let (mut client, connection) = tokio_postgres::connect(&db.url(), tokio_postgres::NoTls).await?;
        let background = tokio::spawn(connection);
        let tx = client.transaction().await?;
        let balance: i32 = tx.query_one("select balance from account", &[]).await?.get(0);
        tx.execute("update account set balance = $1", &[&(balance + 10)]).await?;
        tx.commit().await?;
        drop(client);
        background.await??;
        Ok(())
    };
    let found = after(ACCOUNT)
        .client("one", deposit)
        .client("two", deposit)
        .every_client_succeeds()
        .invariant(async |db, _| ensure(ask::<i32>(&db, "select balance from account").await? == 20, "lost"))
        .with_all_violations()
        .run()
        .await
        .unwrap();
    assert_eq!(found.violation().map(|violation| violation.message.as_str()), Some("lost"));
    assert_eq!((found.coverage().schedules, found.violating().len()), (40, 18), "{found}");
}

#[tokio::test]
async fn programs_are_clients_beside_closures() {
    let psql = client_tool("psql");
    let script =
        "begin; select balance from account \\gset\n update account set balance = :balance + 10;\n commit;\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("deposit.sql");
    // `\gset` ends a statement by itself, so that each is a message of its own.
    std::fs::write(&file, script.replace("begin; ", "begin;\n")).unwrap();
    let found = after(ACCOUNT)
        .program("psql", move |db| {
            Program::new(&psql).args(["-Xq", "-v", "ON_ERROR_STOP=1"]).arg(db.url()).arg("-f").arg(&file)
        })
        .client("sqlx", deposit("select balance from account"))
        .invariant(async |db, outcomes| {
            if let Some(Outcome::Exited(status, text)) = outcomes.of("psql") {
                ensure(status.success(), text.clone())?;
            }
            ensure(outcomes.successes() == 2, "a client failed")?;
            ensure(ask::<i32>(&db, "select balance from account").await? == 20, "lost")
        })
        .preemptions(1)
        .run()
        .await
        .unwrap();
    assert_eq!(found.violation().map(|violation| violation.message.as_str()), Some("lost"));
}

#[tokio::test]
async fn a_flush_leaves_the_implicit_transaction_open() {
    // A pipeline within one batch: what was flushed is not committed before the `Sync`, a step of its own.
    let found = after(ACCOUNT)
        .client("raw", async |db: Access| {
            let mut raw = Raw::start(&db.options()).await;
            raw.say(&[
                (b'P', b"\0update account set balance = 1\0\0\0"),
                (b'B', b"\0\0\0\0\0\0\0\0"),
                (b'E', b"\0\0\0\0\0"),
                (b'H', b""),
            ])
            .await;
            raw.read_until(b'C').await;
            raw.say(&[(b'S', b"")]).await;
            raw.read_until(b'Z').await;
            raw.say(&[(b'X', b"")]).await;
            Ok(0)
        })
        .client("looker", async |db: Access| {
            let mut connection = db.connection().await?;
            let balance: i32 =
                sqlx::query_scalar("select balance from account").fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok(balance)
        })
        .invariant(async |_, outcomes| {
            let seen = outcomes.of("looker").and_then(|outcome| outcome.value()).copied();
            ensure(seen == Some(0), format!("seen {seen:?}"))
        })
        .with_all_violations()
        .run()
        .await
        .unwrap();
    // raw: update, Sync, end; looker: select, end. It sees the update only behind the Sync.
    assert!(found.coverage().is_complete, "{}", found.coverage());
    assert_eq!(found.coverage().schedules, 9);
    let ids: Vec<String> = found.violating().iter().map(ToString::to_string).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| id.starts_with("a2") || id.starts_with("a3")), "{ids:?}");
}
