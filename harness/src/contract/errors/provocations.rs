//! The statements that make a server raise each SQLSTATE: data, so that one more is one more line.
//!
//! `{text}` and `{number}` stand where an input value does. Each provocation has a session of its own, whose
//! `search_path` is the contract's schema; what it begins is rolled back.

use std::ops::RangeInclusive;

/// What the client should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// It is the client's doing.
    Client,
    /// It may not do that.
    Denied,
    /// The same again may succeed at once.
    Again,
    /// Not now.
    Later,
    /// It is the service's doing.
    Server,
    /// Any error: whose doing it is depends on the service.
    Error,
}

impl Expect {
    pub(super) fn allows(self, status: u16) -> bool {
        match self {
            Expect::Client => (400..500).contains(&status),
            Expect::Denied => [401, 403, 404].contains(&status),
            Expect::Again => [409, 423, 425, 429, 503].contains(&status),
            Expect::Later => [408, 429, 499, 503, 504].contains(&status),
            Expect::Server => (500..600).contains(&status),
            Expect::Error => (400..600).contains(&status),
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Expect::Client => "4xx",
            Expect::Denied => "401, 403 or 404",
            Expect::Again => "409, 423, 425, 429 or 503",
            Expect::Later => "408, 429, 503 or 504",
            Expect::Server => "5xx",
            Expect::Error => "4xx or 5xx",
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Provocation {
    /// The SQLSTATE that the server must answer with.
    pub(super) code: &'static str,
    /// The major versions that do.
    pub(super) majors: RangeInclusive<u32>,
    /// Statements that must succeed.
    pub(super) setup: &'static str,
    /// The statement that must fail.
    pub(super) statement: &'static str,
    /// What the client should be told.
    pub(super) expect: Expect,
}

const fn one(
    code: &'static str,
    expect: Expect,
    setup: &'static str,
    statement: &'static str,
) -> Provocation {
    Provocation { code, majors: 0..=u32::MAX, setup, statement, expect }
}

/// What the provocations stumble over.
pub(super) const TABLES: &[&str] = &[
    "create table pgharness_contract.person (id int primary key, email text constraint person_email_key unique, \
     name varchar(40) not null, age int constraint person_age check (age between 0 and 200))",
    "create table pgharness_contract.pet (id int, owner int references pgharness_contract.person)",
    "create table pgharness_contract.toy (owner int references pgharness_contract.person on delete restrict)",
    "create table pgharness_contract.later (owner int references pgharness_contract.person \
     deferrable initially deferred)",
    "create table pgharness_contract.room (during int4range, exclude using gist (during with &&))",
    "create table pgharness_contract.part (k int) partition by range (k)",
    "create table pgharness_contract.part_1 partition of pgharness_contract.part for values from (0) to (10)",
    "create table pgharness_contract.numbered (id int generated always as identity)",
    "create table pgharness_contract.wide (value text)",
    "create index on pgharness_contract.wide (value)",
    "create table pgharness_contract.counter (id int primary key, n int not null)",
    "insert into pgharness_contract.counter values (1, 0), (2, 0)",
    "create view pgharness_contract.adult as select * from pgharness_contract.person where age >= 18 \
     with check option",
    "create sequence pgharness_contract.ids",
    "create type pgharness_contract.colour as enum ('red')",
    "create domain pgharness_contract.even as int check (value % 2 = 0)",
    "create function pgharness_contract.deep(n int) returns int language plpgsql as \
     $$ begin return pgharness_contract.deep(n + 1); end $$",
    "create function pgharness_contract.nothing() returns int language plpgsql as $$ begin end $$",
];

const PERSON: &str = "begin; insert into person values ({number}, '{text}', '{text}', 30)";

/// The table.
#[rustfmt::skip]
pub(super) const PROVOCATIONS: &[Provocation] = &[
    // Constraints. DETAIL quotes the key or the whole row.
    one("23505", Expect::Client, PERSON, "insert into person values (1, '{text}', 'x', 30)"),
    one("23505", Expect::Client, "create table twice (v text); insert into twice values ('{text}'), ('{text}')",
        "create unique index on twice (v)"),
    one("23503", Expect::Client, "", "insert into pet values (1, {number})"),
    one("23503", Expect::Client, PERSON, "insert into pet values (1, {number}); delete from person"),
    Provocation { majors: 0..=17, ..one("23503", Expect::Client, PERSON,
        "insert into toy values ({number}); delete from person") },
    Provocation { majors: 18..=u32::MAX, ..one("23001", Expect::Client, PERSON,
        "insert into toy values ({number}); delete from person") },
    one("23503", Expect::Client, "begin; insert into later values ({number})", "commit"),
    one("23502", Expect::Client, "", "insert into person (id, email) values ({number}, '{text}')"),
    one("23514", Expect::Client, "", "insert into person values ({number}, '{text}', '{text}', -1)"),
    one("23514", Expect::Client, "", "insert into part values ({number})"),
    one("23514", Expect::Client, "", "select ({number} / 2 * 2 + 1)::even"),
    one("23P01", Expect::Client, "", "insert into room values ('[1,{number})'), ('[2,{number})')"),
    one("44000", Expect::Client, "", "insert into adult values ({number}, '{text}', '{text}', 3)"),

    // Data. The primary message quotes the input.
    one("22P02", Expect::Client, "", "select '{text}'::int"),
    one("22P02", Expect::Client, "", "select '{text}'::uuid"),
    one("22P02", Expect::Client, "", "select '{\"a\": {text}}'::jsonb"),
    one("22P02", Expect::Client, "", "select '{text}'::colour"),
    one("22P05", Expect::Client, "", "select convert_to('{text}' || chr(9731), 'LATIN1')"),
    one("22001", Expect::Client, "", "insert into person values (1, 'x', repeat('{text}', 9), 1)"),
    one("22003", Expect::Client, "", "select '{number}{number}'::int"),
    one("22003", Expect::Client, "", "select {number} * 4"),
    one("22004", Expect::Client, "", "select format('{text} %I', null)"),
    one("22007", Expect::Client, "", "select '{text}'::date"),
    one("22008", Expect::Client, "", "select '2024-13-45'::date, '{text}'"),
    one("22009", Expect::Client, "", "select '2024-01-01 00:00:00+99:99'::timestamptz, '{text}'"),
    one("22011", Expect::Client, "", "select substring('{text}' from 1 for -1)"),
    one("22012", Expect::Client, "", "select {number} / 0"),
    one("22013", Expect::Client, "", "select sum(n) over (order by id rows -1 preceding), '{text}' from counter"),
    one("2201B", Expect::Client, "", "select '{text}' ~ '{text}[' "),
    one("2201E", Expect::Client, "", "select ln(-{number}::float8)"),
    one("2201F", Expect::Client, "", "select sqrt(-{number}::float8)"),
    one("2201G", Expect::Client, "", "select width_bucket({number}, 1, 2, 0)"),
    one("2201W", Expect::Client, "", "select '{text}' limit -1"),
    one("2201X", Expect::Client, "", "select '{text}' offset -1"),
    one("22021", Expect::Client, "", "select convert_from('\\xff'::bytea, 'UTF8'), '{text}'"),
    one("22023", Expect::Client, "", "select set_config('statement_timeout', '{text}', true)"),
    one("22025", Expect::Client, "", "select '{text}x' like '{text}\\'"),
    one("22026", Expect::Client, "", "select B'101' & B'1', '{text}'"),
    one("2202E", Expect::Client, "", "select array[array[{number}], array[1, 2]]"),
    one("22033", Expect::Client, "", "select jsonb_path_query('[{number}]', 'strict $[5]')"),
    one("2203A", Expect::Client, "", "select jsonb_path_query('{\"a\": \"{text}\"}', 'strict $.b')"),
    one("21000", Expect::Error, "", "select (select v from (values ({number}), ({number})) t (v))"),
    one("20000", Expect::Error, "", "do $$ begin case {number} when 1 then null; end case; end $$"),

    // Rights.
    one("42501", Expect::Denied, "set role pg_monitor", "select from person where email = '{text}'"),
    one("0LP01", Expect::Error, "", "grant insert on sequence ids to public"),

    // Transactions and sessions.
    one("24000", Expect::Error, "begin; declare c cursor for select * from person",
        "update person set name = '{text}' where current of c"),
    one("25001", Expect::Error, "begin", "vacuum"),
    one("25006", Expect::Error, "begin read only", "insert into person values ({number}, '{text}', '{text}', 1)"),
    one("25P01", Expect::Error, "", "savepoint {text}"),
    one("26000", Expect::Error, "", "execute {text}"),
    one("2D000", Expect::Error, "begin", "do $$ begin commit; end $$"),
    one("34000", Expect::Error, "begin", "fetch from {text}"),
    one("3B001", Expect::Error, "begin", "rollback to savepoint {text}"),
    one("0Z002", Expect::Error, "", "do $$ declare t text; begin get stacked diagnostics t = message_text; end $$"),

    // Names and types: mistakes of the service, or of its schema.
    one("3F000", Expect::Error, "", "create table {text}.t ()"),
    one("42601", Expect::Error, "", "select * frm {text}"),
    one("42602", Expect::Error, "", "select '{text}.a b'::regclass"),
    one("42701", Expect::Error, "", "create table t ({text} int, {text} int)"),
    one("42702", Expect::Error, "", "select id from person, pet where email = '{text}'"),
    one("42703", Expect::Error, "", "select {text} from person"),
    one("42704", Expect::Error, "", "select null::{text}"),
    one("42710", Expect::Error, "", "create extension plpgsql"),
    one("42712", Expect::Error, "", "select '{text}' from person p, pet p"),
    one("42723", Expect::Error, "", "create function nothing() returns int language sql as 'select {number}'"),
    one("42803", Expect::Error, "", "select id, count(*) from pet where id = {number} group by owner"),
    one("42804", Expect::Error, "", "update person set age = true where email = '{text}'"),
    one("42809", Expect::Error, "", "drop view person"),
    one("42830", Expect::Error, "", "create table t (n int references counter (n))"),
    one("42846", Expect::Error, "", "select {number}::int::date"),
    one("42883", Expect::Error, "", "select {text}('{text}')"),
    one("428C9", Expect::Error, "", "insert into numbered values ({number})"),
    one("42939", Expect::Error, "", "create schema pg_{text}"),
    one("42P01", Expect::Error, "", "select * from {text}"),
    one("42P02", Expect::Error, "", "select $1, '{text}'"),
    one("42P03", Expect::Error, "begin; declare c cursor for select 1", "declare c cursor for select '{text}'"),
    one("42P04", Expect::Error, "", "create database template1"),
    one("42P05", Expect::Error, "prepare p as select 1", "prepare p as select '{text}'"),
    one("42P06", Expect::Error, "", "create schema pgharness_contract"),
    one("42P07", Expect::Error, "", "create table person (n int default {number})"),
    one("42P10", Expect::Error, "", "insert into pet values ({number}, null) on conflict (id) do nothing"),
    one("42P13", Expect::Error, "", "create function f(a int default {number}, b int) returns int language sql as ''"),
    one("42P16", Expect::Error, "", "alter table person add primary key (email)"),
    one("42P17", Expect::Error, "", "create index on person ((now()))"),
    one("42P18", Expect::Error, "", "select array[], '{text}'"),
    one("42P21", Expect::Error, "", "select '{text}' collate \"C\" < 'b' collate \"POSIX\""),
    one("0A000", Expect::Error, "", "select owner from pet where id = {number} group by owner for update"),
    one("2BP01", Expect::Error, "", "drop table person"),
    one("2F005", Expect::Error, "", "select nothing(), '{text}'"),

    // Limits and resources.
    one("53400", Expect::Error, "set temp_file_limit = '64kB'; set work_mem = '64kB'",
        "select '{text}' || n from generate_series(1, 100000) n order by 1"),
    one("54000", Expect::Error, "",
        "insert into wide select '{text}' || string_agg(md5(n::text), '') from generate_series(1, 400) n"),
    one("54001", Expect::Error, "set max_stack_depth = '100kB'", "select deep({number} - {number})"),
    one("54011", Expect::Error, "",
        "do $$ begin execute 'create table broad (' || (select string_agg('c' || n || ' int', ',') \
         from generate_series(1, 1601) n) || ')'; end $$"),
    one("54023", Expect::Error, "",
        "do $$ begin execute 'select nothing(' || (select string_agg('{number}', ',') \
         from generate_series(1, 101) n) || ')'; end $$"),
    one("55000", Expect::Error, "", "select currval('ids'), '{text}'"),
    one("55006", Expect::Error, "begin; declare c cursor for select from counter; fetch c", "drop table counter"),
    one("55P02", Expect::Error, "", "set max_connections = {number}"),
    one("55P04", Expect::Error, "begin; alter type colour add value '{text}'", "select '{text}'::colour"),
    one("57014", Expect::Later, "set statement_timeout = '20ms'", "select '{text}', pg_sleep(60)"),
    one("58P01", Expect::Server, "", "select pg_read_file('/nowhere/{text}')"),

    // PL/pgSQL raises what it likes, with values wherever it likes.
    one("P0001", Expect::Client, "", "do $$ begin raise 'no % here', '{text}' using detail = '{number}', hint = '{text}'; end $$"),
    one("P0002", Expect::Error, "", "do $$ declare n int; begin select id into strict n from person where email = '{text}'; end $$"),
    one("P0003", Expect::Error, "", "do $$ declare v int; begin select n into strict v from counter where n < {number}; end $$"),
    one("P0004", Expect::Error, "", "do $$ begin assert false, '{text}'; end $$"),
    one("23505", Expect::Client, "",
        "do $$ begin raise 'x' using errcode = '23505', constraint = '{text}', table = '{text}', \
         column = '{text}', schema = '{text}', datatype = '{text}'; end $$"),
    one("40001", Expect::Again, "", "do $$ begin raise '{text}' using errcode = '40001'; end $$"),
    one("08006", Expect::Later, "", "do $$ begin raise '{text}' using errcode = '08006'; end $$"),
    one("53200", Expect::Later, "", "do $$ begin raise '{text}' using errcode = '53200'; end $$"),
    one("57P03", Expect::Later, "", "do $$ begin raise '{text}' using errcode = '57P03'; end $$"),
    one("58030", Expect::Server, "", "do $$ begin raise '{text}' using errcode = '58030'; end $$"),
    one("XX000", Expect::Server, "", "do $$ begin raise '{text}' using errcode = 'XX000'; end $$"),
    one("XX001", Expect::Server, "", "do $$ begin raise '{text}' using errcode = 'XX001'; end $$"),
    // Unknown, of a known class; and unknown altogether.
    one("23ZZZ", Expect::Client, "", "do $$ begin raise '{text}' using errcode = '23ZZZ'; end $$"),
    one("ZZ999", Expect::Error, "", "do $$ begin raise '{text}' using errcode = 'ZZ999'; end $$"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn at_least_forty_codes_are_of_the_servers_own_making() {
        let own: BTreeSet<_> = PROVOCATIONS
            .iter()
            .filter(|one| !one.statement.contains("using errcode"))
            .map(|one| one.code)
            .collect();
        assert!(own.len() >= 40, "{}", own.len());
    }

    #[test]
    fn most_provocations_hold_a_value() {
        let without: Vec<_> = PROVOCATIONS
            .iter()
            .filter(|one| !format!("{} {}", one.setup, one.statement).contains("{text}"))
            .filter(|one| !format!("{} {}", one.setup, one.statement).contains("{number}"))
            .map(|one| one.code)
            .collect();
        // Those have no place for one.
        assert!(without.len() <= 14, "{without:?}");
    }
}
