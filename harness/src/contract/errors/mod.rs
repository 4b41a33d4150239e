//! The contract of error mapping: every error that an ordinary server can be made to raise is raised, and no
//! input value comes out at the client's end or in the log.

mod judge;
mod provocations;
mod sessions;

use super::report::ContractReport;
use super::seam::ErrorMap;
use super::stage::{Stage, run_raw};
use crate::error::Result;
use crate::runtime::Sqlstate;
use judge::{Canaries, Judge, Provoked};
use provocations::{PROVOCATIONS, Provocation, TABLES};
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;

/// Shows the properties of `map` with errors that the server at `target` really raises; `target` connects as
/// superuser.
///
/// | Property | What is shown |
/// |---|---|
/// | `errors.provoked.<code>` | the server really answered with this SQLSTATE; could not be shown otherwise |
/// | `errors.no-value` | no input value comes out, neither at the client nor in the log |
/// | `errors.no-server-text` | the server's message, which names tables and columns, does not reach the client |
/// | `errors.status` | the status says whose fault it is, and whether to try again |
/// | `errors.total` | no code makes the map panic: not one of a known class, not one that nobody knows |
///
/// # Errors
/// The target cannot be reached, or the stage cannot be set.
pub async fn verify(map: &impl ErrorMap, target: &PgConnectOptions) -> Result<ContractReport> {
    let mut stage = Stage::set_up(target).await?;
    let mut judge = Judge::new(map, &stage.role);
    let shown = provoke_all(&mut stage, &mut judge).await;
    stage.tear_down().await?;
    shown?;
    Ok(judge.report())
}

async fn provoke_all(stage: &mut Stage, judge: &mut Judge<'_>) -> Result<()> {
    for sql in TABLES {
        stage.ask(sql).await?;
    }
    for provocation in PROVOCATIONS.iter().filter(|one| one.majors.contains(&stage.major)) {
        let canaries = Canaries::new();
        let provoked = provoke(stage, provocation, &canaries).await?;
        judge.judge(provocation.code, provocation.expect, provoked, &canaries);
    }
    sessions::provoke_all(stage, judge).await
}

/// Runs one provocation in a session of its own.
async fn provoke(stage: &Stage, provocation: &Provocation, canaries: &Canaries) -> Result<Provoked> {
    let mut session = stage.session().await?;
    let setup = format!("set search_path = {}; {}", super::stage::SCHEMA, canaries.place(provocation.setup));
    let statement = canaries.place(provocation.statement);
    let answer = match run_raw(&mut session, &setup).await {
        Ok(()) => run_raw(&mut session, &statement).await.err().ok_or_else(|| "it succeeds".to_owned()),
        Err(error) => Err(format!(
            "what prepares it fails with {}",
            error.sqlstate().unwrap_or_else(|| "no answer".into())
        )),
    };
    // An error may have ended the session: closing it is a courtesy.
    drop(session.close().await);
    Ok(Provoked { sql: format!("{setup}; {statement}"), answer })
}
