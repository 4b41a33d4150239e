//! A cut within a simple query lands between the statements that it says: held against the server's own log.

use super::cut::Ground;
use crate::raw::Raw;
use pgharness::wire::{Address, Cut, Moment, Proxy};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor};

/// A statement that leaves a line in the server's log and a row in the table.
fn trace(number: u64) -> String {
    format!("do $$ begin raise log 'at {number}'; insert into t values ({number}); end $$")
}

/// Statements that leave traces, and others between them. What lies before the `commit` stays.
fn statements() -> Vec<String> {
    // Long enough that a message's head does not hold what is behind it.
    let padding = "x; ".repeat(10_000);
    vec![
        trace(0),
        "begin".into(),
        trace(2),
        "commit".into(),
        format!("select ';' as \";\" /* {padding} */"),
        "set client_min_messages = error".into(),
        trace(6),
        "set statement_timeout = '1h'".into(),
        trace(8),
    ]
}

/// Those that leave traces.
const TRACES: [u64; 4] = [0, 2, 6, 8];
/// What keeps those before it.
const COMMIT: u64 = 3;

fn script() -> Vec<u8> {
    (statements().join(" ;\n-- a comment; of two parts\n") + "; \0").into_bytes()
}

/// The first `count` statements' answers.
fn answers(count: u64) -> String {
    let count = usize::try_from(count).unwrap();
    statements()[..count].iter().map(|sql| if sql.starts_with("select") { "TDC" } else { "C" }).collect()
}

#[tokio::test]
async fn cuts_within_a_query_land_between_its_statements() {
    let mut ground = Ground::lay().await;
    let direct = ground.database("cut").await;
    let mut control = direct.connect().await.unwrap();
    control.execute("create table t (n int)").await.unwrap();
    let count = statements().len() as u64;
    for (statement, moment) in (0..count).flat_map(|statement| Moment::ALL.map(|moment| (statement, moment)))
    {
        control.execute("truncate t").await.unwrap();
        let done = statement + u64::from(moment != Moment::Before);
        let heard = statement + u64::from(moment == Moment::After);
        let (cut, mut raw, _proxy) = begin(&ground, &direct, 0, statement, moment).await;
        raw.say(&[(b'Q', &script())]).await;
        assert_eq!(raw.read_until(b'E').await, answers(heard) + "E", "{moment} {statement}");
        let landing = cut.landing().unwrap().unwrap();
        let what = landing.to_string();
        assert_eq!((landing.step, landing.statement, landing.moment), (0, Some(statement), moment));
        assert!(what.contains(&format!("{moment} statement {statement} of step 0: do $…$")), "{what}");
        let pid = landing.pid.unwrap();
        ground.wait_until_gone(pid).await;
        let lines = ground.lines(pid).await;
        let traces: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("at ")).collect();
        let expected: Vec<String> = TRACES.iter().filter(|at| **at < done).map(u64::to_string).collect();
        assert_eq!(traces, expected, "{what}");
        let kept: &[i32] = if done > COMMIT { &[0, 2] } else { &[] };
        assert_eq!(rows(&mut control).await, kept, "{what}");
    }
    control.execute("truncate t").await.unwrap();
    let (cut, mut raw, _proxy) = begin(&ground, &direct, 0, count, Moment::Before).await;
    raw.say(&[(b'Q', &script())]).await;
    // With what the server says of settings that it changed, when all is done.
    assert_eq!(raw.read_until(b'Z').await.replace('S', ""), answers(count) + "Z");
    assert_eq!((cut.landing().unwrap(), rows(&mut control).await), (None, vec![0, 2, 6, 8]));
}

/// A session behind such a cut.
async fn begin(
    ground: &Ground,
    direct: &PgConnectOptions,
    step: u64,
    statement: u64,
    moment: Moment,
) -> (Cut, Raw, Proxy) {
    let cut = Cut::within(step, statement, moment, ground.direct.clone());
    let proxy = Proxy::start(Address::of(direct), cut.taps()).await.unwrap();
    let raw = Raw::start(&proxy.options(direct)).await;
    (cut, raw, proxy)
}

async fn rows(control: &mut sqlx::PgConnection) -> Vec<i32> {
    sqlx::query_scalar("select n from t order by n").fetch_all(control).await.unwrap()
}

#[tokio::test]
async fn a_query_without_such_a_place_is_left_as_it_is() {
    let mut ground = Ground::lay().await;
    let direct = ground.database("cut").await;
    let mut control = direct.connect().await.unwrap();
    control.execute("create table t (n int primary key)").await.unwrap();
    // One statement, which would be refused among others; what fails before it gets there; none at all.
    for (sql, answer) in [
        (&b"create index concurrently on t (n)\0"[..], "CZ"),
        (b"select 1; select 1 / 0; select 2\0", "TDCEZ"),
        (b"\0", "IZ"),
    ] {
        let (cut, mut raw, _proxy) = begin(&ground, &direct, 0, 2, Moment::After).await;
        raw.say(&[(b'Q', sql)]).await;
        assert_eq!(raw.read_until(b'Z').await, answer, "{}", sql.escape_ascii());
        assert_eq!(cut.landing().unwrap(), None);
        raw.say(&[(b'Q', b"select 1; select 2; select 3; select 4\0")]).await;
        assert_eq!(raw.read_until(b'Z').await, "TDCTDCTDCTDCZ");
    }
    // Where a backslash escapes, the server sees other statements than the text has by the standard.
    let (cut, mut raw, _proxy) = begin(&ground, &direct, 1, 1, Moment::After).await;
    let strange = b"select 'it\\'s; '; select 2\0";
    raw.say(&[(b'Q', b"set standard_conforming_strings = off\0")]).await;
    raw.read_until(b'Z').await;
    raw.say(&[(b'Q', strange)]).await;
    assert_eq!(raw.read_until(b'Z').await.replace('N', ""), "TDCTDCZ");
    let error = cut.landing().unwrap_err();
    assert!(error.to_string().contains("`standard_conforming_strings` off"), "{error}");
}
