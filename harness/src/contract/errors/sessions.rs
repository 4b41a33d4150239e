//! Provocations that take more than one session, or a login that fails.

use super::super::stage::{DEADLINE, SCHEMA, Stage, pid, run_raw};
use super::judge::{Canaries, Judge, Provoked};
use super::provocations::Expect;
use crate::error::{Attempt, ErrorKind, Result};
use crate::ident::{quote_ident, quote_literal};
use crate::wait::{self, Look};
use futures_util::future::join;
use sqlx::{ConnectOptions, PgConnection};

pub(super) async fn provoke_all(stage: &mut Stage, judge: &mut Judge<'_>) -> Result<()> {
    let canaries = Canaries::new();
    let provoked = aborted(stage, &canaries).await?;
    judge.judge("25P02", Expect::Error, provoked, &canaries);
    let provoked = serialization_failure(stage, &canaries).await?;
    judge.judge("40001", Expect::Again, provoked, &canaries);
    let provoked = deadlock(stage, &canaries).await?;
    judge.judge("40P01", Expect::Again, provoked, &canaries);
    let provoked = lock_not_available(stage, &canaries).await?;
    judge.judge("55P03", Expect::Again, provoked, &canaries);
    let provoked = terminated(stage, &canaries).await?;
    judge.judge("57P01", Expect::Later, provoked, &canaries);
    let provoked = no_database(stage, &canaries).await;
    judge.judge("3D000", Expect::Server, provoked, &canaries);
    let provoked = refused_login(stage, "nologin", &canaries).await?;
    judge.judge("28000", Expect::Error, provoked, &canaries);
    let provoked = refused_login(stage, "login connection limit 0", &canaries).await?;
    judge.judge("53300", Expect::Later, provoked, &canaries);
    Ok(())
}

/// A session in the contract's schema.
async fn session(stage: &Stage) -> Result<PgConnection> {
    let mut session = stage.session().await?;
    prepare(&mut session, &format!("set search_path = {SCHEMA}")).await?;
    Ok(session)
}

async fn prepare(session: &mut PgConnection, sql: &str) -> Result<()> {
    run_raw(session, sql).await.attempt(ErrorKind::Database, || format!("failed to run `{sql}`"))
}

fn must_fail(outcome: Result<(), sqlx::Error>) -> Result<sqlx::Error, String> {
    outcome.err().ok_or_else(|| "it succeeds".to_owned())
}

/// Any statement after one that failed.
async fn aborted(stage: &Stage, canaries: &Canaries) -> Result<Provoked> {
    let mut session = session(stage).await?;
    prepare(&mut session, "begin").await?;
    let first_fails = run_raw(&mut session, "select 1 / 0").await;
    let sql = canaries.place("select '{text}'");
    let answer = match first_fails {
        Err(_) => must_fail(run_raw(&mut session, &sql).await),
        Ok(()) => Err("what prepares it succeeds".into()),
    };
    Ok(Provoked { sql: format!("begin; select 1 / 0; {sql}"), answer })
}

/// Two sessions with one snapshot each write the same row.
async fn serialization_failure(stage: &Stage, canaries: &Canaries) -> Result<Provoked> {
    let (mut first, mut second) = (session(stage).await?, session(stage).await?);
    prepare(&mut second, "begin isolation level repeatable read; select from counter").await?;
    prepare(&mut first, "update counter set n = n + 1 where id = 1").await?;
    let sql = canaries.place("update counter set n = {number} where id = 1");
    let answer = must_fail(run_raw(&mut second, &sql).await);
    Ok(Provoked {
        sql: format!(
            "begin isolation level repeatable read; select from counter; \
             -- another session: update counter set n = n + 1 where id = 1\n{sql}"
        ),
        answer,
    })
}

