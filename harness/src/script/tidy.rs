//! What can be told of a script by its words: where it ends, and that it leaves its session as it was.

use super::lexer::{Kind, Lexer};
use super::plain::is_plain;
use super::statements::split;

/// Words without which no transaction ends.
const CONTROLS: [&str; 6] = ["abort", "begin", "commit", "end", "rollback", "transaction"];

/// What statements begin with that define things.
const DEFINING: [&str; 6] = ["alter", "comment", "create", "drop", "grant", "revoke"];

/// What statements begin with that write to tables.
const WRITING: [&str; 3] = ["delete", "insert", "update"];

/// What is defined by a text that runs later.
const LATER: [&str; 6] = ["function", "policy", "procedure", "rule", "trigger", "view"];

/// Words between CREATE and those.
const BETWEEN: [&str; 5] = ["constraint", "event", "or", "recursive", "replace"];

/// Words of definitions that run something.
const RUNNING: [&str; 5] = ["execute", "extension", "refresh", "select", "values"];

/// Words of definitions that make what a session keeps.
const KEPT: [&str; 3] = ["pg_temp", "temp", "temporary"];

/// Whether `text` is one of whole statements whatever follows it, and ends no transaction: of that our rules of what is
/// quoted must be the server's, and a backslash means what a setting says.
pub(super) fn is_closed(text: &str) -> bool {
    if text.contains('\\')
        || Lexer::new(text)
            .any(|token| token.kind == Kind::Word && is_one(&CONTROLS, &text[token.start..token.end]))
    {
        return false;
    }
    let followed = format!("{text}\nx");
    matches!(split(&followed).as_slice(), [.., _, last] if last.text == "x")
}

/// Whether a script of whole statements defines things or writes to tables, and runs nothing else, so that its session is
/// as it was before, and it answers no rows. (A function that a default or a trigger calls could change the session; that
/// lasts until the next script that may, or the end of the run.)
pub(super) fn is_tidy(text: &str) -> bool {
    split(text).iter().all(|statement| is_definition(statement.text) || is_write(statement.text))
}

/// Whether all its statements define things and run nothing.
pub(super) fn only_defines(text: &str) -> bool {
    split(text).iter().all(|statement| is_definition(statement.text))
}

fn is_definition(statement: &str) -> bool {
    let runs_later = runs_later(statement);
    let mut words = words(statement);
    words.next().is_some_and(|(kind, word)| kind == Kind::Word && is_one(&DEFINING, word))
        && words.all(|(kind, word)| match kind {
            Kind::Word => !is_one(&KEPT, word) && (runs_later || !is_one(&RUNNING, word)),
            _ => !word.eq_ignore_ascii_case("\"pg_temp\""),
        })
}

/// Whether a statement creates what has queries or calls of its own, and runs none of them.
fn runs_later(statement: &str) -> bool {
    let mut words = words(statement).map(|(_, word)| word);
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("create"))
        && words.find(|word| !is_one(&BETWEEN, word)).is_some_and(|word| is_one(&LATER, word))
}

fn is_write(statement: &str) -> bool {
    let mut words = words(statement).map(|(_, word)| word);
    words.next().is_some_and(|word| is_one(&WRITING, word))
        && !words.any(|word| word.eq_ignore_ascii_case("returning"))
        && is_plain(statement)
}

fn words(statement: &str) -> impl Iterator<Item = (Kind, &str)> {
    Lexer::new(statement)
        .filter(|token| token.kind != Kind::Skipped)
        .map(|token| (token.kind, &statement[token.start..token.end]))
}

fn is_one(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("create table a (b text default 'select'); -- select", true)]
    #[case("alter table a alter b set default now(); comment on table a is 'b';", true)]
    #[case("create function f() returns int language sql set search_path = '' as $$ select 1 $$;", true)]
    #[case("", true)]
    #[case("create table a (); set search_path = a;", false)]
    #[case("create temp table a ();", false)]
    #[case("create table pg_temp.a ();", false)]
    #[case("create table \"pg_temp\".a ();", false)]
    #[case("create or replace view a as select f() from b;", true)]
    #[case("create trigger a before insert on b for each row execute function f();", true)]
    #[case("create policy a on b using (exists (select from c where f(d)));", true)]
    #[case("create view pg_temp.a as select 1;", false)]
    #[case("create temp view a as select 1;", false)]
    #[case("create materialized view a as select f();", false)]
    #[case("create table view as select f();", false)]
    #[case("create view a as values (1); create table b as values (f());", false)]
    #[case("create table a as execute b;", false)]
    #[case("create extension a;", false)]
    #[case("listen a;", false)]
    #[case("do $$ begin end $$;", false)]
    #[case(
        "insert into a (b, c) values (1, 'x'), (2, default);\nupdate a set b = c + 1 where d in (1, 2);",
        true
    )]
    #[case("delete from a where b = lower('C');", true)]
    #[case("insert into a select b from c;", true)]
    #[case("insert into a values (1) returning b;", false)]
    #[case("update a set b = f(c);", false)]
    #[case("insert into a values (set_config('a.b', 'c', false));", false)]
    #[case("set a = b;", false)]
    #[case("lock a;", false)]
    fn what_leaves_its_session_alone_is_told(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_tidy(text), expected);
    }

    #[rstest]
    #[case("create table a (b text default ';'); -- b", true)]
    #[case("create function f() returns int language sql as $$ begin; select 1 $$;\n", true)]
    #[case("select 1", false)]
    #[case("select 1; select 'a", false)]
    #[case("select 1; /* a", false)]
    #[case("select 1; /* a /* */", false)]
    #[case("select \"a;", false)]
    #[case("select $a$ ; $$;", false)]
    #[case("select (1;", false)]
    #[case("select 'a\\';", false)]
    #[case("create function f() returns int begin atomic select 1; end;", false)]
    #[case("select 1; commit;", false)]
    #[case("set TRANSACTION read only;", false)]
    #[case("-- commit\n", false)]
    #[case("comment on table a is 'commit';", true)]
    #[case("comment on table a is 'a' -- it's\n;", true)]
    fn what_is_closed_is_told(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_closed(text), expected);
    }
}
