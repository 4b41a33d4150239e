//! A script, and what belongs to its transaction besides, as one message.

use super::failure::{Purpose, Sent, failed, refused};
use super::file::Script;
use super::lexer::{Kind, Lexer};
use super::session::{Closing, DISCARD, DIVISION_BY_ZERO, RESET, Session, Uncommitted};
use super::statements::split;

/// Words without which no transaction ends.
const CONTROLS: [&str; 6] = ["abort", "begin", "commit", "end", "rollback", "transaction"];

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
        let opening = format!("reset lock_timeout; {DISCARD} begin;");
        let guard = format!(
            "{RESET} {} set local lock_timeout = {}; select 1 / ({condition})::int;",
            self.watch(),
            lock_timeout.as_millis().max(1)
        );
        // A comment may stand in the last line.
        let message = format!("{opening}{text}\n{guard} {last}; commit;");
        let Err((error, completed)) = self.send(&message).await else { return Ok(()) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

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
