//! Laws of the difference of two catalogs, under generated changes of a live database.
//!
//! Every kind of statement names what it makes, changes or drops, and what the difference tells besides because it
//! depends on that. Names and texts are generated, odd ones among them.

use crate::catalog::{BASE, database, read};
use pgharness::catalog::{Catalog, Change, Kind, Snapshot, diff, name_of};
use pgharness::ident::{quote_ident, quote_literal};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rstest::rstest;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;

/// What is generated for a statement.
#[derive(Clone, Debug)]
struct Words {
    /// Of an object; nothing in the base schema has such a name.
    name: String,
    text: String,
    number: i32,
}

impl Words {
    /// `{name}` as SQL writes it, `{text}` as a literal, and `{number}`.
    fn fill(&self, sql: &str) -> String {
        sql.replace("{name}", &quote_ident(&self.name))
            .replace("{text}", &quote_literal(&self.text))
            .replace("{number}", &self.number.to_string())
    }

    /// `{name}` as the catalog writes it.
    fn named(&self, name: &str) -> String {
        name.replace("{name}", &name_of(&[&self.name]))
    }
}

fn words() -> impl Strategy<Value = Words> {
    let name = prop_oneof![3 => "[a-z][a-z0-9]{0,7}_z", 2 => "[A-Zé.\" ]{1,5}_z"];
    ("[ -~é\n]{1,12}", name, 1..1000).prop_map(|(text, name, number)| Words { name, text, number })
}

