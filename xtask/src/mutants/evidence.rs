//! Findings replayed: what their transcripts show in psql is another thing than in the unbroken database.

use super::mutant::{Found, Mutant};
use super::site::Deed;
use super::trial::Stand;
use pgharness::database::TestDb;
use pgharness::ident::quote_ident;
use pgharness::process::Program;
use pgharness::{Error, ErrorKind, Result};

/// Pastes the transcript of a finding about a database changed by hand into it, and into an unbroken one: whether psql
/// shows two different things. `None` of other mutants.
///
/// # Errors
/// There is no psql, or the server is lost.
pub(super) async fn replay(stand: &Stand, mutant: &Mutant, found: &Found) -> Result<Option<bool>> {
    let Deed::Live(sql) = &mutant.site.deed else { return Ok(None) };
    let transcript: Vec<String> = found
        .evidence
        .iter()
        .filter_map(|step| Some(format!("set role {};\n{}", quote_ident(step.role.as_ref()?), step.sql)))
        .collect();
    if transcript.is_empty() {
        return Ok(None);
    }
    let transcript = transcript.join("\n");
    let Ok(broken) = stand.changed(sql).await? else { return Ok(None) };
    let unbroken = stand.context().database().await?;
    Ok(Some(paste(&broken, &transcript).await? != paste(&unbroken, &transcript).await?))
}

/// What psql says of `transcript`, in `db`.
async fn paste(db: &TestDb, transcript: &str) -> Result<String> {
    let Some(installation) = db.server().installation() else {
        return Err(Error::new(
            ErrorKind::Environment,
            "there is no psql beside a server that runs elsewhere",
        ));
    };
    let written = tempfile::NamedTempFile::new()
        .and_then(|place| std::fs::write(place.path(), transcript).map(|()| place));
    let place = written.map_err(|error| {
        Error::new(ErrorKind::Environment, "failed to write a transcript").with_source(error)
    })?;
    let psql = Program::new(installation.client_tool("psql")?)
        .args(["-X", "-q", "-d", &db.url(), "-f"])
        .arg(place.path());
    let finished = psql.run_async().await?;
    // The path of the file is in front of every error.
    let complaint = finished.complaint().replace(&place.path().display().to_string(), "");
    Ok(format!("{}\n{complaint}", finished.text()))
}
