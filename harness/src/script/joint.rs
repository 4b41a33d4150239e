//! A script, and what belongs to its transaction besides, as one message.

use super::failure::{Purpose, Sent, failed, refused};
use super::file::Script;
use super::lexer::{Kind, Lexer};
use super::session::{Closing, DISCARD, DIVISION_BY_ZERO, RESET, Session, Uncommitted};
use super::statements::split;

/// Words without which no transaction ends.
const CONTROLS: [&str; 6] = ["abort", "begin", "commit", "end", "rollback", "transaction"];

/// What statements begin with that define things.
const DEFINING: [&str; 6] = ["alter", "comment", "create", "drop", "grant", "revoke"];

/// Words of definitions that run something, or make what a session keeps.
const RUNNING: [&str; 8] =
    ["execute", "extension", "pg_temp", "refresh", "select", "temp", "temporary", "values"];

impl Session {
    /// Runs a script in a transaction and commits it together with `closing`: all of it as one message where it is
    /// certain where the script's text ends, else as the two of [`load`](Session::load) and
    /// [`commit`](Session::commit).
    ///
    /// # Errors
    /// As [`Uncommitted`] has it.
    pub(crate) async fn apply(
        &mut self,
        script: &Script,
        purpose: Purpose,
        closing: Closing<'_>,
    ) -> Result<(), Uncommitted> {
        let text = script.for_one_transaction(purpose).map_err(Uncommitted::Script)?;
        if is_closed(&text) {
            return self.apply_joined(script, &text, purpose, closing).await;
        }
        let transaction = self.load(script, purpose).await.map_err(Uncommitted::Script)?;
        self.commit(transaction, script, purpose, Some(closing)).await
    }

    async fn apply_joined(
        &mut self,
        script: &Script,
        text: &str,
        purpose: Purpose,
        closing: Closing<'_>,
    ) -> Result<(), Uncommitted> {
        let Closing { condition, last, lock_timeout } = closing;
        // To take back what there is not would cost more than to write down that a script ran.
        let opening = match self.is_clean {
            true => "begin;".to_owned(),
            false => format!("reset lock_timeout; {DISCARD} begin;"),
        };
        let is_tidy = only_defines(text);
        let clean = if is_tidy { String::new() } else { format!("{RESET} {}", self.watch()) };
        let guard = format!(
            "{clean} set local lock_timeout = {}; select 1 / ({condition})::int;",
            lock_timeout.as_millis().max(1)
        );
        // A comment may stand in the last line.
        let message = format!("{opening}{text}\n{guard} {last}; commit;");
        let Err((error, completed)) = self.send(&message).await else {
            self.is_clean = is_tidy;
            return Ok(());
        };
        // The server answers once a statement: those before the failing one have been counted.
        let (own, statements) = (split(&opening).len(), split(text));
        let done = completed.saturating_sub(own);
        let guarded = statements.len() + split(&guard).len();
        let answer = error.as_database_error();
        if answer.is_none() || done < statements.len() {
            let statement = completed.checked_sub(own).and_then(|own| statements.get(own));
            let offset = statement.map(|failing| failing.offset);
            let sent = Sent::behind(opening.len());
            return Err(Uncommitted::Script(failed(script, purpose, error, sent, offset)));
        }
        let is_division =
            answer.and_then(|answer| answer.code()).is_some_and(|code| code == DIVISION_BY_ZERO);
        Err(if is_division && done + 1 == guarded {
            Uncommitted::Moved(refused(script, purpose, None, "lost the lock of who runs it"))
        } else if done >= guarded + split(last).len() {
            Uncommitted::refused(script, purpose, error)
        } else {
            Uncommitted::Last(error)
        })
    }
}

/// Whether `text` is one of whole statements whatever follows it, and ends no transaction: of that our rules of what is
/// quoted must be the server's, and a backslash means what a setting says.
fn is_closed(text: &str) -> bool {
    let controls = |word: &str| CONTROLS.iter().any(|control| word.eq_ignore_ascii_case(control));
    if text.contains('\\')
        || Lexer::new(text).any(|token| token.kind == Kind::Word && controls(&text[token.start..token.end]))
    {
        return false;
    }
    let followed = format!("{text}\nx");
    matches!(split(&followed).as_slice(), [.., _, last] if last.text == "x")
}

/// Whether a script of whole statements defines things and runs nothing, so that its session is as it was before. (A
/// function that a default or an event trigger calls could change it; that lasts until the next script that may, or
/// the end of the run.)
fn only_defines(text: &str) -> bool {
    let is_one = |words: &[&str], word: &str| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    let mut is_first = true;
    Lexer::new(text).filter(|token| token.kind != Kind::Skipped).all(|token| {
        let word = &text[token.start..token.end];
        let fits = match token.kind {
            Kind::Semicolon => true,
            _ if is_first => token.kind == Kind::Word && is_one(&DEFINING, word),
            Kind::Word => !is_one(&RUNNING, word),
            _ => !word.eq_ignore_ascii_case("\"pg_temp\""),
        };
        is_first = token.kind == Kind::Semicolon;
        fits
    })
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
    #[case("create materialized view a as select f();", false)]
    #[case("create table a as execute b;", false)]
    #[case("create extension a;", false)]
    #[case("listen a;", false)]
    #[case("do $$ begin end $$;", false)]
    fn what_only_defines_is_told(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(only_defines(text), expected);
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