/// The name of a kind, that of the object, and of what depends on it.
type Named = (Kind, &'static str);
/// A kind of statement and what its difference names.
type Statement = (&'static str, &'static [Named]);

/// Statements that add something and get into nobody's way: any of them go together.
const ADDING: &[Statement] = {
    use Kind::*;
    &[
        ("create schema {name}", &[(Schema, "{name}")]),
        (
            "create table crm.{name} (id serial primary key, note text default {text}, check (id < {number}))",
            &[(Table, "crm.{name}")],
        ),
        (
            "create table crm.{name} (id integer, tag text, unique (id, tag)) partition by hash (id)",
            &[(Table, "crm.{name}")],
        ),
        ("create table crm.{name} (extra integer) inherits (crm.people)", &[(Table, "crm.{name}")]),
        ("create unlogged table crm.{name} (like crm.tenants including all)", &[(Table, "crm.{name}")]),
        (
            "create table crm.{name} partition of crm.events for values from ('2030-01-01') to ('2031-01-01')",
            &[(Table, "crm.{name}")],
        ),
        ("create table crm.{name} as select 1 as one", &[(Table, "crm.{name}")]),
        ("alter table crm.people add column {name} text default {text}", &[(Column, "crm.people.{name}")]),
        (
            "alter table crm.people add column {name} integer generated always as (age + {number}) stored",
            &[(Column, "crm.people.{name}")],
        ),
        (
            "alter table crm.people add constraint {name} check (age < {number})",
            &[(Constraint, "crm.people.{name}")],
        ),
        (
            "alter table crm.people add constraint {name} unique (tenant_id, age)",
            &[(Constraint, "crm.people.{name}")],
        ),
        (
            "alter table crm.people add constraint {name} foreign key (tenant_id) references crm.tenants not valid",
            &[(Constraint, "crm.people.{name}")],
        ),
        (
            "alter table crm.events add constraint {name} check (kind <> {text})",
            &[(Constraint, "crm.events.{name}"), (Constraint, "crm.events_2024.{name}")],
        ),
        ("create index {name} on crm.people (age, tenant_id) where age > {number}", &[(Index, "crm.{name}")]),
        ("create unique index {name} on crm.tenants (lower(name) desc)", &[(Index, "crm.{name}")]),
        ("create statistics crm.{name} on age, tenant_id from crm.people", &[(Statistics, "crm.{name}")]),
        ("create view crm.{name} as select id from crm.tenants where note = {text}", &[(View, "crm.{name}")]),
        ("create recursive view crm.{name} (n) as values ({number})", &[(View, "crm.{name}")]),
        (
            "create materialized view crm.{name} as select name from crm.tenants with no data",
            &[(MaterializedView, "crm.{name}")],
        ),
        (
            "create function crm.{name}(a text default {text}) returns text language sql as 'select $1'",
            &[(Function, "crm.{name}(text)")],
        ),
        (
            "create function crm.{name}(integer) returns integer begin atomic select $1 + {number}; end",
            &[(Function, "crm.{name}(integer)")],
        ),
        (
            "create procedure crm.{name}() language plpgsql as 'begin null; end'",
            &[(Procedure, "crm.{name}()")],
        ),
        (
            "create aggregate crm.{name}(integer) (sfunc = crm.add, stype = integer)",
            &[(Aggregate, "crm.{name}(integer)")],
        ),
        (
            "create trigger {name} before insert on crm.people for each row execute function crm.touch()",
            &[(Trigger, "crm.people.{name}")],
        ),
        (
            "create constraint trigger {name} after insert on crm.people deferrable for each row execute function crm.touch()",
            &[(Trigger, "crm.people.{name}")],
        ),
        (
            "create trigger {name} after insert on crm.events for each row execute function crm.touch()",
            &[(Trigger, "crm.events.{name}"), (Trigger, "crm.events_2024.{name}")],
        ),
        (
            "create rule {name} as on update to crm.people where old.age = {number} do also nothing",
            &[(Rule, "crm.people.{name}")],
        ),
        (
            "create policy {name} on crm.people to catalog_app using (age > {number})",
            &[(Policy, "crm.people.{name}")],
        ),
        ("create type crm.{name} as enum ('b', 'a')", &[(Type, "crm.{name}")]),
        ("create type crm.{name} as (a integer, b text collate \"C\")", &[(Type, "crm.{name}")]),
        (
            "create type crm.{name} as range (subtype = integer, multirange_type_name = crm.many_of_them)",
            &[(Type, "crm.{name}")],
        ),
        ("create type crm.{name}", &[(Type, "crm.{name}")]),
        (
            "create domain crm.{name} as integer default {number} constraint positive check (value > 0)",
            &[(Domain, "crm.{name}")],
        ),
        (
            "alter domain crm.email add constraint {name} check (value <> {text})",
            &[(Constraint, "crm.email.{name}")],
        ),
        ("create sequence crm.{name} start {number}", &[(Sequence, "crm.{name}")]),
        ("create collation crm.{name} (provider = libc, locale = 'C')", &[(Collation, "crm.{name}")]),
        ("create publication {name} for table crm.people", &[(Publication, "{name}")]),
        ("create operator family crm.{name} using hash", &[(OperatorFamily, "crm.{name} using hash")]),
        (
            "create operator class crm.{name} for type integer using hash as
              operator 1 =, function 1 hashint4(integer)",
            &[(OperatorClass, "crm.{name} using hash"), (OperatorFamily, "crm.{name} using hash")],
        ),
        (
            "create conversion crm.{name} for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8",
            &[(Conversion, "crm.{name}")],
        ),
        ("create language {name} handler plpgsql_call_handler", &[(Language, "{name}")]),
        ("create access method {name} type table handler heap_tableam_handler", &[(AccessMethod, "{name}")]),
        (
            "create text search dictionary crm.{name} (template = simple, accept = false)",
            &[(TextSearchDictionary, "crm.{name}")],
        ),
        (
            "create text search configuration crm.{name} (copy = simple)",
            &[(TextSearchConfiguration, "crm.{name}")],
        ),
        ("create foreign data wrapper {name} options (a {text})", &[(ForeignDataWrapper, "{name}")]),
        (
            "create event trigger {name} on sql_drop execute function crm.on_ddl()",
            &[(EventTrigger, "{name}")],
        ),
        ("create server {name} foreign data wrapper nothing options (host {text})", &[(Server, "{name}")]),
        (
            "create foreign table crm.{name} (id integer) server elsewhere options (t {text})",
            &[(ForeignTable, "crm.{name}")],
        ),
    ]
};

/// Statements that change, drop, rename or grant, each on its own.
const CHANGING: &[Statement] = {
    use Kind::*;
    &[
        ("drop table crm.people", &[(Table, "crm.people")]),
        ("drop table crm.events_2024", &[(Table, "crm.events_2024")]),
        (
            // What keeps its name belongs to another table then.
            "alter table crm.people rename to {name}",
            &[
                (Table, "crm.people"),
                (Table, "crm.{name}"),
                (Index, "crm.people_age"),
                (Sequence, "crm.people_id_seq"),
            ],
        ),
        ("alter table crm.people set schema public", &[(Table, "crm.people"), (Table, "public.people")]),
        ("alter table crm.people owner to catalog_owner", &[(Table, "crm.people")]),
        ("alter table crm.people set (autovacuum_vacuum_threshold = {number})", &[(Table, "crm.people")]),
        ("alter table crm.people enable row level security", &[(Table, "crm.people")]),
        ("alter table crm.people replica identity nothing", &[(Table, "crm.people")]),
        ("alter table crm.people cluster on people_age", &[(Table, "crm.people")]),
        ("alter table crm.events detach partition crm.events_2024", &[(Table, "crm.events_2024")]),
        ("comment on table crm.people is {text}", &[(Table, "crm.people")]),
        ("alter table crm.people drop column tenant_id", &[(Column, "crm.people.tenant_id")]),
        // The constraint and the index name the column.
        (
            "alter table crm.people rename column age to {name}",
            &[
                (Column, "crm.people.age"),
                (Column, "crm.people.{name}"),
                (Constraint, "crm.people.adult"),
                (Index, "crm.people_age"),
            ],
        ),
        ("alter table crm.people alter column tenant_id type numeric", &[(Column, "crm.people.tenant_id")]),
        ("alter table crm.people alter column age set default {number}", &[(Column, "crm.people.age")]),
        ("alter table crm.tenants alter column note drop default", &[(Column, "crm.tenants.note")]),
        ("alter table crm.people alter column age set not null", &[(Column, "crm.people.age")]),
        ("alter table crm.people alter column tenant_id drop not null", &[(Column, "crm.people.tenant_id")]),
        ("alter table crm.tenants alter column note set storage plain", &[(Column, "crm.tenants.note")]),
        ("alter table crm.tenants alter column note set compression pglz", &[(Column, "crm.tenants.note")]),
        ("alter table crm.people alter column age set statistics {number}", &[(Column, "crm.people.age")]),
        (
            "alter table crm.people alter column age set (n_distinct = {number})",
            &[(Column, "crm.people.age")],
        ),
        ("alter table crm.tenants alter column id drop identity", &[(Column, "crm.tenants.id")]),
        ("comment on column crm.people.age is {text}", &[(Column, "crm.people.age")]),
        ("alter table crm.tenants drop constraint short", &[(Constraint, "crm.tenants.short")]),
        (
            "alter table crm.tenants rename constraint short to {name}",
            &[(Constraint, "crm.tenants.short"), (Constraint, "crm.tenants.{name}")],
        ),
        ("alter table crm.people validate constraint adult", &[(Constraint, "crm.people.adult")]),
        ("comment on constraint short on crm.tenants is {text}", &[(Constraint, "crm.tenants.short")]),
        ("drop index crm.people_age", &[(Index, "crm.people_age")]),
        ("alter index crm.people_age rename to {name}", &[(Index, "crm.people_age"), (Index, "crm.{name}")]),
        ("alter index crm.people_age set (fillfactor = 50)", &[(Index, "crm.people_age")]),
        ("comment on index crm.people_age is {text}", &[(Index, "crm.people_age")]),
        ("drop view crm.named", &[(View, "crm.named")]),
        (
            "create or replace view crm.named as select id, name, {number} as more from crm.tenants",
            &[(View, "crm.named")],
        ),
        ("alter view crm.named rename to {name}", &[(View, "crm.named"), (View, "crm.{name}")]),
        ("alter view crm.named set (security_barrier = true)", &[(View, "crm.named")]),
        ("comment on view crm.named is {text}", &[(View, "crm.named")]),
        ("drop materialized view crm.summary", &[(MaterializedView, "crm.summary")]),
        ("comment on materialized view crm.summary is {text}", &[(MaterializedView, "crm.summary")]),
        ("drop function crm.add(integer, integer)", &[(Function, "crm.add(integer, integer)")]),
        (
            "create or replace function crm.add(a integer, b integer) returns integer language sql as 'select {number}'",
            &[(Function, "crm.add(integer, integer)")],
        ),
        (
            "alter function crm.add rename to {name}",
            &[(Function, "crm.add(integer, integer)"), (Function, "crm.{name}(integer, integer)")],
        ),
        ("alter function crm.add set work_mem = '{number}MB'", &[(Function, "crm.add(integer, integer)")]),
        ("alter function crm.add security definer", &[(Function, "crm.add(integer, integer)")]),
        ("alter function crm.add cost {number}", &[(Function, "crm.add(integer, integer)")]),
        ("comment on function crm.add is {text}", &[(Function, "crm.add(integer, integer)")]),
        ("drop procedure crm.tidy", &[(Procedure, "crm.tidy()")]),
        ("comment on procedure crm.tidy is {text}", &[(Procedure, "crm.tidy()")]),
        ("drop trigger touch on crm.tenants", &[(Trigger, "crm.tenants.touch")]),
        (
            "alter trigger touch on crm.tenants rename to {name}",
            &[(Trigger, "crm.tenants.touch"), (Trigger, "crm.tenants.{name}")],
        ),
        ("alter table crm.tenants enable always trigger touch", &[(Trigger, "crm.tenants.touch")]),
        ("comment on trigger touch on crm.tenants is {text}", &[(Trigger, "crm.tenants.touch")]),
        ("drop rule keep on crm.people", &[(Rule, "crm.people.keep")]),
        ("comment on rule keep on crm.people is {text}", &[(Rule, "crm.people.keep")]),
        ("drop policy own on crm.tenants", &[(Policy, "crm.tenants.own")]),
        ("alter policy own on crm.tenants with check (id < {number})", &[(Policy, "crm.tenants.own")]),
        (
            "alter policy own on crm.tenants rename to {name}",
            &[(Policy, "crm.tenants.own"), (Policy, "crm.tenants.{name}")],
        ),
        ("comment on policy own on crm.tenants is {text}", &[(Policy, "crm.tenants.own")]),
        ("alter type crm.mood add value {text} after 'sad'", &[(Type, "crm.mood")]),
        ("alter type crm.mood rename value 'sad' to {text}", &[(Type, "crm.mood")]),
        ("comment on type crm.mood is {text}", &[(Type, "crm.mood")]),
        ("drop domain crm.email", &[(Domain, "crm.email")]),
        ("alter domain crm.email set default {text}", &[(Domain, "crm.email")]),
        ("alter domain crm.email drop constraint has_at", &[(Constraint, "crm.email.has_at")]),
        ("comment on domain crm.email is {text}", &[(Domain, "crm.email")]),
        ("drop sequence crm.numbers", &[(Sequence, "crm.numbers")]),
        ("alter sequence crm.numbers cache {number}", &[(Sequence, "crm.numbers")]),
        ("alter sequence crm.numbers restart {number}; select nextval('crm.numbers')", &[]),
        ("comment on sequence crm.numbers is {text}", &[(Sequence, "crm.numbers")]),
        ("drop publication changes", &[(Publication, "changes")]),
        ("alter publication changes add table crm.people", &[(Publication, "changes")]),
        ("comment on publication changes is {text}", &[(Publication, "changes")]),
        ("comment on schema crm is {text}", &[(Schema, "crm")]),
        ("alter schema crm owner to catalog_owner", &[(Schema, "crm")]),
        ("alter server elsewhere options (port {text})", &[(Server, "elsewhere")]),
        (
            "create user mapping for catalog_app server elsewhere options (password {text})",
            &[(UserMapping, "elsewhere of catalog_app")],
        ),
        ("create cast (crm.mood as integer) with inout", &[(Cast, "(crm.mood as integer)")]),
        (
            "create operator crm.<+> (leftarg = integer, rightarg = integer, function = crm.add)",
            &[(Operator, "crm.<+>(integer, integer)")],
        ),
        (
            "create transform for crm.mood language sql (from sql with function pg_catalog.prsd_lextype(internal))",
            &[(Transform, "crm.mood for sql")],
        ),
        (
            "insert into pg_seclabel values ('crm.people'::regclass, 'pg_class'::regclass, 0, 'selinux', {text})",
            &[(SecurityLabel, "selinux on table crm.people")],
        ),
        (
            "do $$ begin execute format('alter database %I set work_mem = ''{number}MB''', current_database()); end $$",
            &[(Setting, "work_mem")],
        ),
        ("grant select, insert on crm.people to catalog_app", &[(Grant, "table crm.people to catalog_app")]),
        ("grant select (age) on crm.people to public", &[(Grant, "column crm.people.age to public")]),
        (
            "grant usage on schema crm to catalog_app with grant option",
            &[(Grant, "schema crm to catalog_app")],
        ),
        (
            "grant usage on sequence crm.numbers to catalog_app",
            &[(Grant, "sequence crm.numbers to catalog_app")],
        ),
        ("grant select on crm.named to catalog_app", &[(Grant, "view crm.named to catalog_app")]),
        (
            "revoke execute on function crm.add from public",
            &[(Grant, "function crm.add(integer, integer) to public")],
        ),
        ("revoke usage on type crm.mood from public", &[(Grant, "type crm.mood to public")]),
        ("revoke usage on domain crm.email from public", &[(Grant, "domain crm.email to public")]),
        ("revoke usage on language plpgsql from public", &[(Grant, "language plpgsql to public")]),
        (
            "grant usage on foreign server elsewhere to catalog_app",
            &[(Grant, "server elsewhere to catalog_app")],
        ),
        (
            "alter default privileges in schema crm grant execute on functions to catalog_app",
            &[(DefaultPrivilege, "of postgres in crm on functions to catalog_app")],
        ),
        ("insert into crm.tenants (name) values ({text}); analyze crm.tenants", &[]),
        ("vacuum (full) crm.tenants", &[]),
    ]
};

/// What `sql` names, sorted.
fn names((_, named): &Statement, words: &Words) -> BTreeSet<(Kind, String)> {
    named.iter().map(|(kind, name)| (*kind, words.named(name))).collect()
}

/// The laws that hold for whatever `statements` did, of which `before` and `after` are the catalogs.
fn hold(before: &Catalog, after: &Catalog, expect: &BTreeSet<(Kind, String)>, sql: &str) {
    let changes = diff(before, after);
    let named: BTreeSet<_> = changes.iter().map(|change| (change.kind, change.name.clone())).collect();
    let shown: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(&named, expect, "{sql}\n{}", shown.join("\n"));
    let mut mirrored: Vec<_> = diff(after, before).into_iter().map(Change::mirrored).collect();
    mirrored.sort();
    assert_eq!(changes, mirrored, "{sql}");
    assert_eq!(diff(after, after), [], "{sql}");
    assert_eq!(after.unmodelled(), [], "{sql}");
    assert_eq!(&Snapshot::parse(&Snapshot::render(after)).unwrap(), after, "{sql}");
}

/// As the catalog's base, with what statements of foreign data and event triggers build on.
const MORE: &str = "
    create foreign data wrapper nothing;
    create server elsewhere foreign data wrapper nothing;
    create function crm.on_ddl() returns event_trigger language plpgsql as 'begin null; end';";

/// In four parts, which run at a time.
#[rstest]
#[tokio::test]
async fn any_statement_names_its_object_and_nothing_else(#[values(0, 1, 2, 3)] part: usize) {
    let mut runner = TestRunner::default();
    let statements = ADDING.iter().chain(CHANGING).skip(part).step_by(4);
    let (_, mut connection) = database(&[BASE, MORE]).await;
    let before = read(&mut connection).await;
    assert_eq!(read(&mut connection).await, before, "a second reading");
    for statement in statements {
        let words = words().new_tree(&mut runner).unwrap().current();
        let (_, mut connection) = database(&[BASE, MORE]).await;
        let sql = words.fill(statement.0);
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut connection).await.unwrap_or_else(|error| {
            panic!("{sql}: {error}");
        });
        let after = read(&mut connection).await;
        hold(&before, &after, &names(statement, &words), &sql);
    }
}

