//! A script, and what belongs to its transaction besides, as one message.

use super::failure::{Purpose, Sent, failed, refused};
use super::file::Script;
use super::session::{Closing, DISCARD, RESET, Session, Uncommitted, is_division, stop_unless, wait_at_most};
use super::statements::split;
use super::tidy::{is_closed, is_tidy};

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
        if error.as_database_error().is_none() || done < statements.len() {
            let statement = completed.checked_sub(own).and_then(|own| statements.get(own));
            let offset = statement.map(|failing| failing.offset);
            let sent = Sent::behind(before + self.opening.chars().count());
            return Uncommitted::Script(failed(script, purpose, error, sent, offset));
        }
        if is_division(&error) && done + 1 == guarded {
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
