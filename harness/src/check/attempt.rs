//! Statements attempted in one session, each undone: many in one message.

use crate::error::{Attempt as _, ErrorKind, Result};
use crate::finding::Evidence;
use crate::ident::{QualifiedName, quote_literal};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::fmt;

/// How many attempts one message holds: what is locked is free again after each, but a message is one transaction.
const AT_ONCE: usize = 500;

/// The schema of what attempts need: in clones of the harness only.
pub(super) const SCRATCH: &str = "pgharness_scratch";

/// Makes [`SCRATCH`]: a place for tables of whoever attempts something, a trigger function that does nothing, and an
/// eye that sees whether rows have changed, whoever looks.
const PREPARE: &str = "
    create schema pgharness_scratch;
    grant usage, create on schema pgharness_scratch to public;
    create function pgharness_scratch.nothing() returns trigger language plpgsql as 'begin return null; end';
    create function pgharness_scratch.digest(watched text, since xid) returns text
    language plpgsql security definer set search_path = '' as $eye$
    declare
        digest text;
    begin
        if pg_catalog.to_regclass(watched) is null then
            return 'gone';
        end if;
        -- A row that was written anew is another, even where all its values are the same; one that was added does not count.
        execute pg_catalog.format(
            $q$select pg_catalog.concat_ws(' ', count(*), sum(pg_catalog.hashtextextended(
                pg_catalog.concat_ws(' ', r.tableoid, r.ctid, r.xmin), 0)))
            from %s r where pg_catalog.age(r.xmin) > pg_catalog.age($1)$q$, watched
        ) into digest using since;
        return digest;
    end
    $eye$;
    grant execute on all functions in schema pgharness_scratch to public";

/// Attempts what the two settings list, and undoes it.
const ATTEMPT: &str = "
    do $pgharness$
    declare
        attempts constant text[] := current_setting('pgharness.attempts')::text[];
        watched constant text[] := current_setting('pgharness.watched')::text[];
        answers text := '';
        since xid;
        before text;
        after text;
        affected bigint;
        code text;
        place text;
    begin
        for number in 1 .. cardinality(attempts) loop
            before := '';
            after := '';
            affected := 0;
            begin
                if watched[number] <> '' then
                    since := pg_snapshot_xmax(pg_current_snapshot())::xid;
                    before := pgharness_scratch.digest(watched[number], since);
                end if;
                execute attempts[number];
                get diagnostics affected = row_count;
                if watched[number] <> '' then
                    after := pgharness_scratch.digest(watched[number], since);
                end if;
                raise exception using errcode = 'PGHUN';
            exception
                when others then
                    get stacked diagnostics code = returned_sqlstate, place = pg_exception_context;
            end;
            answers := answers || concat_ws(' ', code, affected, (before <> after)::int,
                -- Below the statement lies what it called: a trigger, a function.
                (strpos(place, E'\\n') = 0 or strpos(split_part(place, E'\\n', 1), left(split_part(attempts[number], E'\\n', 1), 20)) > 0)::int
            ) || ',';
        end loop;
        perform set_config('pgharness.answers', answers, false);
    end
    $pgharness$";

/// The code by which an attempt that went through is undone.
const UNDONE: &str = "PGHUN";

/// One statement, or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) sql: String,
    /// The table whose rows are watched.
    pub(super) watched: Option<QualifiedName>,
}

/// What the server made of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The SQLSTATE; `None`: it went through.
    pub(super) code: Option<String>,
    pub(super) rows: u64,
    /// Rows that are watched went or were written anew.
    pub(super) has_changed: bool,
    /// The statement itself failed, and not something that it called.
    is_direct: bool,
}

impl Answer {
    pub(super) fn went_through(&self) -> bool {
        self.code.is_none()
    }

    /// Refused for want of a privilege, by the server and not by a trigger.
    pub(super) fn is_denied(&self) -> bool {
        self.is_direct && self.code.as_deref() == Some("42501")
    }