/// Two sessions, two rows, opposite orders.
async fn deadlock(stage: &mut Stage, canaries: &Canaries) -> Result<Provoked> {
    let (mut first, mut second) = (session(stage).await?, session(stage).await?);
    // Only the second looks for a deadlock soon, so that it is the one to find it, and so the victim.
    prepare(&mut first, "set deadlock_timeout = '60s'; begin").await?;
    prepare(&mut second, "set deadlock_timeout = '5ms'; begin").await?;
    prepare(&mut first, "update counter set n = 0 where id = 1").await?;
    prepare(&mut second, "update counter set n = 0 where id = 2").await?;
    let waiting = pid(&mut first).await.attempt(ErrorKind::Database, || "failed to ask for a pid".into())?;
    let sql = canaries.place("update counter set n = {number} where id = 1");
    let (blocked, answer) = join(run_raw(&mut first, "update counter set n = 0 where id = 2"), async {
        until_waiting(stage, waiting, "Lock").await?;
        let outcome = run_raw(&mut second, &sql).await;
        // The victim's end lets the other go on.
        drop(run_raw(&mut second, "rollback").await);
        Result::<_>::Ok(must_fail(outcome))
    })
    .await;
    drop(blocked);
    Ok(Provoked {
        sql: format!(
            "begin; update counter set n = 0 where id = 2; -- another session has row 1 and waits for row 2\n{sql}"
        ),
        answer: answer?,
    })
}

async fn lock_not_available(stage: &Stage, canaries: &Canaries) -> Result<Provoked> {
    let (mut holder, mut other) = (session(stage).await?, session(stage).await?);
    prepare(&mut holder, "begin; update counter set n = 0 where id = 1").await?;
    let sql = canaries.place("select '{text}' from counter where id = 1 for update nowait");
    let answer = must_fail(run_raw(&mut other, &sql).await);
    Ok(Provoked { sql: format!("-- another session has updated row 1\n{sql}"), answer })
}

/// A session that an administrator ends.
async fn terminated(stage: &mut Stage, canaries: &Canaries) -> Result<Provoked> {
    let mut victim = session(stage).await?;
    let victim_pid =
        pid(&mut victim).await.attempt(ErrorKind::Database, || "failed to ask for a pid".into())?;
    let sql = canaries.place("select '{text}', pg_sleep(60)");
    let (outcome, killed) = join(run_raw(&mut victim, &sql), async {
        until_waiting(stage, victim_pid, "Timeout").await?;
        stage.ask(&format!("select pg_terminate_backend({victim_pid})")).await
    })
    .await;
    killed?;
    Ok(Provoked {
        sql: format!("{sql} -- another session: select pg_terminate_backend(…)"),
        answer: must_fail(outcome),
    })
}

async fn no_database(stage: &Stage, canaries: &Canaries) -> Provoked {
    let name = canaries.text();
    let outcome = stage.options().database(name).connect().await.map(drop);
    Provoked { sql: format!("\\connect {name}"), answer: must_fail(outcome) }
}

/// A login as a role made for it, which may not log in, or not now.
async fn refused_login(stage: &mut Stage, attributes: &str, canaries: &Canaries) -> Result<Provoked> {
    let name = format!("{SCHEMA}_{}", canaries.text());
    let (role, password) = (quote_ident(&name), quote_literal(canaries.text()));
    let create = format!("create role {role} {attributes} password {password}");
    stage.ask(&create).await?;
    let options = stage.options().username(&name).password(canaries.text());
    let outcome = options.connect().await.map(drop);
    stage.ask(&format!("drop role {role}")).await?;
    Ok(Provoked { sql: format!("{create}; \\connect - {role}"), answer: must_fail(outcome) })
}

/// Waits until the backend waits for an event of this type.
async fn until_waiting(stage: &mut Stage, pid: i32, event_type: &str) -> Result<()> {
    wait::until_async("a session to wait", DEADLINE, async || {
        let sql = format!("select coalesce(wait_event_type, 'none') from pg_stat_activity where pid = {pid}");
        let seen = stage.ask(&sql).await?.unwrap_or_else(|| "gone".into());
        Ok(if seen == event_type { Look::Ready(()) } else { Look::NotYet(seen) })
    })
    .await
}
