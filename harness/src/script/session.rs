//! A connection that runs scripts: each one with the session's settings as they were at the start, and each
//! failure told with its place in the file.

use super::connect::connect;
use super::failure::{Purpose, Sent, failed, refused};
use super::file::Script;
use super::statements::split;
use super::target::database_name;
use crate::error::{Error, Result};
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Either, PgConnection, Row};
use std::time::Duration;

/// Puts back what a script may have changed in its session, but for the advisory locks: those of `DISCARD ALL`
/// would go with it. Works within a transaction too.
pub(super) const RESET: &str = "reset session authorization; reset role; reset all;";

/// What else a script may leave in its session; outside a transaction.
pub(super) const DISCARD: &str =
    "close all; unlisten *; deallocate all; discard temp; discard sequences; discard plans;";

/// Begins a transaction and tells its number; goes before a script in one message.
const BEGIN: &str = "begin; select pg_catalog.pg_current_xact_id()::text;";

/// The SQLSTATE of a division by zero, which is how an expression stops a message.
const DIVISION_BY_ZERO: &str = "22012";

/// Has the server look, while a statement runs, whether we are still there. Without it a statement whose client
/// has gone runs to its end, and holds its locks until then.
const WATCH: &str = "set client_connection_check_interval = '250ms';";

/// A connection for scripts. Dropped without [`close`](Session::close) it just ends, and the server frees what
/// it held.
#[derive(Debug)]
pub(crate) struct Session {
    connection: PgConnection,
    database: String,
    /// Whether the server's platform can look for a lost client.
    watches: bool,
    /// Whether nothing can be left of what ran in it, and nothing is set.
    pub(super) is_clean: bool,
}

/// The transaction that a script ran in, not yet committed.
#[derive(Debug)]
pub(crate) struct Transaction {
    id: String,
}

/// What belongs to a script's transaction besides the script. It is run with the session's settings as they were at
/// the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing<'a> {
    /// A condition, as an expression of SQL, without which nothing is committed.
    pub(crate) condition: &'a str,
    /// The last statements.
    pub(crate) last: &'a str,
    /// How long those wait for a lock.
    pub(crate) lock_timeout: Duration,
}

/// Why a transaction was not committed. It may be open still.
#[derive(Debug)]
pub(crate) enum Uncommitted {
    /// The script cannot be run in a transaction of ours, or the server refused a statement of it.
    Script(Error),
    /// Its [condition](Closing::condition) did not hold, or the script had ended it, as the error says.
    Moved(Error),
    /// The server refused one of the [last](Closing::last) statements, or the connection is lost.
    Last(sqlx::Error),
    /// The server refused the commit.
    Refused(Error),
}

impl Uncommitted {
    /// Says that the server refused the commit.
    pub(super) fn refused(script: &Script, purpose: Purpose, error: sqlx::Error) -> Uncommitted {
        Uncommitted::Refused(
            failed(script, purpose, error, Sent::part(0), None)
                .with_help("it was refused at the commit, where deferred constraints are checked"),
        )
    }
}

impl From<Uncommitted> for Error {
    fn from(uncommitted: Uncommitted) -> Error {
        match uncommitted {
            Uncommitted::Script(error) | Uncommitted::Moved(error) | Uncommitted::Refused(error) => error,
            Uncommitted::Last(error) => error.into(),
        }
    }
}

impl Session {
    /// Connects; the session names itself `application` where `options` name nothing.
    ///
    /// # Errors
    /// The server refuses, or is not there.
    pub(crate) async fn connect(options: &PgConnectOptions, application: &str) -> Result<Session> {
        // No prepared statement outlives its use: a script may discard them, a pooler may lose them.
        let mut own = options.clone().statement_cache_capacity(0).disable_statement_logging();
        if own.get_application_name().is_none() {
            own = own.application_name(application);
        }
        let database = database_name(options).to_owned();
        let connection = connect(&own).await?;
        let mut session = Session { connection, database, watches: false, is_clean: false };
        session.watches = session.run(WATCH).await.is_ok();
        Ok(session)
    }

