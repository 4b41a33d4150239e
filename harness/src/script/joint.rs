//! A script, and what belongs to its transaction besides, as one message.

use super::failure::{Purpose, Sent, failed, refused};
use super::file::Script;
use super::lexer::{Kind, Lexer};
use super::plain::is_plain;
use super::session::{Closing, DISCARD, DIVISION_BY_ZERO, RESET, Session, Uncommitted};
use super::statements::split;
use std::time::Duration;

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

/// A script, and what belongs to its transaction besides, as a part of a message.
#[derive(Debug)]
pub(super) struct Joint<'a> {
    pub(super) script: &'a Script,
    /// What is sent of the script.
    pub(super) text: String,
    /// What begins the transaction.
    pub(super) opening: String,
    /// What goes between the script and the last statements.
    pub(super) guard: String,
    /// The last statements.
    pub(super) last: String,
}

impl Joint<'_> {
    pub(super) fn message(&self) -> String {
        // A comment may stand in the last line.
        format!("{}{}\n{} {}; commit;", self.opening, self.text, self.guard, self.last)
    }

    pub(super) fn statements(&self) -> usize {
        split(&self.message()).len()
    }

    /// Says what the server answered when it had done so many statements of this; `before` characters of the message stand
    /// before it.
    pub(super) fn uncommitted(
        &self,
        purpose: Purpose,
        error: sqlx::Error,
        completed: usize,
        before: usize,
    ) -> Uncommitted {
        let script = self.script;
        let (own, statements) = (split(&self.opening).len(), split(&self.text));
        let done = completed.saturating_sub(own);
        let guarded = statements.len() + split(&self.guard).len();
        let answer = error.as_database_error();
        if answer.is_none() || done < statements.len() {
            let statement = completed.checked_sub(own).and_then(|own| statements.get(own));
            let offset = statement.map(|failing| failing.offset);
            let sent = Sent::behind(before + self.opening.chars().count());
            return Uncommitted::Script(failed(script, purpose, error, sent, offset));
        }
        let is_division =
            answer.and_then(|answer| answer.code()).is_some_and(|code| code == DIVISION_BY_ZERO);
        if is_division && done + 1 == guarded {
            Uncommitted::Moved(refused(script, purpose, None, "lost the lock of who runs it"))
        } else if done >= guarded + split(&self.last).len() {
            Uncommitted::refused(script, purpose, error)
        } else {
            Uncommitted::Last(error)
        }
    }
}

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
            return self.apply_joined(script, text, purpose, closing).await;
        }
        let transaction = self.load(script, purpose).await.map_err(Uncommitted::Script)?;
        self.commit(transaction, script, purpose, Some(closing)).await
    }

    async fn apply_joined(
        &mut self,
        script: &Script,
        text: String,
        purpose: Purpose,
        closing: Closing<'_>,
    ) -> Result<(), Uncommitted> {
        let Closing { condition, last, lock_timeout } = closing;
        let is_tidy = is_tidy(&text);
        let clean = if is_tidy { String::new() } else { format!("{RESET} {}", self.watch()) };
        let guard = format!("{clean} {} {}", wait_at_most(lock_timeout), stop_unless(condition));
        let joint = Joint { script, text, opening: self.opening(), guard, last: last.to_owned() };
        match self.send(&joint.message()).await {
            Ok(_) => {
                self.is_clean = is_tidy;
                Ok(())
            }
            Err((error, completed)) => Err(joint.uncommitted(purpose, error, completed, 0)),
        }
    }

    /// What begins a transaction, after all that the script before may have left is taken back.
    pub(super) fn opening(&self) -> String {
        // To take back what there is not would cost more than to write down that a script ran.
        match self.is_clean {
            true => "begin;".to_owned(),
            false => format!("reset lock_timeout; {DISCARD} begin;"),
        }
    }
}

/// Has the rest of the transaction wait for a lock no longer than that.
pub(super) fn wait_at_most(lock_timeout: Duration) -> String {
    format!("set local lock_timeout = {};", lock_timeout.as_millis().max(1))
}

/// Stops the message unless the condition holds.
pub(super) fn stop_unless(condition: &str) -> String {
    format!("select 1 / ({condition})::int;")
}

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
