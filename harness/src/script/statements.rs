//! Splits a text into its statements.

use super::lexer::{Kind, Lexer, Token};
use std::ops::Range;

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The statement, without its semicolon and the comments before it.
    pub text: &'a str,
    /// Where it begins in the text that was split, in bytes.
    pub offset: usize,
}

/// What a statement does to the transaction or the connection that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that the one who sends it must know of.
    None,
    /// Begins a transaction with nothing special.
    Begin,
    /// Ends a transaction by keeping what it did.
    Commit,
    /// Controls transactions in any other way.
    Control,
    /// Reads or writes rows over the connection itself, as only psql and drivers can.
    CopyStream,
    /// No SQL: a command of psql.
    PsqlCommand,
}

/// Where the first statement of `text` begins, in bytes; its end, if there is none.
pub(super) fn beginning(text: &str) -> usize {
    let first = Lexer::new(text).find(|token| !matches!(token.kind, Kind::Skipped | Kind::Semicolon));
    first.map_or(text.len(), |token| token.start)
}

/// Splits `text` at the semicolons that end statements: those within quotes, comments, parentheses and
/// bodies of SQL functions (`BEGIN ATOMIC … END`) end none. Empty statements are left out.
///
/// It follows psql, and assumes `standard_conforming_strings = on`, which no supported server changes by itself.
pub fn split(text: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    let mut current: Option<Range<usize>> = None;
    let mut finish = |range: Range<usize>| {
        statements.push(Statement { text: &text[range.clone()], offset: range.start });
    };
    let mut parentheses = 0usize;
    let mut body = FunctionBody::default();
    for token in Lexer::new(text) {
        match token.kind {
            Kind::Skipped => continue,
            Kind::Semicolon if parentheses == 0 && body.depth == 0 => {
                current.take().into_iter().for_each(&mut finish);
                body = FunctionBody::default();
                continue;
            }
            Kind::Open => parentheses += 1,
            Kind::Close => parentheses = parentheses.saturating_sub(1),
            Kind::Word if parentheses == 0 => body.see(&text[token.start..token.end]),
            Kind::Word | Kind::Quoted | Kind::Semicolon | Kind::Other => {}
        }
        let start = current.map_or(token.start, |range| range.start);
        current = Some(start..token.end);
    }
    current.into_iter().for_each(finish);
    statements
}

/// Follows the nesting of a SQL function's body, the one place where semicolons do not end the statement.
#[derive(Default)]
struct FunctionBody {
    beginning: Beginning,
    depth: usize,
}

/// How far a statement has begun like `CREATE [OR REPLACE] FUNCTION`, or `PROCEDURE`.
#[derive(Default)]
enum Beginning {
    #[default]
    Nothing,
    Create,
    Function,
    Other,
}

impl FunctionBody {
    fn see(&mut self, word: &str) {
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        match self.beginning {
            Beginning::Nothing if is(&["create"]) => self.beginning = Beginning::Create,
            Beginning::Create if is(&["or", "replace"]) => {}
            Beginning::Create if is(&["function", "procedure"]) => self.beginning = Beginning::Function,
            Beginning::Nothing | Beginning::Create => self.beginning = Beginning::Other,
            Beginning::Function if is(&["begin"]) || (self.depth > 0 && is(&["case"])) => self.depth += 1,
            Beginning::Function if is(&["end"]) => self.depth = self.depth.saturating_sub(1),
            Beginning::Function | Beginning::Other => {}
        }
    }
}

