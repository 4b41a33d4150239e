//! A client meets what no real server does on request: any answer, a wrong one, or none.

use pgharness::runtime::{Class, DataError, Retry};
use pgharness::wire::{FakeServer, Guest, Reply};
use rstest::rstest;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions};
use sqlx::{ConnectOptions, Executor};
use std::time::Duration;

fn nobody() -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().username("nobody").password("secret").database("nothing")
}

#[tokio::test]
async fn any_sqlstate_comes_with_its_fields_in_both_protocols() {
    let server = FakeServer::start(async |mut guest: Guest| {
        guest.welcome().await?;
        guest
            .serve(|sql| match sql {
                "fails" => Reply::error("23505", "there already")
                    .with(b'n', "t_pkey")
                    .with(b't', "t")
                    .with(b'D', "detail"),
                _ => Reply::done("INSERT 0 7"),
            })
            .await
    })
    .unwrap();
    let mut client = server.options(&nobody()).connect().await.unwrap();
    for _ in 0..2 {
        let errors = [
            client.execute("fails").await.unwrap_err(),
            sqlx::query("fails").bind(1).bind("two").execute(&mut client).await.unwrap_err(),
        ];
        for error in errors {
            let error = error.as_database_error().unwrap().downcast_ref::<PgDatabaseError>();
            assert_eq!(
                (error.code(), error.message(), error.constraint()),
                ("23505", "there already", Some("t_pkey"))
            );
            assert_eq!(error.detail(), Some("detail"));
        }
        assert_eq!(sqlx::query("insert").bind(1).execute(&mut client).await.unwrap().rows_affected(), 7);
    }
}

#[tokio::test]
async fn a_handshake_may_be_slow_or_fail() {
    // It says one message after the other, and waits for the client to have been asked for its password first.
    let server = FakeServer::start(async |mut guest: Guest| {
        guest.authentication(3, &[]).await?;
        let password = guest.hear().await?.map(|head| head.body().to_vec());
        if guest.startup().parameter("database").as_deref() == Some("closed") {
            return guest.reply(&Reply::error("57P03", "the database system is starting up")).await;
        }
        assert_eq!(password.as_deref(), Some(&b"secret\0"[..]));
        guest.welcome().await?;
        guest.serve(|_| Reply::done("SELECT 0")).await
    })
    .unwrap();
    server.options(&nobody()).connect().await.unwrap().execute("select 1").await.unwrap();
    let error = server.options(&nobody().database("closed")).connect().await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "57P03");
}

#[derive(Clone, Copy, Debug)]
enum Odd {
    Hangs,
    Closes,
    WrongMessage,
    Garbage,
    UnknownAuthentication,
}

#[rstest]
#[case(Odd::Hangs)]
#[case(Odd::Closes)]
#[case(Odd::WrongMessage)]
#[case(Odd::Garbage)]
#[case(Odd::UnknownAuthentication)]
#[tokio::test]
async fn an_odd_server_is_an_error_and_no_hang(#[case] odd: Odd) {
    let server = FakeServer::start(move |mut guest: Guest| async move {
        match odd {
            Odd::Hangs => guest.hang().await,
            Odd::Closes => {}
            Odd::WrongMessage => guest.message(b'D', &[0, 0]).await?,
            Odd::Garbage => guest.say(&[b'R', 0xff, 0xff, 0xff, 0xff, 0, 0, 0]).await?,
            Odd::UnknownAuthentication => guest.authentication(99, &[]).await?,
        }
        Ok(())
    })
    .unwrap();
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(500))
        .connect_lazy_with(server.options(&nobody()));
    pool.acquire().await.unwrap_err();
}

/// What no real server can be brought to say at will is mapped as the reference data layer promises.
#[rstest]
#[case::serialization("40001", "", Class::Retry, Retry::Transaction, None)]
#[case::too_many_connections("53300", "", Class::Unavailable, Retry::AfterPause, None)]
#[case::corrupted("XX001", "", Class::Internal, Retry::Never, None)]
#[case::from_the_server("23505", "nbtinsert.c", Class::Conflict, Retry::Never, Some("t_pkey"))]
#[case::raised_by_a_function("23505", "pl_exec.c", Class::Conflict, Retry::Never, None)]
#[tokio::test]
async fn any_error_is_mapped(
    #[case] code: &'static str,
    #[case] file: &'static str,
    #[case] class: Class,
    #[case] retry: Retry,
    #[case] constraint: Option<&str>,
) {
    let server = FakeServer::start(move |mut guest: Guest| async move {
        guest.welcome().await?;
        guest.serve(|_| Reply::error(code, "secret").with(b'F', file).with(b'n', "t_pkey")).await
    })
    .unwrap();
    let mut client = server.options(&nobody()).connect().await.unwrap();
    let error = DataError::from(client.execute("update").await.unwrap_err());
    assert_eq!((error.class, error.retry(), error.constraint.as_deref()), (class, retry, constraint));
    assert!(!format!("{error:?}{error}").contains("secret"));
}
