//! The example of the README finds what the README says, and prints it so.

use super::{EMPTY, ask, deposit};
use pgharness::explore::{Access, Explorer, ensure};
use sqlx::Connection;

/// As in the README, where the compiler and a run of its own hold it to the library.
fn deposits(read: &'static str) -> Explorer<'static> {
    Explorer::of(&EMPTY)
        .client("one", deposit(read))
        .client("two", deposit(read))
        .every_client_succeeds()
        .invariant(async |db, _| {
            let balance: i32 = ask(&db, "select balance from account").await?;
            ensure(balance == 20, "a deposit was lost")
        })
        .with_reset(async |db: Access| {
            let mut connection = db.connection().await?;
            let sql = "drop table if exists account; create table account as select 0 as balance";
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await?;
            Ok(())
        })
}

#[tokio::test]
async fn the_readme_shows_what_is_printed() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    for read in ["select balance from account", "select balance from account for update"] {
        assert!(readme.contains(&format!("\"{read}\"")), "the README has another example: {read}");
        let printed = deposits(read).run().await.unwrap().to_string();
        assert!(readme.contains(&printed), "the README does not show this:\n{printed}");
    }
}
