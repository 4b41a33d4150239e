//! What is left out changes nothing: with and without it the same ends are come to, and the same mistakes are found.

use super::scenarios::{
    ACCOUNT, DOCTORS, INSERT, KEY, NOTHING, OUTBOX, PLAIN, deposits, doctors, migrators, outbox, twice,
};
use super::{after, ask};
use pgharness::explore::{Access, Coverage, Exploration, Explorer, Failure, ensure};
use proptest::prelude::*;
use sqlx::{Connection, Row};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

/// Every row of every table.
const ALL: &str = "
    select coalesce(string_agg(relname || query_to_xml('select * from ' || oid::regclass || ' t order by t', true, true, '')::text,
                               '' order by relname), '')
    from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace";

/// How schedules ended: what was in the database, and what came of the clients.
type Ends = Arc<Mutex<BTreeSet<String>>>;

/// Notes how each schedule ends, before it is judged.
fn noting<T: Debug + 'static>(
    explorer: Explorer<'static, T>,
    state: &'static str,
    ends: &Ends,
) -> Explorer<'static, T> {
    let ends = ends.clone();
    explorer.invariant(async move |db, outcomes| {
        let mut end: String = ask(&db, state).await?;
        for (name, outcome) in outcomes.iter() {
            end += &format!("\n{name} {:?} {:?}", outcome.value(), outcomes.sqlstates(name));
        }
        ends.lock().unwrap().insert(end);
        Ok(())
    })
}

/// Explores with reduction and without. The same ends must come of it, and as many schedules, with those left out.
async fn compare<T: Debug + 'static>(
    name: &str,
    setup: &'static str,
    state: &'static str,
    complete: impl Fn(Explorer<'static, T>) -> Explorer<'static, T>,
) -> Coverage {
    let explore = async |reduces: bool| -> (Exploration, BTreeSet<String>) {
        let ends = Ends::default();
        let explorer = complete(noting(after(setup), state, &ends)).with_all_violations();
        let explorer = if reduces { explorer.with_reduction() } else { explorer };
        let found = explorer.run().await.unwrap();
        let ends = ends.lock().unwrap().clone();
        (found, ends)
    };
    let (all, all_ends) = explore(false).await;
    let (some, some_ends) = explore(true).await;
    assert_eq!(some_ends, all_ends, "{name}: {}", some.coverage());
    assert_eq!(some.is_clean(), all.is_clean(), "{name}");
    let (all, some) = (all.coverage(), some.coverage());
    assert!(all.is_complete && some.is_complete, "{name}: {all}\n{some}");
    assert_eq!(some.schedules + some.left_out, all.schedules, "{name}: {some}");
    some.clone()
}

#[tokio::test]
async fn the_same_is_found_in_every_case() {
    const READ: &str = "select balance from account where id = 1";
    const LOCKED: &str = "select balance from account where id = 1 for update";
    let mut spared = Vec::new();
    spared.push(compare("lost update", ACCOUNT, ALL, |explorer| deposits(explorer, READ)).await);
    spared.push(compare("the same, locked", ACCOUNT, ALL, |explorer| deposits(explorer, LOCKED)).await);
    spared.push(compare("write skew", DOCTORS, ALL, |explorer| doctors(explorer, "repeatable read")).await);
    spared.push(
        compare("the same, serializable", DOCTORS, ALL, |explorer| doctors(explorer, "serializable")).await,
    );
    spared.push(compare("applied twice", PLAIN, ALL, |explorer| twice(explorer, INSERT)).await);
    spared.push(compare("the same with a key", KEY, ALL, |explorer| twice(explorer, INSERT)).await);
    spared.push(
        compare("gap in an outbox", OUTBOX, ALL, |explorer| outbox(explorer, "begin").preemptions(1)).await,
    );
    for coverage in spared {
        assert!(coverage.left_out > 0, "{coverage}");
    }
    // They read catalogs and create tables: everything may matter.
    const APPLIED: &str =
        "select coalesce(string_agg(version::text, ' ' order by version), '') from _sqlx_migrations";
    for takes_lock in [false, true] {
        let coverage =
            compare("migrators", NOTHING, APPLIED, |explorer| migrators(explorer, takes_lock)).await;
        assert_eq!(coverage.left_out, 0);
        assert!(coverage.not_reduced.is_some());
    }
}

/// A client that says these statements one by one, and returns the first column of what it hears.
fn says(
    statements: impl IntoIterator<Item = impl Into<String>>,
) -> impl AsyncFn(Access) -> Result<Vec<String>, Failure> + Send + Sync + 'static {
    let statements: Vec<String> = statements.into_iter().map(Into::into).collect();
    async move |db: Access| {
        let mut connection = db.connection().await?;
        let mut heard = Vec::new();
        for statement in &statements {
            let sql = sqlx::AssertSqlSafe(statement.clone());
            match sqlx::raw_sql(sql).fetch_all(&mut connection).await {
                Ok(rows) => {
                    for row in rows {
                        heard.push(row.try_get_unchecked::<Option<String>, _>(0)?.unwrap_or_default());
                    }
                }
                Err(error) => {
                    let code = error.as_database_error().and_then(|error| error.code());
                    heard.push(code.map(|code| code.into_owned()).ok_or(error)?);
                }
            }
        }
        connection.close().await?;
        Ok(heard)
    }
}