    /// The name of the database.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The connection, for queries of the harness's own.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.is_clean = false;
        &mut self.connection
    }

    /// Runs SQL of the harness's own.
    pub(crate) async fn run(&mut self, sql: &str) -> sqlx::Result<()> {
        self.is_clean = false;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Asks a question of the harness's own that one row answers.
    pub(crate) async fn row(&mut self, sql: &str) -> sqlx::Result<PgRow> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.connection).await
    }

    /// Makes the session fit for the harness's own statements: nothing is left of a script's settings, and
    /// nothing waits for a lock longer than `lock_timeout`.
    pub(crate) async fn take_back(&mut self, lock_timeout: Duration) -> sqlx::Result<()> {
        let lock_timeout = format!("set lock_timeout = {};", lock_timeout.as_millis().max(1));
        self.run(&format!("{RESET} {} {lock_timeout}", self.watch())).await
    }

    pub(super) fn watch(&self) -> &'static str {
        if self.watches { WATCH } else { "" }
    }

    /// Runs a script in a transaction, which stays open: what belongs to it can be recorded by the message that
    /// [commits](Session::commit) it. Where the session is not new, that of the script before has put back its
    /// settings: the server reads a whole message by those that it has when the message comes.
    ///
    /// # Errors
    /// The script cannot be run so, or the server refuses a statement of it.
    pub(crate) async fn load(&mut self, script: &Script, purpose: Purpose) -> Result<Transaction> {
        let text = script.for_one_transaction(purpose)?;
        let opening = format!("reset lock_timeout; {DISCARD} {BEGIN}");
        match self.send(&format!("{opening}{text}")).await {
            Ok(first) => {
                let first = first.ok_or(sqlx::Error::RowNotFound)?;
                Ok(Transaction { id: first.try_get(0)? })
            }
            Err((error, completed)) => {
                // The server answers once a statement: those before the failing one have been counted.
                let own = completed.checked_sub(split(&opening).len());
                let statement = own.and_then(|own| split(&text).get(own).map(|failing| failing.offset));
                Err(failed(script, purpose, error, Sent::behind(opening.len()), statement))
            }
        }
    }

    /// Sends `text` as one message, and hands out the first row of the answers.
    ///
    /// # Errors
    /// What the server answers, and how many statements it had done before.
    pub(super) async fn send(
        &mut self,
        text: &str,
    ) -> std::result::Result<Option<PgRow>, (sqlx::Error, usize)> {
        let mut first = None;
        let keep_first = |row| first = first.take().or(Some(row));
        match self.send_each(text, keep_first).await {
            (_, Ok(())) => Ok(first),
            (completed, Err(error)) => Err((error, completed)),
        }
    }

    /// Sends `text` as one message and takes every row of the answers; hands out how many statements were done.
    pub(super) async fn send_each(
        &mut self,
        text: &str,
        mut take: impl FnMut(PgRow),
    ) -> (usize, sqlx::Result<()>) {
        self.is_clean = false;
        let mut completed = 0;
        let mut answers = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_many(&mut self.connection);
        loop {
            match answers.try_next().await {
                Ok(Some(Either::Left(_))) => completed += 1,
                Ok(Some(Either::Right(row))) => take(row),
                Ok(None) => return (completed, Ok(())),
                Err(error) => return (completed, Err(error)),
            }
        }
    }

    /// Commits what a script did, together with `closing`, and leaves the session with its settings as they were at
    /// the start. All of it is one message.
    ///
    /// # Errors
    /// As [`Uncommitted`] has it; a commit is refused where a constraint that is checked at the end does not hold.
    pub(crate) async fn commit(
        &mut self,
        transaction: Transaction,
        script: &Script,
        purpose: Purpose,
        closing: Option<Closing<'_>>,
    ) -> std::result::Result<(), Uncommitted> {
        let clean = format!("{RESET} {}", self.watch());
        let is_ours = format!(
            "pg_catalog.pg_current_xact_id_if_assigned()::text is not distinct from '{}'",
            transaction.id
        );
        let (guard, last, after) = match closing {
            // What is checked at the commit is checked with the script's own settings.
            None => (stop_unless(&is_ours), "", clean),
            Some(Closing { condition, last, lock_timeout }) => {
                let stop = stop_unless(&format!("{is_ours} and {condition}"));
                (format!("{clean} {} {stop}", wait_at_most(lock_timeout)), last, String::new())
            }
        };
        let Err((error, completed)) = self.send(&format!("{guard} {last}; commit; {after}")).await else {
            return Ok(());
        };
        let (is_answer, guarded) = (error.as_database_error().is_some(), split(&guard).len());
        Err(if is_division(&error) && completed + 1 == guarded {
            let moved = refused(script, purpose, None, "ended the transaction that it ran in").with_help(
                "what it did before that is committed, though not recorded: put it right by hand, and take \
                 BEGIN, COMMIT and ROLLBACK out of the file",
            );
            Uncommitted::Moved(moved)
        } else if is_answer && completed >= guarded + split(last).len() {
            Uncommitted::refused(script, purpose, error)
        } else {
            Uncommitted::Last(error)
        })
    }

    /// Runs a script's statements one by one, each in a transaction of its own.
    ///
    /// # Errors
    /// The script cannot be run so, or the server refuses a statement of it; what came before stays applied, and
    /// the advice says so. Or it leaves a transaction open.
    pub(crate) async fn run_apart(&mut self, script: &Script, purpose: Purpose) -> Result<()> {
        let statements = script.one_by_one(purpose)?;
        self.run(&format!("{RESET} {DISCARD} {}", self.watch())).await?;
        for (applied, statement) in statements.iter().enumerate() {
            if let Err(error) = self.run(statement.text).await {
                let error =
                    failed(script, purpose, error, Sent::part(statement.offset), Some(statement.offset));
                let advice = self.advice_half_way(applied, statements.len()).await;
                let help = [error.help().map(str::to_owned), advice].into_iter().flatten();
                let help = help.collect::<Vec<_>>().join("\n");
                return Err(if help.is_empty() { error } else { error.with_help(help) });
            }
        }
        self.refuse_open(script, purpose).await
    }

    /// Runs a script as one message. The server makes one transaction of its statements, but for those between a
    /// `BEGIN` and a `COMMIT` of its own; a single statement may be one that cannot run in a transaction.
    ///
    /// # Errors
    /// As [`run_apart`](Session::run_apart).
    pub(crate) async fn run_whole(&mut self, script: &Script, purpose: Purpose) -> Result<()> {
        script.one_by_one(purpose)?;
        self.run(&format!("{RESET} {DISCARD} {}", self.watch())).await?;
        if let Err((error, completed)) = self.send(script.text()).await {
            let statement = script.statements().get(completed).map(|statement| statement.offset);
            return Err(failed(script, purpose, error, Sent::part(0), statement));
        }
        self.refuse_open(script, purpose).await
    }

    /// Refuses a script that leaves a transaction open.
    async fn refuse_open(&mut self, script: &Script, purpose: Purpose) -> Result<()> {
        // In a transaction of its own a statement's time is the transaction's.
        let row = self.row("select pg_catalog.now() = pg_catalog.statement_timestamp()").await?;
        if !row.try_get::<bool, _>(0)? {
            return Err(refused(script, purpose, None, "leaves a transaction open")
                .with_help("add the missing COMMIT, or remove the BEGIN"));
        }
        Ok(())
    }

    /// What to do after a failure between statements that are applied one by one.
    async fn advice_half_way(&mut self, applied: usize, all: usize) -> Option<String> {
        let mut lines = Vec::new();
        if applied > 0 {
            lines.push(format!(
                "the first {applied} of its {all} statements are applied and stay: the next run begins at the first \
                 one again, so each must bear a repetition (`IF NOT EXISTS`), or be undone by hand"
            ));
        }
        let invalid = "select coalesce(string_agg(indexrelid::regclass::text, ', '), '') \
                       from pg_catalog.pg_index where not indisvalid";
        if let Ok(row) = self.row(invalid).await
            && let Ok(names) = row.try_get::<String, _>(0)
            && !names.is_empty()
        {
            lines.push(format!(
                "an INVALID index is left, which `IF NOT EXISTS` would skip: drop it first: {names}"
            ));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Undoes the open transaction, if there is one. A connection that is lost has undone it already.
    pub(crate) async fn roll_back(&mut self) {
        let _ = self.run("rollback").await;
    }

    /// Ends the session in good order. A connection that is lost has ended already.
    pub(crate) async fn close(self) {
        let _ = self.connection.close().await;
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

/// Whether that is how a message was stopped.
pub(super) fn is_division(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|answer| answer.code());
    code.is_some_and(|code| code == DIVISION_BY_ZERO)
}