    fn parse(text: &str) -> Option<Answer> {
        let mut parts = text.split(' ');
        let code = parts.next()?;
        Some(Answer {
            code: (code != UNDONE).then(|| code.to_owned()),
            rows: parts.next()?.parse().ok()?,
            has_changed: parts.next()? == "1",
            is_direct: parts.next()? == "1",
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            None => f.write_str("done"),
            Some(code) if self.is_denied() => write!(f, "SQLSTATE {code}: permission denied"),
            Some(code) if self.is_direct => write!(f, "SQLSTATE {code}"),
            Some(code) => write!(f, "SQLSTATE {code}, from a trigger or a function"),
        }
    }
}

/// Prepares a database for attempts, as a superuser.
///
/// # Errors
/// The server is lost, or it refuses.
pub(super) async fn prepare(control: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql(PREPARE)
        .execute(control)
        .await
        .attempt(ErrorKind::Database, || format!("failed to prepare the schema `{SCRATCH}`"))?;
    Ok(())
}

/// Attempts each, one after the other, as whoever `connection` is; nothing of it stays but what sequences gave out.
///
/// # Errors
/// The server is lost, or the role may not run a block of PL/pgSQL.
pub(super) async fn attempt(connection: &mut PgConnection, attempts: &[Attempt]) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(attempts.len());
    for some in attempts.chunks(AT_ONCE) {
        let statements: Vec<&str> = some.iter().map(|attempt| attempt.sql.as_str()).collect();
        let watched: Vec<String> =
            some.iter().map(|one| one.watched.as_ref().map(QualifiedName::sql).unwrap_or_default()).collect();
        sqlx::query(
            "select set_config('pgharness.attempts', $1::text[]::text, false), \
             set_config('pgharness.watched', $2::text[]::text, false)",
        )
        .bind(&statements)
        .bind(&watched)
        .execute(&mut *connection)
        .await?;
        connection
            .execute(AssertSqlSafe(ATTEMPT))
            .await
            .attempt(ErrorKind::Database, || "failed to attempt statements in a block of PL/pgSQL".into())?;
        let answer: String = sqlx::query_scalar("select current_setting('pgharness.answers')")
            .fetch_one(&mut *connection)
            .await?;
        answers.extend(answer.split_terminator(',').filter_map(Answer::parse));
    }
    Ok(answers)
}

/// The steps that show one attempt of `role` again: `before` it is what it needs.
pub(super) fn transcript(role: &str, before: Vec<String>, sql: &str, result: String) -> Vec<Evidence> {
    let step = |sql: String| Evidence::as_role(role, sql, "");
    let before = before.into_iter().map(step);
    std::iter::once(step("begin".into()))
        .chain(before)
        .chain([Evidence::as_role(role, sql, result), step("rollback".into())])
        .collect()
}

/// The statement that sets a custom setting for the transaction.
pub(super) fn setting(name: &str, value: &str) -> String {
    format!("select set_config({}, {}, true)", quote_literal(name), quote_literal(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::done("PGHUN 3 1 1", None, "done", false)]
    #[case::denied("42501 0 0 1", Some("42501"), "SQLSTATE 42501: permission denied", true)]
    #[case::by_a_trigger("42501 0 0 0", Some("42501"), "SQLSTATE 42501, from a trigger or a function", false)]
    #[case::other("23503 0 0 1", Some("23503"), "SQLSTATE 23503", false)]
    fn an_answer_is_read(
        #[case] text: &str,
        #[case] code: Option<&str>,
        #[case] shown: &str,
        #[case] is_denied: bool,
    ) {
        let answer = Answer::parse(text).unwrap();
        assert_eq!(
            (answer.code.as_deref(), answer.to_string(), answer.is_denied()),
            (code, shown.into(), is_denied)
        );
        assert_eq!(Answer::parse("PGHUN"), None);
    }
}
