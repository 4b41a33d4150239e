//! A record has every statement and what came of it, and no value.

use super::psql;
use crate::support::empty_database;
use pgharness::wire::{Address, Proxy, Record};
use sqlx::{ConnectOptions, Executor};

#[tokio::test]
async fn a_record_has_statements_and_answers_and_no_value() {
    let direct = empty_database().await;
    let record = Record::default();
    let proxy = Proxy::start(Address::of(&direct), record.taps()).await.unwrap();
    let mut client = proxy.options(&direct).connect().await.unwrap();
    client.execute("create table t (n int primary key, text text); create table u ()").await.unwrap();
    record.operation("write");
    for n in 0..3 {
        sqlx::query("insert into t values ($1, $2)")
            .bind(n)
            .bind("hidden")
            .execute(&mut client)
            .await
            .unwrap();
    }
    client.execute("insert into t values (1, E'hid\\'den')").await.unwrap_err();
    client.execute("selec $$hidden$$").await.unwrap_err();
    sqlx::query("selec $1").bind(1).execute(&mut client).await.unwrap_err();
    record.operation("read");
    let rows = sqlx::query("select * from t where text = 'hidden' and n < $1 /* hidden */")
        .bind(2)
        .fetch_all(&mut client)
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    let transcript = record.transcript();
    assert_eq!(
        transcript.to_string(),
        "0> create table t (n int primary key, text text); create table u ()\n   CREATE TABLE, CREATE TABLE\n\
         0> insert into t values ($1, $2)\n   INSERT 0 1\n\
         0> insert into t values ($1, $2)\n   INSERT 0 1\n\
         0> insert into t values ($1, $2)\n   INSERT 0 1\n\
         0> insert into t values (?, E'…')\n   error 23505\n\
         0> selec $…$\n   error 42601\n\
         0> selec $1\n   error 42601\n\
         0> select * from t where text = '…' and n < $1\n   SELECT 2\n"
    );
    assert!(!format!("{transcript:?}{:?}", transcript.evidence()).contains("hid"));
    assert_eq!(transcript.counts()["write"]["insert into t values ($1, $2)"], 3);
    assert_eq!(transcript.counts()["read"].values().sum::<u64>(), 1);
    let last = transcript.entries.last().unwrap();
    assert_eq!((last.rows, last.role.as_deref()), (2, Some(direct.get_username())));
    let evidence = transcript.evidence();
    assert_eq!((evidence.len(), evidence[4].result.as_str()), (8, "error 23505"));
}

#[tokio::test]
async fn what_psql_copies_is_not_recorded() {
    let direct = empty_database().await;
    let record = Record::default();
    let proxy = Proxy::start(Address::of(&direct), record.taps()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script.sql");
    std::fs::write(
        &file,
        "set standard_conforming_strings = off;\ncreate table t (text text);\ncopy t from stdin;\nhidden\n\\.\n\
         insert into t values ('a\\' hidden');\ncopy t to stdout;\n",
    )
    .unwrap();
    let mut psql = psql(&proxy.options(&direct));
    psql.arg("-f").arg(&file);
    let output = tokio::task::spawn_blocking(move || psql.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        record.transcript().to_string(),
        "0> set standard_conforming_strings = off;\n   SET\n\
         0> create table t (text text);\n   CREATE TABLE\n\
         0> copy t from stdin;\n   COPY 1\n\
         0> insert into t values (…\n   INSERT 0 1\n\
         0> copy t to stdout;\n   COPY 2\n"
    );
}