const TABLES: &str =
    "drop schema public cascade; create schema public; create table t (n int); create table u (n int);
                      insert into t values (1); insert into u values (1)";

/// What looks independent by its tables and is not.
#[tokio::test]
async fn what_only_seems_independent_is_run_in_every_order() {
    struct Case {
        name: &'static str,
        more: &'static str,
        one: &'static [&'static str],
        two: &'static [&'static str],
        /// Nothing can be left out.
        is_uncertain: bool,
    }
    let cases = [
        Case {
            name: "advisory locks",
            more: "",
            one: &["begin", "select pg_try_advisory_xact_lock(1)", "update t set n = 2", "commit"],
            two: &["begin", "select pg_try_advisory_xact_lock(1)", "update u set n = 2", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "a trigger",
            more: "create table log (id serial, who text);
                   create function note() returns trigger language plpgsql as
                   $$ begin insert into log (who) values (tg_table_name); return null; end $$;
                   create trigger note after update on t for each row execute function note();
                   create trigger note after update on u for each row execute function note()",
            one: &["begin", "update t set n = 2", "commit"],
            two: &["begin", "update u set n = 2", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "a trigger at the end of the transaction",
            more: "create table log (n int); insert into log values (0);
                   create function note() returns trigger language plpgsql as
                   $$ begin update log set n = n * 2 + tg_argv[0]::int; return null; end $$;
                   create constraint trigger note after update on t deferrable initially deferred
                   for each row execute function note(0);
                   create constraint trigger note after update on u deferrable initially deferred
                   for each row execute function note(1)",
            one: &["begin", "update t set n = 2", "commit"],
            two: &["begin", "update u set n = 2", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "a function without parentheses",
            more: "create function other(u) returns bigint language sql as 'select sum(n) from t'",
            one: &["begin", "update t set n = 2", "commit"],
            two: &["begin", "select u.other from u", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "a function in the place of another",
            more: "create function max(int) returns bigint language sql as 'select sum(n) from public.t';
                   alter role current_user set search_path = public, pg_catalog",
            one: &["begin", "update t set n = 2", "commit"],
            two: &["begin", "select max(n) from u", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "a sequence of two tables",
            more: "create sequence s; alter table t alter n set default nextval('s');
                   alter table u alter n set default nextval('s')",
            one: &["begin", "insert into t default values", "commit"],
            two: &["begin", "insert into u default values", "commit"],
            is_uncertain: false,
        },
        Case {
            name: "a foreign key",
            more: "alter table t add primary key (n); alter table u add foreign key (n) references t",
            one: &["begin", "delete from t", "commit"],
            two: &["begin", "insert into u values (1)", "commit"],
            is_uncertain: false,
        },
        Case {
            name: "a snapshot",
            more: "",
            one: &["begin", "update t set n = 2", "commit"],
            two: &["begin isolation level repeatable read", "select n from u", "select n from t", "commit"],
            is_uncertain: false,
        },
        Case {
            name: "a default that asks for the time",
            more: "alter table t add at timestamptz default now(); alter table u add at timestamptz default now();
                   create view late as select (select max(at) from t) < (select max(at) from u) as is_late",
            one: &["begin", "insert into t values (2)", "commit"],
            two: &["begin", "insert into u values (2)", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "the time by its name",
            more: "create table v (who int, at timestamptz)",
            one: &["begin", "insert into v values (1, 'now')", "commit"],
            two: &["begin", "insert into v values (2, 'now')", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "transactions",
            more: "",
            one: &["begin", "update t set n = 2", "select txid_current() > 0", "commit"],
            two: &["begin", "update u set n = 2", "select t.xmin::text::int > u.xmin::text::int from t, u", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "who is there",
            more: "",
            one: &["begin", "update t set n = 2", "commit"],
            two: &["select count(*) from pg_stat_activity where state = 'idle in transaction'"],
            is_uncertain: true,
        },
        Case {
            name: "who holds what",
            more: "",
            one: &["begin", "update t set n = 2", "commit"],
            two: &["begin", "select count(*) from pg_locks where mode = 'RowExclusiveLock'", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "temporary tables",
            more: "",
            one: &["create temp table x (n int)", "drop table x"],
            two: &["begin", "select count(*) from pg_class where relname = 'x'", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "a table that comes and goes",
            more: "",
            one: &["begin", "create table v (n int)", "commit"],
            two: &["begin", "select count(*) from u", "select to_regclass('v') is null", "commit"],
            is_uncertain: true,
        },
        Case {
            name: "rows that nobody locks by name",
            more: "",
            one: &["begin", "savepoint s", "update t set n = 2", "rollback to s", "commit"],
            two: &["begin", "update t set n = n * 3", "commit"],
            is_uncertain: false,
        },
    ];
    for case in cases {
        let setup: &'static str = format!("{TABLES}; {}", case.more).leak();
        let state = if case.name == "a default that asks for the time" {
            "select is_late::text from late"
        } else if case.name == "the time by its name" {
            "select string_agg(who::text, ' ' order by at) from v"
        } else {
            ALL
        };
        let coverage = compare(case.name, setup, state, |explorer| {
            explorer.client("one", says(case.one.to_vec())).client("two", says(case.two.to_vec()))
        })
        .await;
        assert_eq!(coverage.left_out == 0, case.is_uncertain, "{}: {coverage}", case.name);
    }
}

#[tokio::test]
async fn notifications_are_no_reason_to_leave_anything_out() {
    let coverage = compare("notifications", TABLES, ALL, |explorer: Explorer<'static, Vec<String>>| {
        explorer
            .client("one", says(["begin", "update t set n = 2", "notify jobs", "commit"]))
            .client("two", says(["begin", "update u set n = 2", "notify jobs", "commit"]))
    })
    .await;
    assert_eq!(coverage.left_out, 0);
    let why = coverage.not_reduced.clone().unwrap_or_default();
    assert_eq!(why, "`one` ran what may do more than it says: notify jobs");
}

#[tokio::test]
async fn clients_of_tables_of_their_own_run_in_few_orders() {
    let work = |table: &str| {
        says([
            "begin".to_owned(),
            format!("update {table} set n = n + 1"),
            format!("select n from {table}"),
            "commit".into(),
        ])
    };
    let coverage = compare("tables of their own", TABLES, ALL, |explorer: Explorer<'static, Vec<String>>| {
        explorer.client("one", work("t")).client("two", work("u")).preemptions(3)
    })
    .await;
    assert!(coverage.schedules * 3 <= coverage.schedules + coverage.left_out, "{coverage}");
}

#[tokio::test]
async fn what_is_left_out_is_the_same_every_time_and_can_be_seen() {
    const READ: &str = "select balance from account where id = 1";
    let explore = || deposits(after(ACCOUNT), READ).with_reduction().run();
    let (one, two) = (explore().await.unwrap(), explore().await.unwrap());
    assert_eq!(one.digest(), two.digest());
    let text = one.coverage().to_string();
    let expected =
        format!("left out, as the same but for the order of independent steps: {}", one.coverage().left_out);
    assert!(text.contains(&expected), "{text}");
    let first =
        deposits(after(ACCOUNT), READ).replay(&one.violation().unwrap().schedule.to_string()).await.unwrap();
    assert_eq!(first.violation().unwrap().message, "a deposit was lost");
}

#[tokio::test]
async fn clones_can_be_reduced_too() {
    let found = Explorer::of(&super::EMPTY)
        .client("one", says(["begin", "select 1", "commit"]))
        .client("two", says(["begin", "select 2", "commit"]))
        .invariant(async |_, outcomes| ensure(outcomes.successes() == 2, "failed"))
        .with_reduction()
        .run()
        .await
        .unwrap();
    found.assert_clean();
    assert!(found.coverage().left_out > 0, "{}", found.coverage());
}

/// A transaction of statements that read and write rows of three tables, or a statement by itself.
fn transactions() -> impl Strategy<Value = Vec<String>> {
    let table = prop_oneof!["t", "u", "v"];
    let statement = (table, 0..7usize, 1..3u8).prop_map(|(table, kind, id)| match kind {
        0 => format!("select n from {table} where id = {id}"),
        1 => format!("select n from {table} where id = {id} for update"),
        2 => format!("select sum(n) from {table}"),
        3 => format!("update {table} set n = n * 2 + {id} where id = {id}"),
        4 => format!("update {table} set n = n * 3 + 1"),
        5 => format!("insert into {table} (n) select count(*) from {table}"),
        _ => format!("delete from {table} where id = {id}"),
    });
    let level = prop_oneof![
        4 => Just("begin"),
        1 => Just("begin isolation level repeatable read"),
        1 => Just("begin isolation level serializable"),
    ];
    let end = prop_oneof![4 => Just("commit"), 1 => Just("rollback")];
    (any::<bool>(), level, prop::collection::vec(statement, 1..3), end).prop_map(
        |(is_bare, begin, mut statements, end)| {
            if is_bare && statements.len() == 1 {
                return statements;
            }
            statements.insert(0, begin.into());
            statements.push(end.into());
            statements
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn programs_come_to_the_same_ends(
        programs in prop::collection::vec(transactions(), 2..4),
        bound in 1..3usize,
    ) {
        const THREE: &str = "drop table if exists t, u, v; create table t (id serial primary key, n int);
                             create table u (id serial primary key, n int); create table v (id serial primary key, n int);
                             insert into t (n) values (1), (2); insert into u (n) values (1), (2);
                             insert into v (n) values (1), (2)";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            compare("program", THREE, ALL, |mut explorer: Explorer<'static, Vec<String>>| {
                for (place, program) in programs.iter().enumerate() {
                    explorer = explorer.client(format!("client {place}"), says(program.clone()));
                }
                explorer.preemptions(if programs.len() > 2 { 1 } else { bound })
            })
            .await;
        });
    }
}
