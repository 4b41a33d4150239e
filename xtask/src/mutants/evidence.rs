//! Findings replayed: what their transcripts show in psql is another thing than in the unbroken database.

use super::mutant::{Found, Mutant};
use super::site::Deed;
use super::trial::Stand;
use pgharness::database::TestDb;
use pgharness::ident::quote_ident;
use pgharness::process::Program;
use pgharness::{Error, ErrorKind, Result};

/// Whether the transcript of a finding is one for the project's database, as it is when all migrations are applied.
/// Those that apply migrations themselves begin with another one.
pub(super) fn is_of_the_database(found: &Found) -> bool {
    let steps = || found.evidence.iter().filter(|step| step.role.is_some());
    let is_known = ["drift.", "tenancy."].iter().any(|family| found.check.starts_with(family));
    // It says itself that it needs another `wal_level`.
    let needs_another_server = found.check == "tenancy.publication";
    is_known
        && !needs_another_server
        && steps().next().is_some()
        && !steps().any(|step| step.sql.contains("\\i "))
}

/// Pastes the transcript of a finding into a database of the mutant, and into an unbroken one: whether psql shows two
/// different things. `None` where there is no database of the mutant: what fills it does not fit any more.
///
/// # Errors
/// There is no psql, or the server is lost.
pub(super) async fn replay(stand: &Stand, mutant: &Mutant, found: &Found) -> Result<Option<bool>> {
    let steps = found
        .evidence
        .iter()
        .filter_map(|step| Some(format!("set role {};\n{}\n;", quote_ident(step.role.as_ref()?), step.sql)));
    let transcript = steps.collect::<Vec<_>>().join("\n");
    let broken = match &mutant.site.deed {
        Deed::Live(sql) => stand.changed(sql).await?.ok(),
        Deed::Files(folder) => stand.migrated(folder).await.ok(),
    };
    let Some(broken) = broken else { return Ok(None) };
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
    // Not quiet: how many rows an UPDATE changed may be all that there is to see.
    let psql =
        Program::new(installation.client_tool("psql")?).args(["-X", "-d", &db.url(), "-f"]).arg(place.path());
    let finished = psql.run_async().await?;
    // The path of the file is in front of every error.
    let complaint = finished.complaint().replace(&place.path().display().to_string(), "");
    Ok(format!("{}\n{complaint}", finished.text()))
}