#[tokio::test]
async fn several_statements_name_what_each_of_them_does() {
    let mut runner = TestRunner::default();
    let some = prop::sample::subsequence(ADDING.to_vec(), 3..12).prop_shuffle();
    for _ in 0..8 {
        let (_, mut connection) = database(&[BASE, MORE]).await;
        let before = read(&mut connection).await;
        let (mut sql, mut expect) = (String::new(), BTreeSet::new());
        for (number, statement) in some.new_tree(&mut runner).unwrap().current().iter().enumerate() {
            let mut words = words().new_tree(&mut runner).unwrap().current();
            words.name.push_str(&number.to_string());
            sql += &format!("{};\n", words.fill(statement.0));
            expect.extend(names(statement, &words));
        }
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut connection).await.unwrap_or_else(|error| {
            panic!("{sql}: {error}");
        });
        hold(&before, &read(&mut connection).await, &expect, &sql);
    }
}

#[test]
fn there_are_statements_of_all_sorts() {
    let of = |verb: &str| ADDING.iter().chain(CHANGING).filter(|(sql, _)| sql.starts_with(verb)).count();
    for (verb, least) in
        [("create", 40), ("alter", 30), ("drop", 10), ("comment", 10), ("grant", 5), ("revoke", 4)]
    {
        assert!(of(verb) >= least, "{verb}: {}", of(verb));
    }
}