impl Statement<'_> {
    /// Its words outside quotes and parentheses.
    fn words(&self) -> impl Iterator<Item = &str> {
        let mut depth = 0usize;
        Lexer::new(self.text).filter_map(move |token| {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            (token.kind == Kind::Word && depth == 0).then(|| &self.text[token.start..token.end])
        })
    }

    /// The extension that it creates, if it is a `CREATE EXTENSION`.
    pub(crate) fn created_extension(&self) -> Option<String> {
        let mut tokens = Lexer::new(self.text).filter(|token| token.kind != Kind::Skipped).peekable();
        let text = |token: &Token| &self.text[token.start..token.end];
        for word in ["create", "extension"] {
            tokens.next().filter(|token| text(token).eq_ignore_ascii_case(word))?;
        }
        if tokens.peek().is_some_and(|token| text(token).eq_ignore_ascii_case("if")) {
            // `IF NOT EXISTS`
            tokens.nth(2)?;
        }
        let name = tokens.next()?;
        match name.kind {
            Kind::Word => Some(text(&name).to_lowercase()),
            Kind::Quoted => Some(text(&name).strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\"")),
            _ => None,
        }
    }

    /// What it does to its transaction or its connection.
    pub(super) fn effect(&self) -> Effect {
        if self.text.starts_with('\\') {
            return Effect::PsqlCommand;
        }
        let words: Vec<String> = self.words().take(2000).map(str::to_ascii_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["begin"] | ["begin" | "start", "transaction"] | ["begin", "work"] => Effect::Begin,
            ["commit" | "end"] | ["commit" | "end", "work" | "transaction"] => Effect::Commit,
            ["rollback", rest @ ..] if rest.contains(&"to") => Effect::None,
            ["begin" | "commit" | "end" | "rollback" | "abort", ..]
            | ["start" | "prepare", "transaction", ..] => Effect::Control,
            ["copy", rest @ ..]
                if rest.windows(2).any(|pair| matches!(pair, ["from", "stdin"] | ["to", "stdout"])) =>
            {
                Effect::CopyStream
            }
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("select 1; select 2", &["select 1", "select 2"])]
    #[case("-- a; b\nselect 1 /* ; /* ; */ ; */ ; ;", &["select 1"])]
    #[case("select ';', 'it''s;', \"a;\"\"b\";x", &["select ';', 'it''s;', \"a;\"\"b\"", "x"])]
    #[case(r"select E'a\';b'; select 'a\'; x", &[r"select E'a\';b'", r"select 'a\'", "x"])]
    #[case("select e'a'\n  'b\\';c'; x", &["select e'a'\n  'b\\';c'", "x"])]
    #[case("select date'2020-01-01';x", &["select date'2020-01-01'", "x"])]
    #[case("do $$ begin; end $$; do $a$ ; $$ ; $b$ $a$; x", &["do $$ begin; end $$", "do $a$ ; $$ ; $b$ $a$", "x"])]
    #[case("select $1; select a$b$; x$b$", &["select $1", "select a$b$", "x$b$"])]
    #[case("create rule r as on insert to t do (select 1; select 2); x", &["create rule r as on insert to t do (select 1; select 2)", "x"])]
    #[case(
        "create or replace function f() returns int begin atomic select case when a then 1 end; select 2; end; x",
        &["create or replace function f() returns int begin atomic select case when a then 1 end; select 2; end", "x"]
    )]
    #[case("create procedure p() begin atomic; end; x", &["create procedure p() begin atomic; end", "x"])]
    #[case("create table \"begin\" (a int); create function f() returns int return 1; x",
        &["create table \"begin\" (a int)", "create function f() returns int return 1", "x"])]
    #[case("begin; create index i on t (a); end;", &["begin", "create index i on t (a)", "end"])]
    #[case("select 'open; x", &["select 'open; x"])]
    #[case("select é; ü", &["select é", "ü"])]
    #[case("select 'é\\", &["select 'é\\"])]
    #[case("-- only a comment", &[])]
    fn statements_are_found(#[case] text: &str, #[case] expected: &[&str]) {
        let found: Vec<&str> = split(text).into_iter().map(|statement| statement.text).collect();
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case("begin", Effect::Begin)]
    #[case("START TRANSACTION", Effect::Begin)]
    #[case("begin isolation level serializable", Effect::Control)]
    #[case("end work", Effect::Commit)]
    #[case("commit and chain", Effect::Control)]
    #[case("rollback", Effect::Control)]
    #[case("rollback work to savepoint a", Effect::None)]
    #[case("prepare transaction 'a'", Effect::Control)]
    #[case("prepare q as select 1", Effect::None)]
    #[case("copy t (a, b) from stdin", Effect::CopyStream)]
    #[case("copy (select 1) to stdout with csv", Effect::CopyStream)]
    #[case("copy t from '/tmp/stdin'", Effect::None)]
    #[case("select 'copy t from stdin'", Effect::None)]
    #[case("\\restrict abc", Effect::PsqlCommand)]
    fn effects_are_told(#[case] text: &str, #[case] expected: Effect) {
        assert_eq!(split(text)[0].effect(), expected);
    }

    #[rstest]
    #[case("create extension vector", Some("vector"))]
    #[case("CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA ext CASCADE", Some("uuid-ossp"))]
    #[case("create /* why */ extension -- a line\n Hstore schema public version '1.8'", Some("hstore"))]
    #[case("create extension if/**/not\nexists\tpg_trgm", Some("pg_trgm"))]
    #[case("create extension \"a\"\"b\"", Some("a\"b"))]
    #[case("create extension :name", None)]
    #[case("create extension 'vector'", None)]
    #[case("create extension", None)]
    #[case("create extension if not", None)]
    #[case("comment on extension vector is 'create extension hstore'", None)]
    #[case("do $$ begin create extension vector; end $$", None)]
    #[case("drop extension vector", None)]
    fn created_extensions_are_told(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(split(text)[0].created_extension().as_deref(), expected);
    }

    /// Fragments that interact: quotes of all kinds, escapes, comments, nesting.
    fn fragment() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("'".to_owned()),
            Just("''".to_owned()),
            Just("E'".to_owned()),
            Just("\\".to_owned()),
            Just("\"".to_owned()),
            Just("$$".to_owned()),
            Just("$a$".to_owned()),
            Just("--".to_owned()),
            Just("/*".to_owned()),
            Just("*/".to_owned()),
            Just("(".to_owned()),
            Just(")".to_owned()),
            Just(";".to_owned()),
            Just("\n".to_owned()),
            Just("create function begin atomic ".to_owned()),
            Just(" end ".to_owned()),
            "[a-zé$1 ]{0,3}",
        ]
    }

    /// A whole statement that is full of semicolons which do not end it.
    fn whole_statement() -> impl Strategy<Value = String> {
        let inner = "[a-z ;]{0,6}";
        prop_oneof![
            inner.prop_map(|text| format!("select '{text}''{text}'")),
            inner.prop_map(|text| format!("select E'{text}\\'{text}'")),
            inner.prop_map(|text| format!("select \"{text}\"\"{text}\"")),
            inner.prop_map(|text| format!("do $x$ {text} $$ ' {text} $x$")),
            inner.prop_map(|text| format!("select 1 /* {text} /* {text} */ ' */ + 1")),
            inner.prop_map(|text| format!("select 1 -- {text} '\n + 1")),
            inner.prop_map(|text| format!("create rule r as on insert to t do ({text})")),
            inner.prop_map(|text| format!("create function f() returns int begin atomic {text}; end")),
        ]
        // The one word that would close the body early.
        .prop_filter("no `end` of its own", |text| text.matches("end").count() <= 1)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_between_statements(parts in prop::collection::vec(fragment(), 0..24)) {
            let text = parts.concat();
            let mut end = 0;
            let mut gaps = Vec::new();
            for statement in split(&text) {
                prop_assert_eq!(&text[statement.offset..][..statement.text.len()], statement.text);
                gaps.push(&text[end..statement.offset]);
                end = statement.offset + statement.text.len();
            }
            gaps.push(&text[end..]);
            for (place, gap) in gaps.iter().enumerate() {
                let kinds: Vec<Kind> = Lexer::new(gap).map(|token| token.kind).collect();
                prop_assert!(kinds.iter().all(|kind| matches!(kind, Kind::Skipped | Kind::Semicolon)), "{:?}", gap);
                let inner = place > 0 && place + 1 < gaps.len();
                prop_assert!(!inner || kinds.contains(&Kind::Semicolon), "{:?}", gap);
            }
        }

        #[test]
        fn tokens_cover_the_text(parts in prop::collection::vec(fragment(), 0..24)) {
            let text = parts.concat();
            let joined: String = Lexer::new(&text).map(|token| &text[token.start..token.end]).collect();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn what_is_joined_by_semicolons_is_split_again(parts in prop::collection::vec(whole_statement(), 1..6)) {
            let text = parts.join(";\n");
            let found: Vec<String> = split(&text).into_iter().map(|found| found.text.to_owned()).collect();
            prop_assert_eq!(found, parts);
        }
    }
}
